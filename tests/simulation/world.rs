//! What the harness, the simulated managers and their clients share: one thread, one owner.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quorate::{
    consensus::{Consensus, First, TypeConfig, log_store::LogStore},
    model::{ManagerId, Revision},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::{checks::Seen, net, oracle::Oracle, plan::Plan, plant::Plant, storage::Storage, truth::Truth};

/// Shared by all that runs on the simulation's thread.
pub type Shared = Rc<RefCell<World>>;

/// What the harness asks a running manager to do.
#[derive(Debug)]
pub enum Order {
    Transfer,
    Allocate { incarnation: u64 },
    Remove(ManagerId),
}

/// How a manager stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Running,
    /// Until this millisecond.
    Down(u64),
    /// For good.
    Gone,
}

/// A running manager, as the harness sees into it.
pub struct Live {
    pub consensus: Consensus,
    pub log: LogStore<TypeConfig>,
    pub applied: watch::Receiver<Revision>,
    pub orders: mpsc::UnboundedSender<Order>,
}

/// One manager: its machine, and its process if there is one.
pub struct Node {
    pub incarnation: u64,
    pub storage: Storage,
    pub first: First,
    pub standing: Standing,
    /// Its data were taken away: it must notice and end.
    pub wiped: bool,
    pub live: Option<Live>,
    /// Why its process must end, once it says so.
    pub fatal: Arc<Mutex<Option<String>>>,
    /// The longest its disk takes for a turn, in milliseconds.
    pub slowness: Arc<AtomicU64>,
    pub seen: Seen,
    pub wrote_at: u64,
    pub read_at: u64,
}

/// What happened in a run, counted.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub struct Happened {
    pub kills: u64,
    pub power_cuts: u64,
    pub storage_deaths: u64,
    pub lost_changes: u64,
    pub partitions: u64,
    pub one_way: u64,
    pub slow_links: u64,
    pub slow_disks: u64,
    pub transfers: u64,
    pub joins: u64,
    pub removals: u64,
    pub wipes: u64,
    pub leaders: u64,
    pub full_checks: u64,
}

impl Happened {
    /// How often a manager or the network between them failed.
    pub fn broke(&self) -> u64 {
        self.kills + self.power_cuts + self.storage_deaths + self.partitions + self.one_way
    }
}

pub struct World {
    /// Milliseconds since the start.
    pub now: u64,
    pub plan: Plan,
    pub plant: Plant,
    pub rng: StdRng,
    pub nodes: BTreeMap<ManagerId, Node>,
    pub oracle: Oracle,
    pub truth: Truth,
    pub trace: String,
    /// No client begins anything any more.
    pub quiet: bool,
    /// The first thing that was wrong.
    pub broken: Option<String>,
    /// Ids that were given to managers which are to join, with their data directories.
    pub to_join: Vec<(ManagerId, u64)>,
    pub happened: Happened,
}

impl World {
    pub fn new(plan: Plan, plant: Plant, seed: u64) -> Self {
        let mut this = Self {
            now: 0,
            plant,
            rng: StdRng::seed_from_u64(seed ^ 0x5eed_0f0b),
            nodes: BTreeMap::new(),
            oracle: Oracle::default(),
            truth: Truth::default(),
            trace: String::new(),
            quiet: false,
            broken: None,
            to_join: Vec::new(),
            happened: Happened::default(),
            plan,
        };
        let peers: BTreeMap<_, _> = (1..=this.plan.managers).map(|id| (id, net::info(id))).collect();
        for id in 1..=this.plan.managers {
            this.add(id, 100 + id, First::Form(peers.clone()));
        }
        this
    }

    pub fn add(&mut self, id: ManagerId, incarnation: u64, first: First) {
        let node = Node {
            incarnation,
            storage: Storage::new(self.plant),
            first,
            standing: Standing::Running,
            wiped: false,
            live: None,
            fatal: Arc::default(),
            slowness: Arc::new(AtomicU64::new(self.plan.disk)),
            seen: Seen::default(),
            wrote_at: 0,
            read_at: 0,
        };
        self.nodes.insert(id, node);
    }

    pub fn node(&mut self, id: ManagerId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a manager that was added")
    }

    /// Adds a line to the trace.
    pub fn note(&mut self, line: impl AsRef<str>) {
        let _ = writeln!(self.trace, "{:>6} {}", self.now, line.as_ref());
    }

    /// Keeps the first thing that is wrong.
    pub fn hold(&mut self, verdict: Result<(), String>) {
        if let Err(why) = verdict
            && self.broken.is_none()
        {
            self.note(format!("BROKEN {why}"));
            self.broken = Some(why);
        }
    }

    /// A generator of its own for something that runs beside the rest.
    pub fn fork(&mut self) -> StdRng {
        StdRng::seed_from_u64(self.rng.random())
    }

    /// Managers whose process runs and is open to requests.
    pub fn live(&self) -> Vec<ManagerId> {
        let live = self.nodes.iter().filter(|(_, node)| node.live.is_some());
        live.map(|(id, _)| *id).collect()
    }

    /// Managers whose process runs, whether it is open or not.
    pub fn running(&self) -> Vec<ManagerId> {
        let running = self
            .nodes
            .iter()
            .filter(|(_, node)| node.standing == Standing::Running);
        running.map(|(id, _)| *id).collect()
    }

    /// Whoever was last elected, as far as any running manager knows.
    pub fn leader(&self) -> Option<ManagerId> {
        let votes = self.nodes.values().filter(|n| n.live.is_some());
        let latest = votes
            .filter_map(|n| n.seen.vote)
            .max_by_key(|v| v.leader_id.term)?;
        Some(latest.leader_id.voted_for)
    }

    /// Members that can serve: in the newest committed membership, with their data.
    pub fn serving(&self) -> BTreeSet<ManagerId> {
        let whole = |id: &ManagerId| {
            let node = self.nodes.get(id);
            node.is_some_and(|n| !n.wiped && n.standing != Standing::Gone)
        };
        self.truth.members().into_iter().filter(whole).collect()
    }
}

/// How long a simulated disk takes, each time anew.
pub struct Pace {
    pub rng: StdRng,
    pub slowness: Arc<AtomicU64>,
}

impl Pace {
    pub fn next(&mut self) -> Duration {
        let most = self.slowness.load(Ordering::Relaxed);
        Duration::from_millis(self.rng.random_range(0..=most))
    }
}
