//! Raft, its log, its snapshots and its network. The only user of openraft and sled.
//!
//! The rest of the program sees one handle, [`Consensus`]: propose a command, read the state
//! (linearizable or as it is here), watch it change, ask who leads. What lies behind it:
//!
//! - a proposal goes to the proposer, which drains what waits into one batch and hands it to the
//!   local raft core on the leader, or to the leader in one frame from anywhere else;
//! - a linearizable read joins the next ReadIndex round, which all reads waiting on this manager
//!   share, and then waits until the local state has applied that index;
//! - apply publishes an immutable [`State`] after each batch: readers never block it.

mod begin;
mod core;
mod durable;
mod elsewhere;
mod error;
mod figures;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handle;
pub mod log_store;
mod membership;
mod network;
mod peers;
#[cfg(feature = "planted")]
mod planted;
mod proposer;
mod reads;
mod runtime;
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
    core::{Clock, OnDigest},
    elsewhere::{Elsewhere, Held},
    error::{MembershipError, ProposeError, ReadError},
    handle::{Consensus, DEADLINE, Digest, DigestAck, Leadership, ManagerStatus, Status},
    peers::{BoxedStream, Dial, Stream},
    runtime::Runtime,
    start::{Options, RaftSettings, Running, StartError, Stores},
    status::{Fatal, Halt},
    types::TypeConfig,
};
