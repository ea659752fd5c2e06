//! Namespaces: one a seat, joined by a bridge that clients have a port of.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use super::command::run;
use crate::cluster::ledger::{Ledger, Made};

/// Where a manager lives.
#[derive(Debug, Clone)]
pub struct Place {
    pub seat: u64,
    pub address: Ipv4Addr,
    /// Its network namespace.
    pub namespace: String,
}

/// The whole network.
#[derive(Debug)]
pub struct Net {
    ledger: Arc<Ledger>,
    /// The namespace of the bridge: the machine's own packet filters, which may drop what is bridged, are not asked.
    hub: String,
    /// The first three bytes of all addresses.
    subnet: [u8; 3],
    pub places: Vec<Place>,
}

/// Networks of this process so far.
static MADE: AtomicU32 = AtomicU32::new(0);

/// The bridge, in its own namespace.
const BRIDGE: &str = "bridge0";

/// Whether this machine lets us make namespaces; why not, if not.
///
/// # Errors
/// It does not.
pub async fn permitted() -> Result<()> {
    let name = format!("qjt{}", std::process::id());
    run("ip", &["netns", "add", &name]).await?;
    let tried = run(
        "ip",
        &["netns", "exec", &name, "iptables", "-w", "-L", "INPUT", "-n"],
    )
    .await;
    run("ip", &["netns", "del", &name]).await?;
    tried.map(|_| ())
}

impl Net {
    /// Makes the bridge, and a namespace for each of `seats` seats, numbered from 1.
    ///
    /// # Errors
    /// Something cannot be made; what was is undone with the ledger.
    pub async fn make(ledger: Arc<Ledger>, seats: u64) -> Result<Self> {
        // One process may have several networks.
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let tag = format!("qj{}{number}", std::process::id());
        let subnet = free_subnet(number).await?;
        let mut net = Self {
            ledger,
            hub: format!("{tag}h"),
            subnet,
            places: Vec::new(),
        };
        net.make_hub(&format!("{tag}c")).await?;
        for seat in 1..=seats {
            let place = Place {
                seat,
                address: net.address(10 + u8::try_from(seat).context("too many seats")?),
                namespace: format!("{tag}n{seat}"),
            };
            net.furnish(&place).await?;
            net.places.push(place);
        }
        Ok(net)
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, last)
    }

    /// Where clients send from.
    pub fn clients(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// The bridge, and the clients' way to it.
    async fn make_hub(&self, clients: &str) -> Result<()> {
        let hub = self.hub.as_str();
        self.ledger.note(Made::Namespace(hub.to_owned()))?;
        run("ip", &["netns", "add", hub]).await?;
        run("ip", &["-n", hub, "link", "add", BRIDGE, "type", "bridge"]).await?;
        run("ip", &["-n", hub, "link", "set", BRIDGE, "up"]).await?;
        // Both ends go with the hub's namespace; noted all the same, for a moment in which it is not in there yet.
        self.ledger.note(Made::Link(clients.to_owned()))?;
        let pair = [
            "link", "add", clients, "type", "veth", "peer", "name", "clients", "netns", hub,
        ];
        run("ip", &pair).await?;
        run(
            "ip",
            &["-n", hub, "link", "set", "clients", "master", BRIDGE, "up"],
        )
        .await?;
        let address = format!("{}/24", self.address(1));
        run("ip", &["addr", "add", &address, "dev", clients]).await?;
        run("ip", &["link", "set", clients, "up"]).await?;
        Ok(())
    }

    async fn furnish(&self, place: &Place) -> Result<()> {
        let (hub, space) = (self.hub.as_str(), place.namespace.as_str());
        self.ledger.note(Made::Namespace(space.to_owned()))?;
        run("ip", &["netns", "add", space]).await?;
        let port = format!("seat{}", place.seat);
        let pair = [
            "-n", hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", space,
        ];
        run("ip", &pair).await?;
        run("ip", &["-n", hub, "link", "set", &port, "master", BRIDGE, "up"]).await?;
        let address = format!("{}/24", place.address);
        run("ip", &["-n", space, "addr", "add", &address, "dev", "eth0"]).await?;
        run("ip", &["-n", space, "link", "set", "eth0", "up"]).await?;
        run("ip", &["-n", space, "link", "set", "lo", "up"]).await?;
        Ok(())
    }
}

/// A subnet that no interface of this machine is in.
async fn free_subnet(number: u32) -> Result<[u8; 3]> {
    let taken = run("ip", &["-o", "-4", "addr"]).await?;
    let begin = std::process::id().wrapping_mul(7).wrapping_add(number);
    (0..1000)
        .map(|step| {
            let at = (begin.wrapping_add(step)) % (64 * 256);
            // Both fit a byte by the line above.
            [10, 64 + (at / 256) as u8, (at % 256) as u8]
        })
        .find(|[a, b, c]| !taken.contains(&format!(" {a}.{b}.{c}.")))
        .context("all subnets are taken")
}
