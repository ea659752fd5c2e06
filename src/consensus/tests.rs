//! A whole cluster in one process, over in-memory streams and real logs on disk.

mod elections;
mod faults;
mod membership;
mod reads;
mod sizes;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use openraft::async_runtime::watch::WatchReceiver;
use tempfile::TempDir;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::*;
use crate::{
    command::{ClusterCommand, Command, Condition, ConfigCommand, Outcome, RequestKey},
    model::{JoinRole, JoinToken, JoinTokenId, ManagerId, PeerInfo, Revision, Role, Token, TokenId},
    peers::{BoxedStream, Dial, Me, Peers},
};

/// Takes a listener's streams, each with who it is from.
type Streams = mpsc::UnboundedSender<(BoxedStream, ManagerId)>;

/// Where each address's listener takes its streams.
#[derive(Debug, Default, Clone)]
struct Net {
    listeners: Arc<Mutex<BTreeMap<String, Streams>>>,
    dials: Arc<AtomicUsize>,
}

/// One manager's way into the net.
#[derive(Debug)]
struct NetDial {
    net: Net,
    me: ManagerId,
}

impl Dial for NetDial {
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<BoxedStream>> {
        let (net, me) = (self.net.clone(), self.me);
        net.dials.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let listeners = net.listeners.lock().unwrap();
            let listener = listeners.get(&address).ok_or_else(refused)?;
            listener.send((Box::new(theirs), me)).map_err(|_| refused())?;
            Ok(Box::new(ours) as BoxedStream)
        })
    }
}

struct Manager {
    consensus: Consensus,
    running: Arc<Running>,
    dir: Arc<TempDir>,
    accept: tokio::task::JoinHandle<()>,
    fatal: mpsc::UnboundedReceiver<String>,
}

fn info(id: ManagerId) -> PeerInfo {
    PeerInfo {
        peer: format!("peer-{id}"),
        api: format!("api-{id}"),
        session: format!("session-{id}"),
    }
}

fn settings() -> RaftSettings {
    RaftSettings {
        heartbeat: Duration::from_millis(50),
        election_min: Duration::from_millis(150),
        election_max: Duration::from_millis(300),
        snapshot_every: 200,
        keep_logs: 10,
    }
}

fn bootstrap() -> ClusterCommand {
    ClusterCommand::Bootstrap {
        cluster_id: "test".into(),
        admin: Token {
            id: TokenId(1),
            name: "admin".parse().unwrap(),
            role: Role::Admin,
            hash: [0; 32],
            expires_at: None,
            version: 0,
        },
        join: JoinToken {
            id: JoinTokenId(2),
            role: JoinRole::Manager,
            hash: [0; 32],
            expires_at: None,
            uses_left: None,
            version: 0,
        },
        next_manager: 4,
    }
}

impl Manager {
    async fn start(net: &Net, id: ManagerId, incarnation: u64, dir: Arc<TempDir>, first: First) -> Self {
        Self::start_with(net, id, incarnation, dir, first, settings()).await
    }

    async fn start_with(
        net: &Net,
        id: ManagerId,
        incarnation: u64,
        dir: Arc<TempDir>,
        first: First,
        raft: RaftSettings,
    ) -> Self {
        let (hook, fatal) = mpsc::unbounded_channel();
        let ends: Fatal = Arc::new(move |why| {
            let _ = hook.send(why.to_string());
        });
        let dial = NetDial {
            net: net.clone(),
            me: id,
        };
        let peers = Peers::new(Arc::new(dial), Me { id, incarnation });
        let options = Options {
            info: info(id),
            stores: Stores::open(dir.path(), ends.clone()).await.unwrap(),
            clock: Clock::start(),
            raft,
            first,
            bootstrap: Some(bootstrap()),
            peers: peers.clone(),
            fatal: ends,
        };
        let (consensus, running) = Consensus::start(options).await.unwrap();
        let running = Arc::new(running);
        let (sender, mut streams) = mpsc::unbounded_channel();
        net.listeners.lock().unwrap().insert(info(id).peer, sender);
        let accept = tokio::spawn(async move {
            // Ends with this task: the connections of a manager end with it.
            let mut open = JoinSet::new();
            while let Some((stream, from)) = streams.recv().await {
                let peers = peers.clone();
                open.spawn(async move { peers.serve(stream, from).await });
            }
        });
        Self {
            consensus,
            running,
            dir,
            accept,
            fatal,
        }
    }

    /// Ends it and gives its directory back, once its log is let go of.
    async fn stop(self, net: &Net) -> Arc<TempDir> {
        net.listeners
            .lock()
            .unwrap()
            .remove(&info(self.consensus.id()).peer);
        self.accept.abort();
        self.running.stop().await;
        self.dir
    }

    /// The last entry that raft has dropped from its log.
    fn purged(&self) -> Option<Revision> {
        let metrics = self.running.core.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.purged.as_ref().map(|last| last.index)
    }

    fn has_snapshot(&self) -> bool {
        let names = std::fs::read_dir(self.dir.path().join("snapshots")).unwrap();
        names
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("snapshot-"))
    }

    async fn put(&self, name: &str, value: &str) -> Result<u64, ProposeError> {
        let command = put(name, value, Condition::Any);
        self.consensus
            .propose(crate::command::Principal::Manager, None, command)
            .await
            .map(|reply| {
                assert!(reply.result.is_ok(), "{reply:?}");
                reply.revision
            })
    }

    async fn get(&self, name: &str) -> Option<String> {
        let state = self.consensus.read().await.unwrap();
        state
            .config(name)
            .map(|c| String::from_utf8(c.value.to_vec()).unwrap())
    }
}

fn put(name: &str, value: &str, condition: Condition) -> Command {
    Command::Config(ConfigCommand::Put {
        name: name.parse().unwrap(),
        content_type: "text/plain".into(),
        value: value.to_owned().into(),
        condition,
    })
}

async fn three(net: &Net) -> Vec<Manager> {
    let peers: BTreeMap<_, _> = (1..=3).map(|id| (id, info(id))).collect();
    let mut managers = Vec::new();
    for id in 1..=3 {
        let dir = Arc::new(TempDir::new().unwrap());
        managers.push(Manager::start(net, id, 100 + id, dir, First::Form(peers.clone())).await);
    }
    founded(&managers).await;
    managers
}

async fn founded(managers: &[Manager]) {
    for manager in managers {
        eventually("the cluster is founded", || {
            manager.consensus.state().cluster_id().is_some()
        })
        .await;
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "in 20 s it was not so: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn leader(managers: &[Manager]) -> usize {
    managers
        .iter()
        .position(|m| m.consensus.watch_leadership().borrow().is_some())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_and_linearizable_reads_work_through_every_manager() {
    let net = Net::default();
    let managers = three(&net).await;
    for (i, writer) in managers.iter().enumerate() {
        let value = format!("v{i}");
        writer.put("k", &value).await.unwrap();
        for reader in &managers {
            assert_eq!(reader.get("k").await.as_deref(), Some(value.as_str()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_its_key_has_one_effect_through_another_manager() {
    let net = Net::default();
    let managers = three(&net).await;
    let key = RequestKey {
        principal: TokenId(1),
        key: "once".into(),
        fingerprint: 7,
    };
    let create = put("k", "v", Condition::Absent);
    let first = managers[0]
        .consensus
        .propose(
            crate::command::Principal::Manager,
            Some(key.clone()),
            create.clone(),
        )
        .await
        .unwrap();
    assert_eq!(first.result, Ok(Outcome::ConfigPut { created: true }));
    let again = managers[1]
        .consensus
        .propose(crate::command::Principal::Manager, Some(key), create.clone())
        .await
        .unwrap();
    assert_eq!(
        (again.revision, &again.result, again.replayed),
        (first.revision, &first.result, true)
    );
    let without = managers[2]
        .consensus
        .propose(crate::command::Principal::Manager, None, create)
        .await
        .unwrap();
    assert!(without.result.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_go_on_when_the_leader_ends_and_it_catches_up_by_snapshot() {
    let net = Net::default();
    let mut managers = three(&net).await;
    managers[0].put("before", "1").await.unwrap();
    let old = managers.remove(leader(&managers));
    let (id, had) = (old.consensus.id(), old.consensus.status().applied);
    let dir = old.stop(&net).await;
    eventually("another leads", || {
        managers
            .iter()
            .any(|m| m.consensus.watch_leadership().borrow().is_some())
    })
    .await;
    // Logs are purged in batches of 1,024: fewer, and the log it needs would still be there.
    for i in 0..1300 {
        managers[i % 2].put("after", &i.to_string()).await.unwrap();
    }
    // Raft looks again whether it may purge when a stream to the one that is away breaks off.
    eventually("what it lacks is purged", || {
        let leads = managers
            .iter()
            .find(|m| m.consensus.watch_leadership().borrow().is_some());
        leads.is_some_and(|m| m.purged() > Some(had))
    })
    .await;
    let peers = (1..=3).map(|id| (id, info(id))).collect();
    // It builds no snapshot of its own: what it has afterwards was sent to it.
    let own = RaftSettings {
        snapshot_every: 1_000_000,
        ..settings()
    };
    let first = First::Form(peers);
    let back = Manager::start_with(&net, id, 100 + id, dir, first, own).await;
    assert_eq!(back.get("before").await.as_deref(), Some("1"));
    assert_eq!(back.get("after").await.as_deref(), Some("1299"));
    assert!(back.has_snapshot(), "it caught up by the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_nothing_is_claimed_and_stale_reads_go_on() {
    let net = Net::default();
    let mut managers = three(&net).await;
    managers[0].put("k", "v").await.unwrap();
    let lead = leader(&managers);
    let last = managers.remove(lead);
    for other in managers {
        other.stop(&net).await;
    }
    let started = Instant::now();
    let write = last.put("k", "w").await;
    assert!(
        matches!(write, Err(ProposeError::Unknown(_) | ProposeError::NotTaken(_))),
        "{write:?}"
    );
    assert!(matches!(last.consensus.read().await, Err(ReadError::NoQuorum(_))));
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "{:?}",
        started.elapsed()
    );
    let stale = last.consensus.state();
    assert_eq!(stale.config("k").unwrap().value.as_ref(), b"v");
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over() {
    let net = Net::default();
    let managers = three(&net).await;
    let old = leader(&managers);
    managers[(old + 1) % 3]
        .consensus
        .transfer_leadership(None)
        .await
        .unwrap();
    eventually("another leads", || {
        let all = managers
            .iter()
            .position(|m| m.consensus.watch_leadership().borrow().is_some());
        all.is_some_and(|now| now != old)
    })
    .await;
    managers[old].put("k", "v").await.unwrap();
}

#[tokio::test]
async fn nobody_asks_without_a_pause_when_the_raft_core_is_gone() {
    let net = Net::default();
    let dir = Arc::new(TempDir::new().unwrap());
    let manager = Manager::start(&net, 1, 101, dir, First::Form([(1, info(1))].into())).await;
    founded(std::slice::from_ref(&manager)).await;
    let core = &manager.running.core;
    core.raft.shutdown().await.unwrap();
    let (pause, began) = (Duration::from_millis(50), Instant::now());
    core.leader_change(pause).await;
    assert!(began.elapsed() >= pause, "{:?}", began.elapsed());
}
