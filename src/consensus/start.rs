//! Bringing one manager's consensus up, and down.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;
use openraft::{Config, SnapshotPolicy};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};
use tracing::{info, warn};

use super::{
    core::{Core, OnDigest},
    figures::{Figures, count_objects},
    handle::{Consensus, PROPOSAL_BYTES, READ_QUEUE, Shared, Status},
    log_store::{LogStore, OpenError},
    membership,
    network::Network,
    peers::{self, BoxedStream, Dial, Lane, Link, Me, Probe, Request, Response},
    proposer, reads,
    snapshot_store::{SnapshotError, SnapshotStore},
    state_machine::StateMachine,
    status::{self, Fatal, Halt},
    types::{Raft, TypeConfig},
};
use crate::{
    command::{ClusterCommand, Command},
    model::{ManagerId, Member, PeerInfo},
    state::State,
};

/// How often a manager without a cluster asks the others.
const ASK_EVERY: Duration = Duration::from_millis(250);

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

/// What a manager without any log does first.
#[derive(Debug, Clone)]
pub enum First {
    /// Forms a cluster with these managers, itself among them, once all of them answer and none has
    /// a cluster already. A single one forms it at once.
    Form(BTreeMap<ManagerId, PeerInfo>),
    /// Asks one of these managers to be added; its id was allocated before.
    Join(Vec<(ManagerId, PeerInfo)>),
}

/// What one manager needs.
pub struct Options {
    /// Its id, from its identity file.
    pub id: ManagerId,
    /// Random, made with its data directory.
    pub incarnation: u64,
    /// Where it is reached.
    pub info: PeerInfo,
    /// Holds `raft/` and `snapshots/`.
    pub data_dir: PathBuf,
    /// Raft's time and space.
    pub raft: RaftSettings,
    /// What to do with an empty log.
    pub first: First,
    /// The first command of the cluster, proposed by the first leader that finds it missing.
    pub bootstrap: Option<ClusterCommand>,
    /// The way to other managers.
    pub dial: Arc<dyn Dial>,
    /// Told of each digest that reaches the leader.
    pub on_digest: OnDigest,
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
    core: Arc<Core>,
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
    /// Serves a connection from another manager until it ends; `authenticated` is the id its
    /// certificate was issued for.
    pub async fn serve_peer(&self, stream: BoxedStream, authenticated: ManagerId) {
        peers::serve(self.core.clone(), stream, authenticated).await;
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
    /// Opens the stores and starts raft and the tasks around it.
    ///
    /// # Errors
    /// [`StartError`]: this manager must not go on with what is stored.
    pub async fn start(options: Options) -> Result<(Self, Running), StartError> {
        let Options {
            id,
            incarnation,
            info,
            data_dir,
            raft,
            first,
            bootstrap,
            dial,
            on_digest,
            fatal,
        } = options;
        let me = Me { id, incarnation };
        let (proposals, proposal_queue) = mpsc::unbounded_channel();
        let (read_sender, read_queue) = mpsc::channel(READ_QUEUE);
        let (membership, membership_queue) = mpsc::channel(64);
        let (digests, digest_queue) = mpsc::channel(64);
        let shared = Arc::new(Shared {
            id,
            published: ArcSwap::from_pointee(State::default()),
            figures: Figures::default(),
            applied: watch::Sender::new(0),
            status: watch::Sender::new(Status::default()),
            leadership: watch::Sender::new(None),
            places: Arc::new(Semaphore::new(PROPOSAL_BYTES)),
            proposals,
            reads: read_sender,
            membership,
            digests,
        });
        let (dir, fatal_storage) = (data_dir.join("raft"), fatal.clone());
        let hook = Arc::new(move |why| fatal_storage(Halt::Storage(why)));
        let log = blocking(move || LogStore::<TypeConfig>::open(&dir, hook)).await??;
        let (dir, publish) = (data_dir.join("snapshots"), shared.clone());
        let (snapshots, machine) = blocking(move || {
            let snapshots = Arc::new(SnapshotStore::open(&dir)?);
            let machine = StateMachine::open(publish, snapshots.clone())?;
            Ok::<_, StartError>((snapshots, machine))
        })
        .await??;
        let network = Network {
            dial: dial.clone(),
            me,
        };
        let config = Arc::new(raft_config(&raft).validate()?);
        let raft = Raft::new(id, config, network, log.clone(), machine).await;
        let raft = raft.map_err(|error| StartError::Raft(error.to_string()))?;
        let core = Core {
            me,
            raft,
            shared: shared.clone(),
            snapshots,
            dial,
            on_digest,
            leader_link: Mutex::new(None),
        };
        let core = Arc::new(core);
        let handle = Self { shared };
        let tasks = vec![
            tokio::spawn(proposer::run(core.clone(), proposal_queue)),
            tokio::spawn(reads::run(core.clone(), read_queue)),
            tokio::spawn(reads::run_digests(core.clone(), digest_queue)),
            tokio::spawn(membership::run(core.clone(), membership_queue)),
            tokio::spawn(membership::promote(core.clone())),
            tokio::spawn(status::run(core.clone())),
            tokio::spawn(status::run_leadership(core.clone())),
            tokio::spawn(status::run_watch(core.raft.clone(), fatal.clone())),
            tokio::spawn(begin(core.clone(), first, info, fatal)),
            tokio::spawn(found(handle.clone(), bootstrap)),
            tokio::spawn(count_objects(handle.clone())),
        ];
        Ok((handle, Running { core, log, tasks }))
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
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
        install_snapshot_timeout: 60_000,
        ..Config::default()
    }
}

/// What a manager with an empty log does, until it has a membership.
async fn begin(core: Arc<Core>, first: First, info: PeerInfo, fatal: Fatal) {
    match core.raft.is_initialized().await {
        Ok(false) => {}
        Ok(true) | Err(_) => return,
    }
    match first {
        First::Form(peers) => form(core, peers, fatal).await,
        First::Join(peers) => join(core, peers, info, fatal).await,
    }
}

/// Forms a cluster. Nobody begins before everybody was asked: a manager that lost its data must not
/// begin again beside a cluster that knows it.
async fn form(core: Arc<Core>, peers: BTreeMap<ManagerId, PeerInfo>, fatal: Fatal) {
    let me = core.me;
    let mut members = BTreeMap::new();
    loop {
        if matches!(core.raft.is_initialized().await, Ok(true)) {
            return;
        }
        for (id, info) in &peers {
            let incarnation = if *id == me.id {
                me.incarnation
            } else {
                match probe(&core, *id, info).await {
                    Ok((
                        _,
                        Probe {
                            initialized: true,
                            knows: Some(known),
                        },
                    )) if known != me.incarnation => {
                        return fatal(Halt::Consensus(format!(
                            "manager {} is known to the cluster with another data directory: its data were lost, so it can't come back as itself; remove it and join it as a new manager",
                            me.id
                        )));
                    }
                    Ok((
                        _,
                        Probe {
                            initialized: true,
                            knows: None,
                        },
                    )) => {
                        return fatal(Halt::Consensus(format!(
                            "manager {id} has a cluster without manager {}: join it with a join token instead",
                            me.id
                        )));
                    }
                    Ok((
                        incarnation,
                        Probe {
                            initialized: false, ..
                        },
                    )) => incarnation,
                    // Known as itself: the others will be in touch.
                    Ok(_) | Err(_) => continue,
                }
            };
            members.insert(
                *id,
                Member {
                    info: info.clone(),
                    incarnation,
                },
            );
        }
        let lowest = peers.keys().next() == Some(&me.id);
        if lowest && members.len() == peers.len() {
            info!(managers = members.len(), "forming a cluster");
            if let Err(error) = core.raft.initialize(members.clone()).await {
                warn!(%error, "the cluster was not formed");
            }
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Asks a manager what it knows; returns its incarnation too.
async fn probe(core: &Core, id: ManagerId, info: &PeerInfo) -> io::Result<(u64, Probe)> {
    let (_, incarnation) = peers::open(&*core.dial, core.me, Lane::Join, id, info, None).await?;
    let member = Member {
        info: info.clone(),
        incarnation,
    };
    let link = Link::new(core.dial.clone(), core.me, Lane::Join, id, member);
    match link.call(Request::Probe, Duration::from_secs(1)).await {
        Ok(Response::Probe(probe)) => Ok((incarnation, probe)),
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Asks the known managers in turn to be added, until this manager has a membership.
async fn join(core: Arc<Core>, peers: Vec<(ManagerId, PeerInfo)>, info: PeerInfo, fatal: Fatal) {
    let me = core.me;
    let member = Member {
        info,
        incarnation: me.incarnation,
    };
    for (id, info) in peers.iter().cycle() {
        if matches!(core.raft.is_initialized().await, Ok(true)) {
            return;
        }
        if let Ok((incarnation, _)) = probe(&core, *id, info).await {
            let theirs = Member {
                info: info.clone(),
                incarnation,
            };
            let link = Link::new(core.dial.clone(), me, Lane::Join, *id, theirs);
            let request = Request::AddManager {
                id: me.id,
                member: member.clone(),
            };
            match link.call(request, Duration::from_secs(10)).await {
                Ok(Response::Membership(Ok(()))) => info!(manager = me.id, "joined as a learner"),
                Ok(Response::Membership(Err(super::error::MembershipError::Invalid(why)))) => {
                    return fatal(Halt::Consensus(why));
                }
                other => warn!(answer = ?other, "not added yet; asking again"),
            }
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Proposes the first command of the cluster while this manager leads one that lacks it.
async fn found(consensus: Consensus, bootstrap: Option<ClusterCommand>) {
    let Some(bootstrap) = bootstrap else { return };
    let mut leadership = consensus.watch_leadership();
    while leadership.wait_for(Option::is_some).await.is_ok() {
        if consensus.state().cluster_id().is_some() {
            return;
        }
        // A second one, of an earlier leader, is rejected by apply and does no harm.
        if let Err(error) = consensus.propose(None, Command::Cluster(bootstrap.clone())).await {
            warn!(%error, "the cluster was not founded yet; trying again");
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}
