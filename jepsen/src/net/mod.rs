//! The network between managers, and between clients and managers.
//!
//! Each manager has a network namespace with an address of its own, joined to the others and to the clients by a
//! bridge. Partitions are packet filters inside the namespaces, so that connections just go silent, as they do when a
//! cable is cut. Slow and lossy links send packets through [`links`], a small switch of our own.

mod command;
mod filter;
mod links;
mod space;
#[cfg(test)]
mod tests;

pub use self::filter::{Blocked, Filter};
pub use self::links::{Counts, Links, Shape};
pub use self::space::{Net, Place, permitted};

/// One end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// All clients.
    Clients,
    /// The manager in this seat.
    Seat(u64),
}
