//! Managers and runners as processes: how they are set up, started, ended and asked.
//!
//! A cluster has **seats**. The first ones are taken by the managers that found it; the spare ones are for managers
//! that join later. A seat outlives its manager: one that is lost for good is replaced by another in the same seat.

mod bundle;
mod change;
mod clock;
pub mod ledger;
mod process;
mod runner;
mod seat;
mod settle;
mod watch;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::{FutureExt, join_all};
use quorate::client::Client;
use quorate::client::types::ClusterStatus;
use tokio::time::{Instant, sleep};

pub use self::bundle::Entry;
pub use self::clock::Clock;
use self::ledger::Ledger;
pub use self::runner::Runner;
pub use self::seat::{Cut, Exit, House, Seat, Tenant};
pub use self::watch::{Watch, Watched};
use crate::disk::Disk;
use crate::history::Recorder;
use crate::net::{self, Network};
use crate::workload::Endpoint;

/// How often the supervisor looks after its managers, and how long it waits before it starts one again.
const SUPERVISE_EVERY: Duration = Duration::from_millis(200);

/// What a run needs of its cluster.
#[derive(Debug, Clone)]
pub struct Needs {
    /// Managers that found the cluster.
    pub managers: u64,
    /// Empty seats for those that join later.
    pub spare: u64,
    /// Runners, each in a place of its own behind the seats.
    pub runners: u64,
    pub disks: bool,
    pub clocks: bool,
    /// Environment of every manager.
    pub environment: Vec<(String, String)>,
    /// Keys of every manager's configuration, each as `key=value`.
    pub settings: Vec<String>,
    pub network: net::Kind,
}

/// Who leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    pub seat: u64,
    pub term: u64,
}

/// A cluster.
pub struct Cluster {
    pub seats: Vec<Arc<Seat>>,
    pub runners: Vec<Arc<Runner>>,
    pub network: Arc<dyn Network>,
    founders: u64,
    dir: PathBuf,
    /// Speaks to all founders' seats.
    pub client: Client,
    ca: String,
    token: String,
    pub recorder: Arc<Recorder>,
    exits: Mutex<Vec<Exit>>,
    pub watch: Watch,
    // Last: whatever was not undone before is undone when everything else is gone.
    _ledger: Arc<Ledger>,
}

impl Cluster {
    /// Sets a cluster up in `dir`, and starts it.
    ///
    /// # Errors
    /// Something cannot be made; what was is undone.
    pub async fn start(
        dir: &Path,
        binary: &Path,
        needs: &Needs,
        recorder: Arc<Recorder>,
    ) -> Result<Arc<Self>> {
        let ledger = Arc::new(Ledger::open()?);
        let bundle = dir.join("bundle");
        bundle::make(binary, &bundle).await?;
        let read = |name: &str| {
            let path = bundle.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
        };
        let (ca, token) = (read("ca.pem")?, read("admin.token")?.trim().to_owned());
        let count = needs.managers + needs.spare;
        let network = net::make(
            needs.network,
            Arc::clone(&ledger),
            count + needs.runners,
            &bundle::PORTS,
        )
        .await?;
        let house = House {
            binary: binary.to_owned(),
            bundle,
            ledger: Arc::clone(&ledger),
            environment: needs.environment.clone(),
            settings: needs.settings.clone(),
            network: Arc::clone(&network),
        };
        let mut seats = Vec::new();
        let places = network.places();
        let (for_seats, for_runners) = places.split_at(count as usize);
        for (number, address) in for_seats {
            let dir = dir.join(format!("seat-{number}"));
            std::fs::create_dir_all(dir.join("data")).context("a seat's directory cannot be made")?;
            let url = format!("https://{address}:{}", bundle::API);
            let disk = needs.disks.then(|| Disk::mount(&dir.join("data"), &ledger));
            let clock = needs.clocks.then(|| Clock::make(&dir));
            seats.push(Arc::new(Seat {
                number: *number,
                address: (*address).into(),
                client: client(&[url], &ca, &token)?,
                disk: disk.transpose()?,
                clock: clock.transpose()?,
                dir,
                house: house.clone(),
                tenant: tokio::sync::Mutex::default(),
                wiped: AtomicU64::new(0),
                pid: AtomicI32::new(0),
            }));
        }
        let founders: Vec<IpAddr> = places[..needs.managers as usize]
            .iter()
            .map(|(_, address)| (*address).into())
            .collect();
        let runners = for_runners
            .iter()
            .map(|(place, _)| Runner::new(dir, house.clone(), *place, &founders).map(Arc::new))
            .collect::<Result<_>>()?;
        let urls: Vec<_> = founders
            .iter()
            .map(|address| format!("https://{address}:{}", bundle::API))
            .collect();
        let cluster = Arc::new(Self {
            client: client(&urls, &ca, &token)?,
            founders: needs.managers,
            dir: dir.to_owned(),
            seats,
            runners,
            network,
            ca,
            token,
            recorder,
            exits: Mutex::new(Vec::new()),
            watch: Watch::default(),
            _ledger: ledger,
        });
        cluster.found().await?;
        Ok(cluster)
    }

    async fn found(&self) -> Result<()> {
        let peers: Vec<(u64, IpAddr)> = self.founders().map(|seat| (seat.number, seat.address)).collect();
        for seat in self.founders() {
            seat.furnish(&Entry::Founder { peers: peers.clone() })?;
            seat.start().await?;
        }
        for runner in &self.runners {
            runner.start().await?;
        }
        Ok(())
    }

    /// The seats of the managers that founded the cluster, in which clients' managers live.
    pub fn founders(&self) -> impl Iterator<Item = &Arc<Seat>> {
        self.seats.iter().take(self.founders as usize)
    }

    /// How clients reach the managers.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.founders()
            .map(|seat| Endpoint {
                node: seat.number,
                url: format!("https://{}:{}", seat.address, bundle::API),
                ca: self.ca.clone(),
                token: self.token.clone(),
            })
            .collect()
    }

    /// The seat with this number.
    ///
    /// # Errors
    /// There is none.
    pub fn seat(&self, number: u64) -> Result<&Arc<Seat>> {
        self.seats
            .iter()
            .find(|seat| seat.number == number)
            .with_context(|| format!("there is no seat {number}"))
    }

    /// The seat of a manager, by the address it is known under.
    pub fn seat_at(&self, api: &str) -> Option<&Arc<Seat>> {
        self.seats
            .iter()
            .find(|seat| api == format!("{}:{}", seat.address, bundle::API))
    }

    /// The seats somebody shall live in.
    pub async fn wanted(&self) -> Vec<Arc<Seat>> {
        let mut wanted = Vec::new();
        for seat in &self.seats {
            if seat.wanted().await {
                wanted.push(Arc::clone(seat));
            }
        }
        wanted
    }

    /// The seats somebody lives in at this moment.
    pub async fn occupied(&self) -> Vec<Arc<Seat>> {
        let mut occupied = Vec::new();
        for seat in &self.seats {
            if seat.occupied().await {
                occupied.push(Arc::clone(seat));
            }
        }
        occupied
    }

    /// What each manager that answers says of the cluster, by seat.
    pub async fn views(&self) -> Vec<(u64, ClusterStatus)> {
        let asked = self
            .seats
            .iter()
            .map(|seat| async move { Some((seat.number, seat.status().await.ok()?)) }.boxed());
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Who leads now: of those that say so of themselves, the one with the highest term.
    pub async fn leader(&self) -> Option<Leader> {
        let views = self.views().await;
        views
            .iter()
            .filter(|(_, view)| view.leader == Some(view.answered_by))
            .map(|(seat, view)| Leader {
                seat: *seat,
                term: view.term,
            })
            .max_by_key(|leader| leader.term)
    }

    /// Waits for a leader.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn await_leader(&self, within: Duration) -> Result<Leader> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(leader) = self.leader().await {
                return Ok(leader);
            }
            if Instant::now() > deadline {
                anyhow::bail!("there was no leader within {within:?}");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Undoes every fault that may still be in effect, and starts whoever is missing.
    ///
    /// # Errors
    /// Something cannot be undone.
    pub async fn heal(&self) -> Result<()> {
        self.network.heal().await?;
        for seat in &self.seats {
            if let Some(disk) = &seat.disk {
                disk.mend();
            }
            if let Some(clock) = &seat.clock {
                clock.set(0.0)?;
            }
            seat.resume().await;
            if seat.wanted().await {
                seat.start().await?;
            }
        }
        for runner in &self.runners {
            runner.resume().await;
            runner.start().await?;
        }
        Ok(())
    }

    /// Starts managers again that ended by themselves, until dropped.
    pub async fn supervise(self: Arc<Self>) {
        loop {
            for seat in &self.seats {
                match seat.supervise().await {
                    Ok(None) => {}
                    Ok(Some(exit)) => {
                        let value = serde_json::to_value(&exit).unwrap_or_default();
                        self.recorder.nemesis("manager ended by itself", value);
                        self.exits().push(exit);
                    }
                    Err(error) => self
                        .recorder
                        .nemesis("supervisor failed", format!("{error:#}").into()),
                }
            }
            sleep(SUPERVISE_EVERY).await;
        }
    }

    fn exits(&self) -> std::sync::MutexGuard<'_, Vec<Exit>> {
        self.exits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The managers that ended by themselves so far.
    pub fn ended_by_themselves(&self) -> Vec<Exit> {
        self.exits().clone()
    }

    /// Where a file for the managers, such as a join token, may be put.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// A client that gives up quickly: the harness asks again by itself.
fn client(urls: &[String], ca: &str, token: &str) -> Result<Client> {
    Client::builder()
        .endpoints(urls.iter().cloned())
        .ca_pem(ca)
        .token(token)
        .attempt_timeout(Duration::from_millis(2500))
        .retry_for(Duration::ZERO)
        .build()
        .context("no client can be made")
}
