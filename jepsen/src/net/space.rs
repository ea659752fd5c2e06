//! Namespaces: one a seat, joined by a bridge that clients stand on.

use std::net::Ipv4Addr;
use std::sync::Arc;

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
    bridge: String,
    /// The first three bytes of all addresses.
    subnet: [u8; 3],
    pub places: Vec<Place>,
}

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
    /// Makes the bridge and a namespace for each of `seats` seats, numbered from 1.
    ///
    /// # Errors
    /// Something cannot be made; what was is undone with the ledger.
    pub async fn make(ledger: Arc<Ledger>, seats: u64) -> Result<Self> {
        let tag = format!("qj{}", std::process::id());
        let subnet = free_subnet().await?;
        let mut net = Self {
            ledger,
            bridge: format!("{tag}b"),
            subnet,
            places: Vec::new(),
        };
        net.ledger.note(Made::Link(net.bridge.clone()))?;
        run("ip", &["link", "add", &net.bridge, "type", "bridge"]).await?;
        let clients = format!("{}/24", net.address(1));
        run("ip", &["addr", "add", &clients, "dev", &net.bridge]).await?;
        run("ip", &["link", "set", &net.bridge, "up"]).await?;
        for seat in 1..=seats {
            let place = Place {
                seat,
                address: net.address(10 + u8::try_from(seat).context("too many seats")?),
                namespace: format!("{tag}n{seat}"),
            };
            net.furnish(&place, &format!("{tag}v{seat}")).await?;
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

    async fn furnish(&self, place: &Place, veth: &str) -> Result<()> {
        let space = place.namespace.as_str();
        self.ledger.note(Made::Namespace(space.to_owned()))?;
        run("ip", &["netns", "add", space]).await?;
        // The other end goes with the namespace, and this one with it.
        run(
            "ip",
            &[
                "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", space,
            ],
        )
        .await?;
        run("ip", &["link", "set", veth, "master", &self.bridge, "up"]).await?;
        let address = format!("{}/24", place.address);
        run("ip", &["-n", space, "addr", "add", &address, "dev", "eth0"]).await?;
        run("ip", &["-n", space, "link", "set", "eth0", "up"]).await?;
        run("ip", &["-n", space, "link", "set", "lo", "up"]).await?;
        Ok(())
    }
}

/// A subnet that no interface of this machine is in.
async fn free_subnet() -> Result<[u8; 3]> {
    let taken = run("ip", &["-o", "-4", "addr"]).await?;
    let begin = std::process::id();
    (0..1000)
        .map(|step| {
            let at = (begin + step) % (64 * 256);
            // Both fit a byte by the line above.
            [10, 64 + (at / 256) as u8, (at % 256) as u8]
        })
        .find(|[a, b, c]| !taken.contains(&format!(" {a}.{b}.{c}.")))
        .context("all subnets are taken")
}
