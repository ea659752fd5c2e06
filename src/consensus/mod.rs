//! Raft, its log, its snapshots, and what it asks other managers. The only user of openraft and sled.
//!
//! The rest of the program sees one handle, [`Consensus`]: propose a command, read the state
//! (linearizable or as it is here), watch it change, ask who leads. What lies behind it:
//!
//! - a proposal goes to the proposer, which drains what waits into one batch and hands it to the
//!   local raft core on the leader, or to the leader in one frame from anywhere else;
//! - a linearizable read joins the next ReadIndex round, which all reads waiting on this manager
//!   share, and then waits until the local state has applied that index;
//! - apply publishes an immutable [`State`] after each batch: readers never block it.

mod append;
mod begin;
mod core;
mod durable;
mod error;
mod figures;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handle;
pub mod log_store;
mod membership;
mod network;
#[cfg(feature = "planted")]
mod planted;
mod proposer;
mod questions;
mod reads;
mod runtime;
mod snapshot_lane;
pub mod snapshot_store;
mod start;
mod state_machine;
mod status;
#[cfg(test)]
mod tests;
mod trim;
mod types;

pub use self::{
    begin::First,
    core::Clock,
    error::{MembershipError, ProposeError, ReadError},
    handle::{Consensus, DEADLINE, Leadership, MAX_PROPOSAL_BYTES, ManagerStatus, Status},
    runtime::Runtime,
    start::{Options, RaftSettings, Running, StartError, Stores},
    status::{Fatal, Halt},
    types::TypeConfig,
};
