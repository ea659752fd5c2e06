//! The API of a real manager: log, state, TLS and all, in this process.

mod configs;
mod input;
mod manager;
mod registry;
mod security;
