//! Bringing one manager's consensus up, and down.

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use arc_swap::ArcSwap;
use openraft::{Config, SnapshotPolicy, storage::RaftLogReader};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tracing::warn;

use super::{
    begin::{self, First},
    core::{Clock, Core, register},
    figures::{Figures, count_objects},
    handle::{Consensus, ENTRIES_TOGETHER, PROPOSAL_BYTES, READ_QUEUE, Shared, Status},
    log_store::{LogStore, OpenError},
    membership,
    network::Network,
    proposer, reads,
    runtime::blocking,
    snapshot_store::{SnapshotError, SnapshotStore},
    state_machine::StateMachine,
    status::{self, Fatal, Halt},
    trim,
    types::{Raft, TypeConfig},
};
use crate::{command::ClusterCommand, model::PeerInfo, peers::Peers, state::State};

/// Raft's time and space.
#[derive(Debug, Clone)]
pub struct RaftSettings {
    /// Between a leader's heartbeats.
    pub heartbeat: Duration,
    /// A follower campaigns after `election_max` and a random time between these two.
    pub election_min: Duration,
    /// See `election_min`.
    pub election_max: Duration,
    /// Entries between snapshots.
    pub snapshot_every: u64,
    /// Entries kept behind a snapshot, for followers that lag.
    pub keep_logs: u64,
}

/// Where one manager's log and snapshots are kept.
pub struct Stores {
    /// The log.
    pub log: LogStore<TypeConfig>,
    /// The snapshots.
    pub snapshots: Arc<SnapshotStore>,
}

impl Stores {
    /// Opens or creates both in `data_dir`, as `raft/` and `snapshots/`. `fatal` is told when the log can't
    /// go on.
    ///
    /// # Errors
    /// [`StartError`]: this manager must not go on with what is stored.
    pub async fn open(data_dir: &Path, fatal: Fatal) -> Result<Self, StartError> {
        let (log, snapshots) = (data_dir.join("raft"), data_dir.join("snapshots"));
        let hook = Arc::new(move |why| fatal(Halt::Storage(why)));
        blocking(move || {
            let log = LogStore::open(&log, hook)?;
            let snapshots = Arc::new(SnapshotStore::open(&snapshots)?);
            Ok(Self { log, snapshots })
        })
        .await?
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores")
            .field("snapshots", &self.snapshots)
            .finish_non_exhaustive()
    }
}

/// What one manager needs.
pub struct Options {
    /// Where it is reached.
    pub info: PeerInfo,
    /// Its log and snapshots.
    pub stores: Stores,
    /// Its clock.
    pub clock: Clock,
    /// Raft's time and space.
    pub raft: RaftSettings,
    /// What to do with an empty log.
    pub first: First,
    /// The first command of the cluster, proposed by the first leader that finds it missing.
    pub bootstrap: Option<ClusterCommand>,
    /// The ways to other managers, and who this one is.
    pub peers: Peers,
    /// Ends the process.
    pub fatal: Fatal,
}

/// Why a manager's consensus did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log.
    #[error("the log can't be used")]
    Log(#[from] OpenError),
    /// The snapshots.
    #[error("the snapshots can't be used")]
    Snapshots(#[from] SnapshotError),
    /// What the latest snapshot holds.
    #[error("the latest snapshot can't be taken up")]
    Machine(#[from] io::Error),
    /// Raft's settings contradict each other.
    #[error("raft refuses its settings")]
    Settings(#[from] openraft::ConfigError),
    /// Raft did not start on what is stored.
    #[error("raft does not start: {0}")]
    Raft(String),
}

/// The running consensus of one manager.
pub struct Running {
    pub(super) core: Arc<Core>,
    log: LogStore<TypeConfig>,
    tasks: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("core", &self.core)
            .finish_non_exhaustive()
    }
}

impl Running {
    /// The first index of the log that is still there.
    #[cfg(test)]
    pub(super) fn first_index(&self) -> u64 {
        self.log.first_index()
    }

    /// Stops. Leadership should be handed over before, by [`Consensus::transfer_leadership`].
    pub async fn stop(&self) {
        if let Err(error) = self.core.raft.shutdown().await {
            warn!(%error, "raft did not stop cleanly");
        }
        self.tasks.iter().for_each(JoinHandle::abort);
        self.log.close().await;
    }
}

impl Consensus {
    /// Starts raft on what is stored, and the tasks around it.
    ///
    /// # Errors
    /// [`StartError`]: this manager must not go on with what is stored.
    pub async fn start(options: Options) -> Result<(Self, Running), StartError> {
        let Options {
            info,
            stores,
            clock,
            raft,
            first,
            bootstrap,
            peers,
            fatal,
        } = options;
        let me = peers.me();
        let id = me.id;
        let (proposals, proposal_queue) = mpsc::unbounded_channel();
        let (read_sender, read_queue) = mpsc::channel(READ_QUEUE);
        let (membership, membership_queue) = mpsc::channel(64);
        let (confirmations, confirmation_queue) = mpsc::channel(64);
        let shared = Arc::new(Shared {
            id,
            current: Mutex::new(State::default()),
            published: ArcSwap::from_pointee(State::default()),
            revision: AtomicU64::new(0),
            objects: watch::Sender::new(0),
            figures: Figures::default(),
            applied: watch::Sender::new(0),
            status: watch::Sender::new(Status::default()),
            leadership: watch::Sender::new(None),
            places: Arc::new(Semaphore::new(PROPOSAL_BYTES)),
            proposals,
            reads: read_sender,
            membership,
            confirmations,
        });
        let Stores { log, snapshots } = stores;
        let (publish, from) = (shared.clone(), snapshots.clone());
        let machine = blocking(move || StateMachine::open(publish, from)).await??;
        let network = Network { peers: peers.clone() };
        let config = Arc::new(raft_config(&raft).validate()?);
        let vote = log.clone().read_vote().await?;
        let raft = Raft::new(id, config, network, log.clone(), machine).await;
        let raft = raft.map_err(|error| StartError::Raft(error.to_string()))?;
        if vote.is_some_and(|vote| vote.committed && vote.leader_id.voted_for == id) {
            // Nobody else may have noticed that it was gone: ask at once whether it may lead again.
            let asked = raft.trigger().elect(true).await;
            asked.map_err(|error| StartError::Raft(error.to_string()))?;
        }
        let core = Core {
            me,
            raft,
            shared: shared.clone(),
            snapshots,
            peers: peers.clone(),
            leader_links: Mutex::new(None),
            changing: Semaphore::new(1),
            clock,
            began: Instant::now(),
            silent_since: AtomicU64::new(0),
        };
        let core = Arc::new(core);
        // Raft answers once it has taken in what was stored. Before that it knows of no term, and a manager that
        // started again must not tell of an older one than it did.
        let answered = core.raft.is_initialized().await;
        answered.map_err(|error| StartError::Raft(error.to_string()))?;
        core.shared.status.send_replace(status::look(&core));
        register(&core);
        let handle = Self { shared };
        let tasks = vec![
            tokio::spawn(proposer::run(core.clone(), proposal_queue)),
            tokio::spawn(reads::run(core.clone(), read_queue)),
            tokio::spawn(reads::run_confirmations(core.clone(), confirmation_queue)),
            tokio::spawn(membership::run(core.clone(), membership_queue)),
            tokio::spawn(membership::tend(core.clone())),
            tokio::spawn(async move { peers.keep_open().await }),
            tokio::spawn(status::run(core.clone())),
            tokio::spawn(status::run_leadership(core.clone())),
            tokio::spawn(status::run_watch(core.raft.clone(), fatal.clone())),
            tokio::spawn(begin::run(core.clone(), first, info, fatal)),
            tokio::spawn(begin::found(handle.clone(), bootstrap)),
            tokio::spawn(count_objects(handle.clone())),
            tokio::spawn(trim::run(core.clone(), log.clone())),
        ];
        Ok((handle, Running { core, log, tasks }))
    }
}

fn raft_config(settings: &RaftSettings) -> Config {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: "quorate".into(),
        heartbeat_interval: millis(settings.heartbeat),
        election_timeout_min: millis(settings.election_min),
        election_timeout_max: millis(settings.election_max),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(settings.snapshot_every),
        max_in_snapshot_log_to_keep: settings.keep_logs,
        // A follower is only given a snapshot when its log is gone: see openraft #2116.
        replication_lag_threshold: settings.snapshot_every.saturating_mul(4).max(1_000_000),
        purge_batch_size: 1_024,
        enable_pre_vote: Some(true),
        // A leader that comes back must be elected again. Raft commits with a quorum that need not
        // include the leader's own disk: one that was killed may have lost entries which the others
        // acknowledged, and would give their places in the same term to other entries, which nothing
        // tells apart. Nor does it know what was committed, which reads need.
        enable_leader_restore: Some(false),
        install_snapshot_timeout: 60_000,
        max_payload_entries: ENTRIES_TOGETHER,
        ..Config::default()
    }
}
