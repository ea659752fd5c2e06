//! A runner against managers that a test plays, frame by frame, over real TLS; and the shim.

// The bans of clippy.toml are for `state` and `plan`.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod assessed;
mod joining;
mod manager;
mod played;
mod scripted;
mod sessions;
mod shim;
mod strangers;
