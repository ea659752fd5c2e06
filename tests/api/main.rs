//! The API of a real manager: log, state, TLS and all, in this process.

// The bans of clippy.toml are for `state` and `plan`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod command_line;
mod configs;
mod daemon;
mod docker;
mod engines;
mod input;
mod manager;
mod networks;
#[path = "../support/ports.rs"]
mod ports;
mod proxy;
mod registry;
mod security;
