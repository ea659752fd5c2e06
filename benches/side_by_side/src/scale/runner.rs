//! One runner: joins once, and then holds a session for as long as it is told to, as a real one does.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use quorate::{
    model::{
        Assessment, Capabilities, ContainerId, Labels, Resources, Revision, Sample,
        session::{FromManager, FromRunner, Hello, PROTOCOL},
    },
    runner::pace::{PATIENCE, SAMPLE, Tour, next_heartbeat},
    security::{self, JoinToken, KeyRequest, Leaf, Trust},
};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{
    fleet::{Board, Slot},
    meter::Meter,
    session::{Failure, Link},
};

/// The label of containers that are silenced, and its value: what they are found by at the API.
pub const CHOSEN: (&str, &str) = ("scale", "chosen");

/// Heartbeats that wait for their acknowledgement; more than come within any patience.
const MAX_WAITING: usize = 64;

/// What a runner has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Hold a session. Another number than before: close it, and begin at any manager.
    Live(u32),
    /// Keep the connection, and say and take nothing, like a container that is frozen.
    Silent,
    /// Close the connection and stay away, like a container that was killed. To live afterwards is another start.
    Gone,
}

/// Where all runners may go, and what they show there.
#[derive(Debug)]
pub struct Doors {
    /// The managers' session addresses, by member.
    pub managers: Vec<String>,
    pub token: JoinToken,
    pub trust: Trust,
    pub meter: Arc<Meter>,
}

/// A runner that has joined.
pub struct Runner {
    doors: Arc<Doors>,
    name: String,
    /// Whether its container is one of those that are silenced.
    chosen: bool,
    container: ContainerId,
    leaf: Leaf,
    tour: Tour,
    /// Changes with each start.
    boot: u64,
    seq: u64,
    applied: Revision,
    /// The next sample; runners that started together do not measure together.
    sample_at: Instant,
}

/// Why a session is over.
enum Over {
    Failed(Failure),
    /// The order is another one.
    Told,
}

impl From<Failure> for Over {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Runner {
    /// Makes a key, asks for a certificate by the join token, and goes on asking, as a real runner does, until it is
    /// refused for good or has failed `tries` times.
    ///
    /// # Errors
    /// The last [`Failure`].
    pub async fn join(doors: Arc<Doors>, number: usize, chosen: bool, tries: u32) -> Result<Self, Failure> {
        let name = format!("box-{number:05}");
        let mut tour = Tour::new(doors.managers.clone());
        let mut tried = 0;
        let (container, leaf) = loop {
            let began = Instant::now();
            let failure = match enroll(&doors, tour.current(), &name).await {
                Ok(joined) => break joined,
                Err(failure) => failure,
            };
            tried += 1;
            if tried >= tries || matches!(failure, Failure::Refused { retry: false, .. }) {
                return Err(failure);
            }
            sleep(tour.failed(began.elapsed()).unwrap_or_default()).await;
        };
        Ok(Self {
            tour: Tour::new(doors.managers.clone()),
            doors,
            name,
            chosen,
            container,
            leaf,
            boot: rand::random_range(1..=u64::MAX),
            seq: 0,
            applied: 0,
            sample_at: Instant::now() + SAMPLE.mul_f64(rand::random_range(0.0..1.0)),
        })
    }

    /// Its container's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does what it is told until it is aborted. The first session is opened when `gate` has room.
    pub async fn live(mut self, mut orders: watch::Receiver<Order>, board: Arc<Board>, gate: Arc<Semaphore>) {
        let slot = board.slot(self.name.clone());
        let mut gate = Some(gate);
        loop {
            let order = *orders.borrow_and_update();
            if let Order::Live(_) = order {
                let began = Instant::now();
                let over = self.session(order, &mut orders, &slot, &mut gate).await;
                slot.over();
                if let Over::Failed(failure) = over {
                    board.failed(&failure);
                    let pause = self.tour.failed(began.elapsed()).unwrap_or_default();
                    // An order ends the pause; whoever gives orders lives longer than this.
                    let _ = tokio::time::timeout(pause, orders.changed()).await;
                    if orders.borrow().eq(&order) {
                        continue;
                    }
                }
            } else if orders.changed().await.is_err() {
                return;
            }
            self.tour = Tour::new(self.doors.managers.clone());
            if order == Order::Gone {
                self.boot = rand::random_range(1..=u64::MAX);
            }
        }
    }

    async fn session(
        &mut self,
        order: Order,
        orders: &mut watch::Receiver<Order>,
        slot: &Slot,
        gate: &mut Option<Arc<Semaphore>>,
    ) -> Over {
        let opened = async {
            let room = match gate {
                Some(gate) => gate.acquire().await.ok(),
                None => None,
            };
            let link = self.open(slot).await;
            drop(room);
            link
        };
        let mut link = match opened.await {
            Ok(link) => link,
            Err(failure) => return failure.into(),
        };
        *gate = None;
        loop {
            match self.serve(&mut link, orders, slot).await {
                Over::Told if *orders.borrow_and_update() == Order::Silent => {
                    // Neither reads nor writes: the other side finds out by itself.
                    if orders.changed().await.is_err() {
                        return Over::Told;
                    }
                    // A container that thaws goes on with the session it had.
                    if *orders.borrow() != order {
                        return Over::Told;
                    }
                }
                over => return over,
            }
        }
    }

    async fn open(&mut self, slot: &Slot) -> Result<Link, Failure> {
        let tls = security::session_client(&self.doors.trust, Some(&self.leaf))?;
        let mut link = Link::open(self.tour.current(), tls, &self.doors.meter).await?;
        let hello = hello(&self.name, self.boot, self.chosen)?;
        link.send(&FromRunner::Hello {
            protocol: PROTOCOL,
            hello,
        })
        .await?;
        match link.answer().await? {
            FromManager::Welcome {
                container, managers, ..
            } if container == self.container => {
                self.tour.learn(managers);
            }
            other => return Err(Failure::Unexpected(format!("{other:?} in place of a welcome"))),
        }
        let here = self.tour.current();
        slot.opened(self.doors.managers.iter().position(|manager| manager == here));
        Ok(link)
    }

    /// Until the session breaks, no heartbeat is counted for too long, or there is another order.
    async fn serve(&mut self, link: &mut Link, orders: &mut watch::Receiver<Order>, slot: &Slot) -> Over {
        let mut waiting: VecDeque<(u64, Instant)> = VecDeque::new();
        let mut counted = Instant::now();
        let mut beat_at = Instant::now();
        loop {
            let sent = tokio::select! {
                _ = orders.changed() => return Over::Told,
                () = sleep_until(beat_at) => {
                    beat_at = Instant::now() + next_heartbeat();
                    self.beat(link, &mut waiting).await
                }
                () = sleep_until(self.sample_at) => {
                    self.sample_at = Instant::now() + SAMPLE;
                    link.send(&FromRunner::Sample(sample())).await
                }
                frame = link.next() => match frame {
                    Ok(FromManager::HeartbeatAck { seq }) => {
                        if let Some(sent) = acknowledged(&mut waiting, seq, &self.doors.meter) {
                            counted = Instant::now();
                            slot.counted(sent);
                        }
                        Ok(())
                    }
                    Ok(FromManager::Echo { number }) => link.send(&FromRunner::Echo { number }).await,
                    Ok(FromManager::Spec { .. } | FromManager::Desired { last: false, .. }) => Ok(()),
                    Ok(FromManager::Desired { revision, .. }) => {
                        self.applied = revision;
                        Ok(())
                    }
                    Ok(other) => Err(Failure::Unexpected(format!("{other:?}"))),
                    Err(failure) => Err(failure),
                },
                () = sleep_until(counted + PATIENCE) => Err(Failure::Slow("slow to count a heartbeat")),
            };
            if let Err(failure) = sent {
                return failure.into();
            }
        }
    }

    async fn beat(&mut self, link: &mut Link, waiting: &mut VecDeque<(u64, Instant)>) -> Result<(), Failure> {
        self.seq += 1;
        // A lease counts from before the sending.
        waiting.push_back((self.seq, Instant::now()));
        if waiting.len() > MAX_WAITING {
            waiting.pop_front();
        }
        self.doors.meter.heartbeat();
        let (seq, applied) = (self.seq, self.applied);
        link.send(&FromRunner::Heartbeat { seq, applied }).await
    }
}

/// When the last of the heartbeats that this acknowledges was sent.
fn acknowledged(waiting: &mut VecDeque<(u64, Instant)>, seq: u64, meter: &Meter) -> Option<Instant> {
    let count = waiting.iter().take_while(|(waits, _)| *waits <= seq).count();
    meter.acknowledged(count);
    waiting.drain(..count).next_back().map(|(_, sent)| sent)
}

async fn enroll(doors: &Doors, address: &str, name: &str) -> Result<(ContainerId, Leaf), Failure> {
    let request = KeyRequest::generate()?;
    let tls = security::pinned_client(doors.token.ca())?;
    let mut link = Link::open(address, tls, &doors.meter).await?;
    let enroll = FromRunner::Enroll {
        protocol: PROTOCOL,
        token: doors.token.to_string(),
        csr: request.csr_pem,
        hello: hello(name, 1, false)?,
    };
    link.send(&enroll).await?;
    match link.answer().await? {
        FromManager::Certificate { container, chain } => {
            Ok((container, Leaf::from_pem(&chain, &request.key_pem)?))
        }
        other => Err(Failure::Unexpected(format!(
            "{other:?} in place of a certificate"
        ))),
    }
}

/// What a runner in a usual container says of itself, as long as a real one's.
fn hello(name: &str, boot: u64, chosen: bool) -> Result<Hello, Failure> {
    let unusable = |error: &dyn std::fmt::Display| Failure::Unexpected(error.to_string());
    let label = chosen.then(|| (CHOSEN.0.to_owned(), CHOSEN.1.to_owned()));
    let words = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    Ok(Hello {
        name: name.parse().map_err(|error| unusable(&error))?,
        boot,
        engine_container: None,
        labels: Labels::new(label.into_iter().collect()).map_err(|error| unusable(&error))?,
        capabilities: Capabilities {
            platform: "linux/x86_64".to_owned(),
            runner: env!("CARGO_PKG_VERSION").to_owned(),
        },
        resources: Resources {
            cpu_millis: 2000,
            memory_bytes: 4 << 30,
        },
        assessment: Some(Assessment {
            number: 1,
            kernel: "6.1.0-18-amd64".to_owned(),
            cpus: 2,
            memory_bytes: 4 << 30,
            disk_bytes: 64 << 30,
            disk_free_bytes: 32 << 30,
            interpreters: words(&[("bash", "5.2.15"), ("perl", "5.36.0"), ("python3", "3.11.2")]),
            ..Assessment::default()
        }),
        placements: Vec::new(),
    })
}

/// A sample of a container that does a little.
fn sample() -> Sample {
    Sample {
        cpu_millis: rand::random_range(5..50),
        memory_bytes: rand::random_range(200 << 20..220 << 20),
        disk_used_bytes: 32 << 30,
        disk_read_rate: 0,
        disk_write_rate: rand::random_range(0..100_000),
        receive_rate: rand::random_range(0..10_000),
        send_rate: rand::random_range(0..10_000),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_acknowledgement_counts_for_all_heartbeats_up_to_it() {
        let (meter, now) = (Meter::default(), Instant::now());
        let mut waiting: VecDeque<_> = (1..=4).map(|seq| (seq, now + Duration::from_secs(seq))).collect();
        assert_eq!(
            acknowledged(&mut waiting, 3, &meter),
            Some(now + Duration::from_secs(3))
        );
        assert_eq!(acknowledged(&mut waiting, 3, &meter), None);
        assert_eq!((waiting.len(), meter.read().acknowledged), (1, 3));
    }

    #[test]
    fn what_a_runner_says_is_within_the_managers_bounds() {
        let hello = hello("box-00001", 7, true).unwrap();
        assert!(hello.assessment.unwrap().bounded().1.is_empty());
        assert!(hello.labels.get(CHOSEN.0).is_some());
    }
}
