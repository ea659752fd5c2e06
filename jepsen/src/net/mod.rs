//! The network between managers, and between clients and managers.
//!
//! In **namespaces** each manager has an address of its own, joined to the others and to the clients by a bridge.
//! Partitions are packet filters inside the namespaces, so that connections just go silent, as they do when a cable is
//! cut. Slow and lossy links send packets through [`links`], a small switch of our own. Where namespaces are not
//! permitted there is the **loopback** with proxies ([`loopback`]), which do the same to streams. Whoever breaks
//! something speaks to a [`Network`] and does not know which it is.

mod command;
mod filter;
mod links;
mod loopback;
mod namespaces;
mod space;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use serde::Serialize;
use tokio::process::Command;

pub use self::filter::Filter;
pub use self::links::Links;
pub use self::loopback::Loopback;
pub use self::namespaces::Namespaces;
pub use self::space::{Net, Place, permitted};
use crate::cluster::ledger::Ledger;

/// What the loopback does not have.
pub const PACKETS: &str = "packets can be lost, doubled or overtake each other in network namespaces only; \
                           on the loopback there are streams";

/// One end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// All clients.
    Clients,
    /// The manager in this seat.
    Seat(u64),
}

/// What one direction of a cut link did not let through.
#[derive(Debug, Clone, Serialize)]
pub struct Blocked {
    pub from: End,
    pub to: End,
    /// Packets that were dropped; on the loopback parts of streams, and connections, that were held.
    pub count: u64,
}

/// How a link misbehaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Shape {
    pub delay: Duration,
    /// At most so much more, at random.
    pub jitter: Duration,
    /// Shares of all packets, from 0 to 1.
    pub loss: f64,
    pub twice: f64,
    /// These overtake those before them.
    pub early: f64,
    /// Bytes a second; without a bound when absent.
    pub rate: Option<u64>,
}

impl Shape {
    /// Whether it can be had only where there are packets.
    pub fn needs_packets(&self) -> bool {
        self.loss > 0.0 || self.twice > 0.0 || self.early > 0.0
    }
}

/// What was done so far to packets, or on the loopback to parts of streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub carried: u64,
    pub delayed: u64,
    pub lost: u64,
    pub doubled: u64,
    pub overtaking: u64,
}

/// Which network it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Namespaces,
    Loopback,
}

/// A network, and what can be done to it.
#[async_trait]
pub trait Network: Send + Sync {
    /// The seats with their addresses.
    fn places(&self) -> Vec<(u64, Ipv4Addr)>;

    /// Managers listen on ports so much above those that others are told.
    fn behind(&self) -> u16;

    /// How a program is started in a seat; its arguments follow.
    ///
    /// # Errors
    /// There is no such seat.
    fn command(&self, seat: u64, program: &Path) -> Result<Command>;

    /// Says which process is in a seat from now on.
    fn moved_in(&self, seat: u64, pid: i32);

    /// Cuts links, each one way, all at about the same time.
    ///
    /// # Errors
    /// It does not work.
    async fn cut(&self, links: &[(End, End)]) -> Result<()>;

    /// What each cut link did not let through since it was cut.
    ///
    /// # Errors
    /// It is not known.
    async fn blocked(&self) -> Result<Vec<Blocked>>;

    /// Mends some links.
    ///
    /// # Errors
    /// It does not work.
    async fn mend(&self, links: &[(End, End)]) -> Result<()>;

    /// Lets links between seats misbehave, each one way.
    ///
    /// # Errors
    /// It does not work, or this network can't misbehave like that.
    async fn shape(&self, links: &[(u64, u64)], shape: Shape) -> Result<()>;

    /// What links that misbehave did so far.
    ///
    /// # Errors
    /// It is not known.
    async fn counts(&self) -> Result<Counts>;

    /// No link misbehaves any more.
    ///
    /// # Errors
    /// It does not work.
    async fn unshape(&self) -> Result<()>;

    /// All links are as they were made.
    ///
    /// # Errors
    /// It does not work.
    async fn heal(&self) -> Result<()>;
}

/// Makes a network of `seats` seats, numbered from 1, in which each has `ports`.
///
/// # Errors
/// Something cannot be made; what was is undone with the ledger.
pub async fn make(kind: Kind, ledger: Arc<Ledger>, seats: u64, ports: &[u16]) -> Result<Arc<dyn Network>> {
    Ok(match kind {
        Kind::Namespaces => Arc::new(Namespaces::make(ledger, seats).await?),
        Kind::Loopback => Arc::new(Loopback::make(seats, ports).await?),
    })
}
