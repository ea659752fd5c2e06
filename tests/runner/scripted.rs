//! A manager whose lines a test speaks.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use quorate::{
    config::{Address, Hidden, RunnerConfig},
    model::{
        AgentId, AgentSpec, AgentState, ContainerId, DisconnectPolicy, Generation, PlacementId,
        PlacementRole, ReplicaId, Revision,
        session::{Assignment, FromManager, FromRunner, Hello, MAX_FRAME_BYTES, PROTOCOL, PlacementReport},
    },
    runner::{RunnerError, run_with_shim},
    security::{self, Ca, JoinToken, PeerIdentity},
    wire::{FramedReader, FramedWriter},
};
use tempfile::TempDir;
use tokio::{
    io::{ReadHalf, WriteHalf, split},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

/// Generous: what is waited for takes milliseconds, on a machine that may be busy.
const WAIT: Duration = Duration::from_secs(30);

/// A cluster's CA and join token, and the one container there is.
pub struct Cluster {
    /// Another one in each test: a runner that comes back ends what it left behind by this id.
    pub container: ContainerId,
    pub ca: Ca,
    pub token: JoinToken,
}

impl Cluster {
    pub fn new() -> Self {
        security::install_crypto();
        let ca = Ca::generate("test").unwrap();
        let token = JoinToken::generate(ca.fingerprint()).unwrap();
        let container = ContainerId(rand::random());
        Self { container, ca, token }
    }

    pub async fn manager(&self) -> Manager {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let leaf = self.ca.issue_manager(1, &[]).unwrap();
        let tls = security::session_server(&leaf, self.ca.trust()).unwrap();
        Manager {
            container: self.container,
            address: Address::new("127.0.0.1", listener.local_addr().unwrap().port()),
            listener,
            acceptor: TlsAcceptor::from(tls),
        }
    }

    pub fn config(&self, dir: &Path, managers: &[&Manager]) -> RunnerConfig {
        RunnerConfig {
            data_dir: dir.join("runner"),
            name: "box-1".into(),
            managers: managers.iter().map(|m| m.address.clone()).collect(),
            join_token: Some(Hidden::new(self.token.to_string())),
            ..RunnerConfig::default()
        }
    }

    /// Lets a runner join, with whichever connection comes first to this manager.
    pub async fn enroll(&self, manager: &Manager) -> Hello {
        let mut peer = manager.accept().await;
        let FromRunner::Enroll {
            token, csr, hello, ..
        } = peer.read().await
        else {
            panic!("not an enrolment");
        };
        assert_eq!(token, self.token.to_string());
        assert_eq!(peer.identity, None);
        let chain = self.ca.sign_runner(&csr, &self.container.to_string()).unwrap();
        let container = self.container;
        peer.send(FromManager::Certificate { container, chain }).await;
        hello
    }
}

/// A running runner.
pub struct Running {
    pub shutdown: CancellationToken,
    task: JoinHandle<Result<(), RunnerError>>,
}

impl Running {
    pub fn start(config: RunnerConfig) -> Self {
        let shutdown = CancellationToken::new();
        let shim = env!("CARGO_BIN_EXE_quorate").into();
        let task = tokio::spawn(run_with_shim(config, shim, shutdown.clone()));
        Self { shutdown, task }
    }

    /// Ends it in order: it says goodbye in its session.
    pub async fn stop(self, mut peer: Peer) {
        self.shutdown.cancel();
        peer.goodbye().await;
        drop(peer);
        self.end().await.unwrap();
    }

    pub async fn end(self) -> Result<(), RunnerError> {
        timeout(WAIT, self.task)
            .await
            .expect("the runner did not end")
            .unwrap()
    }
}

/// One runner on a directory of its own, which has joined its one manager.
pub struct Scene {
    pub dir: TempDir,
    pub cluster: Cluster,
    pub manager: Manager,
    pub runner: Running,
    /// What it said when it joined.
    pub enrolled: Hello,
}

impl Scene {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::new();
        let manager = cluster.manager().await;
        let runner = Running::start(cluster.config(dir.path(), &[&manager]));
        let enrolled = cluster.enroll(&manager).await;
        Self {
            dir,
            cluster,
            manager,
            runner,
            enrolled,
        }
    }
}

/// A manager that only listens by itself.
pub struct Manager {
    container: ContainerId,
    pub address: Address,
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Manager {
    pub async fn accept(&self) -> Peer {
        let next = async {
            let (stream, _) = self.listener.accept().await.unwrap();
            let stream = self.acceptor.accept(stream).await.unwrap();
            Peer::over(stream)
        };
        timeout(WAIT, next).await.expect("no runner came")
    }

    /// Takes the next session in, with a fence that ends after `fence_after`.
    pub async fn session(&self, fence_after: Duration) -> (Peer, Hello) {
        let mut peer = self.accept().await;
        assert_eq!(
            peer.identity.as_ref().map(|i| i.name.clone()),
            Some(self.container.to_string())
        );
        let FromRunner::Hello { hello, .. } = peer.read().await else {
            panic!("not a hello");
        };
        peer.send(FromManager::Welcome {
            version: PROTOCOL.highest(),
            container: self.container,
            managers: vec![self.address.to_string()],
            fence_after_ms: fence_after.as_millis() as u64,
        })
        .await;
        (peer, hello)
    }
}

/// One connection, from the manager's side.
pub struct Peer {
    pub identity: Option<PeerIdentity>,
    reader: FramedReader<ReadHalf<TlsStream<TcpStream>>>,
    writer: FramedWriter<WriteHalf<TlsStream<TcpStream>>>,
    /// The specs that the list before named.
    specs: BTreeSet<(AgentId, Generation)>,
}

impl Peer {
    fn over(stream: TlsStream<TcpStream>) -> Self {
        let identity = PeerIdentity::of(stream.get_ref().1).unwrap();
        let (read, write) = split(stream);
        Self {
            identity,
            reader: FramedReader::new(read, MAX_FRAME_BYTES),
            writer: FramedWriter::new(write, MAX_FRAME_BYTES),
            specs: BTreeSet::new(),
        }
    }

    pub async fn send(&mut self, frame: FromManager) {
        self.writer.send(&frame).await.unwrap();
    }

    /// The next frame; `None` at the end.
    pub async fn try_read(&mut self) -> Option<FromRunner> {
        let frame = timeout(WAIT, self.reader.read())
            .await
            .expect("the runner says nothing");
        frame.unwrap_or(None)
    }

    pub async fn read(&mut self) -> FromRunner {
        self.try_read().await.expect("the runner hung up")
    }

    /// The next frame that is no heartbeat; heartbeats are acknowledged meanwhile.
    pub async fn next(&mut self) -> FromRunner {
        loop {
            match self.read().await {
                FromRunner::Heartbeat { seq, .. } => self.send(FromManager::HeartbeatAck { seq }).await,
                other => return other,
            }
        }
    }

    /// Reports until one has this state. Only lasting states can be waited for: a report that is
    /// overtaken by the next one is never sent.
    pub async fn report(&mut self, agent: AgentId, state: AgentState) -> PlacementReport {
        let wanted = async {
            loop {
                if let FromRunner::Report(report) = self.next().await
                    && (report.replica.agent, report.state) == (agent, state)
                {
                    return report;
                }
            }
        };
        let found = timeout(WAIT, wanted).await;
        found.unwrap_or_else(|_| panic!("{agent} is never reported {state:?}"))
    }

    /// Waits for the runner's goodbye.
    pub async fn goodbye(&mut self) {
        let wanted = async { while self.next().await != FromRunner::Goodbye {} };
        timeout(WAIT, wanted).await.expect("no goodbye");
    }

    /// Sends a whole list, and what of its specs was not sent in this session for a list that named it.
    pub async fn desire(&mut self, revision: Revision, agents: &[Placed]) {
        let mut named = BTreeSet::new();
        for placed in agents {
            let one = &placed.assignment;
            let (agent, generation) = (one.replica.agent, one.generation);
            named.insert((agent, generation));
            if !self.specs.contains(&(agent, generation)) {
                let spec = Arc::new(placed.spec.clone());
                self.send(FromManager::Spec {
                    agent,
                    generation,
                    spec,
                })
                .await;
            }
        }
        self.specs = named;
        self.send(FromManager::Desired {
            revision,
            placements: agents.iter().map(|placed| placed.assignment.clone()).collect(),
            last: true,
        })
        .await;
    }

    /// Acknowledges heartbeats until one shows that a list is in effect.
    pub async fn applied(&mut self, wanted: Revision) {
        let shown = async {
            loop {
                if let FromRunner::Heartbeat { seq, applied } = self.read().await {
                    self.send(FromManager::HeartbeatAck { seq }).await;
                    if applied == wanted {
                        return;
                    }
                }
            }
        };
        let shown = timeout(WAIT, shown).await;
        shown.unwrap_or_else(|_| panic!("the list of {wanted} is never in effect"));
    }
}

/// A placement with what it is to run.
#[derive(Clone)]
pub struct Placed {
    pub assignment: Assignment,
    pub spec: AgentSpec,
}

/// An agent that runs a shell script. Each epoch is another placement.
pub fn shell(agent: u64, epoch: Revision, script: &str) -> Placed {
    let spec = serde_json::json!({
        "name": format!("agent-{agent}"),
        "command": "sh",
        "args": ["-c", script],
        "stop_grace_seconds": 5,
    });
    Placed {
        assignment: Assignment {
            placement: PlacementId(agent * 1_000 + epoch),
            replica: ReplicaId {
                agent: AgentId(agent),
                ordinal: 1,
            },
            epoch,
            // Another epoch may come with another script.
            generation: epoch.max(1),
            role: PlacementRole::Active,
            run: true,
        },
        spec: serde_json::from_value(spec).unwrap(),
    }
}

pub fn at_least_once(mut placed: Placed) -> Placed {
    placed.spec.on_disconnect = DisconnectPolicy::AtLeastOnce;
    placed
}

/// Where a placement has its files.
pub fn home_of(dir: &Path, placed: &Placed) -> PathBuf {
    let id = placed.assignment.placement.to_string();
    dir.join("runner/agents").join(id)
}

/// Waits for something that has no event of its own, such as a file.
pub async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            match check() {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    timeout(WAIT, found)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"))
}

/// The process that an agent said it is, by a file it wrote its id to.
pub async fn pid_in(path: &Path) -> i32 {
    let shown = path.display().to_string();
    eventually(&shown, || std::fs::read_to_string(path).ok()?.trim().parse().ok()).await
}

pub fn lives(pid: i32) -> bool {
    // A zombie has ended.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit(") ").next().unwrap_or_default();
        !state.starts_with(['Z', 'X'])
    })
}
