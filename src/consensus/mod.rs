//! Raft, its log, its snapshots and its network. The only user of openraft and sled.

mod durable;
pub mod log_store;
pub mod snapshot_store;
