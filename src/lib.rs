//! Quorate: a replicated control plane for agents that run inside containers.
//!
//! ```text
//!  client ──HTTP──> api ──Command──> proposer ──> consensus (openraft, log on sled)
//!    ^                                                │ committed, in order, on every manager
//!    │                                                v
//!    └────────── reads <────────── state  (pure: State x Command -> State, Outcome)
//!                                                     │ watched
//!                              control (leader only: plan on a snapshot, propose commands)
//!                                                     │ desired state
//!  container: runner <── session (any manager) ───────┘
//! ```
//!
//! One direction: requests become commands, commands become state, state drives control loops
//! and sessions; what runners observe comes back as commands.

#![forbid(unsafe_code)]
// The bans of clippy.toml are for `state` and `plan`, which deny them themselves.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod api;
pub mod cli;
pub mod client;
pub mod command;
pub mod config;
pub mod consensus;
pub mod control;
pub mod dev;
pub mod engine;
pub mod model;
pub mod node;
pub mod plan;
pub mod process;
pub mod runner;
pub mod security;
pub mod session;
pub mod state;
pub mod telemetry;
pub mod wire;
