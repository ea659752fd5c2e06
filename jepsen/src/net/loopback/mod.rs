//! Where namespaces are not permitted: an address of its own on the loopback for each seat, and a proxy before each of
//! its ports.
//!
//! A manager listens on ports that nobody is told; everybody is told the proxies'. So every connection goes through
//! one, which knows whose it is ([`owner`]) and treats each direction as it is asked to ([`way`]). What it carries are
//! streams: links can be cut, slow and narrow, and packets can't be lost, doubled or overtake each other. Nothing of it
//! outlives this process.

mod owner;
mod proxy;
#[cfg(test)]
mod tests;
mod way;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::owner::Tenants;
use self::proxy::Door;
use self::way::Way;
use super::{Blocked, Counts, End, Network, Shape};

/// Managers listen on ports so much above those that others are told.
const BEHIND: u16 = 100;
/// Subnets that are tried before none is said to be free.
const TRIES: u32 = 200;

/// Networks of this process so far.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Each direction between any two ends.
#[derive(Debug)]
pub struct Ways(BTreeMap<(End, End), Way>);

impl Ways {
    fn between(seats: u64) -> Self {
        let ends: Vec<End> = std::iter::once(End::Clients)
            .chain((1..=seats).map(End::Seat))
            .collect();
        let pairs = ends
            .iter()
            .flat_map(|from| ends.iter().map(move |to| (*from, *to)));
        Self(pairs.map(|pair| (pair, Way::default())).collect())
    }

    fn get(&self, from: End, to: End) -> Option<&Way> {
        self.0.get(&(from, to))
    }
}

/// The network.
pub struct Loopback {
    places: Vec<(u64, Ipv4Addr)>,
    ways: Arc<Ways>,
    tenants: Arc<Tenants>,
    /// The proxies; dropped with it.
    _proxies: JoinSet<()>,
}

impl Loopback {
    /// Puts a proxy before each of `ports` of `seats` seats, numbered from 1.
    ///
    /// # Errors
    /// No addresses are free.
    pub async fn make(seats: u64, ports: &[u16]) -> Result<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let begin = std::process::id().wrapping_mul(7).wrapping_add(number);
        let mut taken = None;
        for step in 0..TRIES {
            let at = begin.wrapping_add(step) % (64 * 256);
            // Both fit a byte by the line above.
            let subnet = [64 + (at / 256) as u8, (at % 256) as u8];
            match bind(subnet, seats, ports).await {
                Ok(bound) => return Ok(Self::open(bound)),
                Err(error) if error.kind() == ErrorKind::AddrInUse => taken = Some(error),
                Err(error) => return Err(error).context("a loopback address cannot be listened on"),
            }
        }
        let why = taken.context("no subnet was tried")?;
        Err(why).with_context(|| {
            format!(
                "of the ports {ports:?}, or those {BEHIND} above, some are taken on all loopback addresses"
            )
        })
    }

    fn open(bound: Vec<(u64, Ipv4Addr, Vec<TcpListener>)>) -> Self {
        let ways = Arc::new(Ways::between(bound.len() as u64));
        let tenants = Arc::<Tenants>::default();
        let (mut places, mut proxies) = (Vec::new(), JoinSet::new());
        let (desk, asked) = mpsc::unbounded_channel();
        proxies.spawn(owner::answer(asked, Arc::clone(&tenants)));
        for (seat, address, listeners) in bound {
            places.push((seat, address));
            for (port, listener) in listeners.into_iter().filter_map(with_port) {
                let door = Door {
                    seat,
                    front: SocketAddrV4::new(address, port),
                    behind: SocketAddrV4::new(address, port + BEHIND),
                    ways: Arc::clone(&ways),
                    desk: desk.clone(),
                };
                proxies.spawn(proxy::serve(listener, Arc::new(door)));
            }
        }
        Self {
            places,
            ways,
            tenants,
            _proxies: proxies,
        }
    }

    fn way(&self, from: End, to: End) -> Result<&Way> {
        self.ways
            .get(from, to)
            .with_context(|| format!("there is no way from {from:?} to {to:?}"))
    }
}

fn with_port(listener: TcpListener) -> Option<(u16, TcpListener)> {
    Some((listener.local_addr().ok()?.port(), listener))
}

/// Listens on all ports of all seats in a subnet; the managers' own must be free too.
async fn bind(
    [x, y]: [u8; 2],
    seats: u64,
    ports: &[u16],
) -> std::io::Result<Vec<(u64, Ipv4Addr, Vec<TcpListener>)>> {
    let mut bound = Vec::new();
    for seat in 1..=seats {
        let last = u8::try_from(10 + seat).map_err(std::io::Error::other)?;
        let address = Ipv4Addr::new(127, x, y, last);
        let mut listeners = Vec::new();
        for port in ports {
            listeners.push(TcpListener::bind((address, *port)).await?);
            TcpListener::bind((address, port + BEHIND)).await?;
        }
        bound.push((seat, address, listeners));
    }
    Ok(bound)
}

#[async_trait]
impl Network for Loopback {
    fn places(&self) -> Vec<(u64, Ipv4Addr)> {
        self.places.clone()
    }

    fn behind(&self) -> u16 {
        BEHIND
    }

    fn command(&self, _seat: u64, program: &Path) -> Result<Command> {
        Ok(Command::new(program))
    }

    fn moved_in(&self, seat: u64, pid: i32) {
        self.tenants.moved_in(seat, pid);
    }

    async fn cut(&self, links: &[(End, End)]) -> Result<()> {
        for (from, to) in links {
            self.way(*from, *to)?.cut();
        }
        Ok(())
    }

    async fn blocked(&self) -> Result<Vec<Blocked>> {
        let cut = self.ways.0.iter().filter(|(_, way)| way.is_cut());
        let blocked = cut.map(|((from, to), way)| Blocked {
            from: *from,
            to: *to,
            count: way.held(),
        });
        Ok(blocked.collect())
    }

    async fn mend(&self, links: &[(End, End)]) -> Result<()> {
        for (from, to) in links {
            self.way(*from, *to)?.mend();
        }
        Ok(())
    }

    async fn shape(&self, links: &[(u64, u64)], shape: Shape) -> Result<()> {
        ensure!(!shape.needs_packets(), super::PACKETS);
        for (from, to) in links {
            self.way(End::Seat(*from), End::Seat(*to))?.shape(shape);
        }
        Ok(())
    }

    async fn counts(&self) -> Result<Counts> {
        let each = self.ways.0.values().map(Way::counts);
        Ok(each.fold(Counts::default(), |sum, one| Counts {
            carried: sum.carried + one.carried,
            delayed: sum.delayed + one.delayed,
            ..sum
        }))
    }

    async fn unshape(&self) -> Result<()> {
        for way in self.ways.0.values() {
            way.shape(Shape::default());
        }
        Ok(())
    }

    async fn heal(&self) -> Result<()> {
        self.unshape().await?;
        for way in self.ways.0.values() {
            way.mend();
        }
        Ok(())
    }
}
