//! A runner against managers that a test plays, frame by frame, over real TLS; and the shim.

mod manager;
mod scripted;
mod sessions;
mod shim;
