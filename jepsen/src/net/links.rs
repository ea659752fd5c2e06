//! Slow and lossy links: a switch of our own between the managers, packet by packet.
//!
//! Each namespace has a `tun` device whose other end is here. A link that is to misbehave gets a route of its own
//! through that device, so connections that exist already suffer too; all others go over the bridge as ever, at no
//! cost. Packets are delayed, lost, doubled and sent out of order before TCP sees them, as a bad network does it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs::File;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use rand::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_tun::Tun;

use super::command::run;
use super::{Counts, Net, Place, Shape};

/// The device in each namespace.
const DEVICE: &str = "tun0";
/// Packets on their way at most; more are dropped, as a switch with a full queue does.
const QUEUE: usize = 20_000;

#[derive(Debug, Default)]
struct Counters {
    carried: AtomicU64,
    delayed: AtomicU64,
    lost: AtomicU64,
    doubled: AtomicU64,
    overtaking: AtomicU64,
}

/// A link in use: its shape, and when its last packet arrives.
#[derive(Debug)]
struct Link {
    shape: Shape,
    busy_until: Instant,
    last_due: Instant,
}

type Table = Arc<Mutex<BTreeMap<(Ipv4Addr, Ipv4Addr), Link>>>;

/// A packet under way: when it is due, its number (which keeps the order of equals), where to, and itself.
type Packet = Reverse<(Instant, u64, Ipv4Addr, Vec<u8>)>;

/// The switch.
pub struct Links {
    net: Arc<Net>,
    table: Table,
    counters: Arc<Counters>,
    /// Its tasks; dropped with it.
    _tasks: JoinSet<()>,
}

impl Links {
    /// Puts the devices into the namespaces; nothing goes through them yet.
    ///
    /// # Errors
    /// A device cannot be made.
    pub async fn open(net: Arc<Net>) -> Result<Self> {
        let (table, counters) = (Table::default(), Arc::<Counters>::default());
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        let mut devices = BTreeMap::new();
        for place in &net.places {
            let device = Arc::new(device(place).await?);
            devices.insert(place.address, Arc::clone(&device));
            tasks.spawn(take(
                device,
                Arc::clone(&table),
                Arc::clone(&counters),
                sender.clone(),
            ));
        }
        tasks.spawn(deliver(receiver, devices));
        Ok(Self {
            net,
            table,
            counters,
            _tasks: tasks,
        })
    }

    /// Lets links between seats misbehave, each one way.
    ///
    /// # Errors
    /// A route cannot be made.
    pub async fn shape(&self, links: &[(u64, u64)], shape: Shape) -> Result<()> {
        for (from, to) in links {
            let (from, to) = (self.place(*from)?, self.place(*to)?);
            let now = Instant::now();
            self.table().insert(
                (from.address, to.address),
                Link {
                    shape,
                    busy_until: now,
                    last_due: now,
                },
            );
            let (to, own) = (format!("{}/32", to.address), from.address.to_string());
            let route = [
                "-n",
                &from.namespace,
                "route",
                "replace",
                &to,
                "dev",
                DEVICE,
                "src",
                &own,
            ];
            run("ip", &route).await?;
        }
        Ok(())
    }

    /// All links work again.
    ///
    /// # Errors
    /// A route cannot be removed.
    pub async fn mend_all(&self) -> Result<()> {
        let shaped: Vec<_> = self.table().keys().copied().collect();
        for (from, to) in &shaped {
            let place = self.net.places.iter().find(|place| place.address == *from);
            let place = place.context("a link from nowhere")?;
            let to = format!("{to}/32");
            run(
                "ip",
                &["-n", &place.namespace, "route", "del", &to, "dev", DEVICE],
            )
            .await?;
        }
        // What is still on its way is carried as it was meant to be.
        self.table().clear();
        Ok(())
    }

    /// What was done to packets since the switch was opened.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            carried: read(&self.counters.carried),
            delayed: read(&self.counters.delayed),
            lost: read(&self.counters.lost),
            doubled: read(&self.counters.doubled),
            overtaking: read(&self.counters.overtaking),
        }
    }

    fn place(&self, seat: u64) -> Result<&Place> {
        self.net
            .places
            .iter()
            .find(|place| place.seat == seat)
            .context("there is no such seat")
    }

    fn table(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Ipv4Addr, Ipv4Addr), Link>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the device in a place's namespace.
async fn device(place: &Place) -> Result<Tun> {
    let space = place.namespace.clone();
    let runtime = tokio::runtime::Handle::current();
    // A namespace belongs to a thread, and a thread of the runtime must not change its own.
    let made = tokio::task::spawn_blocking(move || {
        std::thread::spawn(move || -> Result<Tun> {
            let _entered = runtime.enter();
            let file = File::open(format!("/run/netns/{space}")).context("the namespace cannot be opened")?;
            setns(file, CloneFlags::CLONE_NEWNET).context("the namespace cannot be entered")?;
            let tun = Tun::builder().name(DEVICE).mtu(1500).up().build();
            tun.context("/dev/net/tun makes no device")?
                .pop()
                .context("no device was made")
        })
        .join()
    });
    made.await
        .context("the thread was cancelled")?
        .map_err(|_| anyhow::anyhow!("a panic while a device was made"))?
}

/// Takes what a namespace sends, and decides what becomes of it.
async fn take(device: Arc<Tun>, table: Table, counters: Arc<Counters>, out: mpsc::Sender<Packet>) {
    let mut buffer = vec![0; 65_536];
    let mut number = 0;
    loop {
        let Ok(length) = device.recv(&mut buffer).await else {
            return;
        };
        let packet = &buffer[..length];
        let Some((from, to)) = addresses(packet) else {
            continue;
        };
        let fates = {
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            match table.get_mut(&(from, to)) {
                Some(link) => link.fates(length, &counters),
                // It was mended while the packet was in the device.
                None => vec![Instant::now()],
            }
        };
        for due in fates {
            number += 1;
            // A full queue loses packets, as any switch does.
            let _ = out.try_send(Reverse((due, number, to, packet.to_vec())));
        }
    }
}

impl Link {
    /// When a packet arrives: never, once or twice.
    fn fates(&mut self, length: usize, counters: &Counters) -> Vec<Instant> {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        let mut chance = rand::rng();
        let shape = self.shape;
        count(&counters.carried);
        if chance.random_bool(shape.loss) {
            count(&counters.lost);
            return Vec::new();
        }
        let now = Instant::now();
        if chance.random_bool(shape.early) {
            count(&counters.overtaking);
            return vec![now];
        }
        let mut due = now + shape.delay + shape.jitter.mul_f64(chance.random());
        if let Some(rate) = shape.rate {
            let takes = Duration::from_secs_f64(length as f64 / rate.max(1) as f64);
            self.busy_until = self.busy_until.max(now) + takes;
            due = due.max(self.busy_until);
        }
        // Jitter alone does not change the order.
        due = due.max(self.last_due);
        self.last_due = due;
        if due > now {
            count(&counters.delayed);
        }
        let mut fates = vec![due];
        if chance.random_bool(shape.twice) {
            count(&counters.doubled);
            fates.push(due);
        }
        fates
    }
}

/// Source and destination of an IPv4 packet.
fn addresses(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let version = packet.first()? >> 4;
    let at = |from: usize| -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = packet.get(from..from + 4)?.try_into().ok()?;
        Some(bytes.into())
    };
    (version == 4).then_some(())?;
    Some((at(12)?, at(16)?))
}

/// Hands packets over when they are due.
async fn deliver(mut packets: mpsc::Receiver<Packet>, devices: BTreeMap<Ipv4Addr, Arc<Tun>>) {
    let mut waiting: BinaryHeap<Packet> = BinaryHeap::new();
    loop {
        let due = waiting.peek().map(|Reverse((due, ..))| *due);
        tokio::select! {
            biased;
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                if let Some(Reverse((_, _, to, packet))) = waiting.pop()
                    && let Some(device) = devices.get(&to)
                {
                    // A device that takes nothing loses the packet.
                    let _ = device.send(&packet).await;
                }
            }
            packet = packets.recv() => match packet {
                Some(packet) => waiting.push(packet),
                None => return,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(shape: Shape) -> Link {
        let now = Instant::now();
        Link {
            shape,
            busy_until: now,
            last_due: now,
        }
    }

    #[tokio::test]
    async fn fates_follow_the_shape() {
        let counters = Counters::default();
        let lossy = Shape {
            loss: 1.0,
            ..Shape::default()
        };
        assert!(link(lossy).fates(100, &counters).is_empty());
        let doubling = Shape {
            twice: 1.0,
            ..Shape::default()
        };
        assert_eq!(link(doubling).fates(100, &counters).len(), 2);
        let slow = Shape {
            delay: Duration::from_millis(50),
            jitter: Duration::from_millis(50),
            ..Shape::default()
        };
        let mut slow = link(slow);
        let dues: Vec<_> = (0..100).flat_map(|_| slow.fates(100, &counters)).collect();
        assert!(dues.is_sorted(), "jitter alone changed the order");
        assert!(dues[0] >= Instant::now() + Duration::from_millis(40));
        let narrow = Shape {
            rate: Some(1000),
            ..Shape::default()
        };
        let mut narrow = link(narrow);
        let begin = Instant::now();
        let last = (0..10).flat_map(|_| narrow.fates(100, &counters)).last().unwrap();
        assert!(last >= begin + Duration::from_millis(999));
    }

    #[test]
    fn only_whole_ipv4_packets_have_addresses() {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
        packet[16..20].copy_from_slice(&[10, 0, 0, 2]);
        let expected = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(addresses(&packet), Some(expected));
        assert_eq!(addresses(&packet[..19]), None);
        packet[0] = 0x60;
        assert_eq!(addresses(&packet), None);
        assert_eq!(addresses(&[]), None);
    }
}
