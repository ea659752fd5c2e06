//! A real manager of its own cluster, with real connections and certificates.

mod admission;
mod intruders;
mod sessions;
mod streams;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;
use rustls::ClientConfig;
use tempfile::TempDir;
use tokio::{
    io::{ReadHalf, WriteHalf, split},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{Deps, Roster, SessionServer, Streams, pulse::Heartbeat};
use crate::{
    command::{AgentCommand, Binding, ClusterCommand, Command, Condition, ContainerCommand, Outcome, Reply},
    consensus::{Clock, Consensus, Fatal, First, Options, RaftSettings, Running, Stores},
    model::{
        AgentId, AgentSpec, AgentState, Capabilities, Container, ContainerId, Desired, Generation, JoinRole,
        JoinTokenId, Labels, Millis, PeerInfo, ReplicaId, Resources, Revision, Role, Token, TokenId,
        Versions,
        session::{Assignment, FromManager, FromRunner, Hello, MAX_FRAME_BYTES, PROTOCOL, PlacementReport},
    },
    peers::{BoxedStream, Dial, Me, Peers},
    security::{self, Ca, JoinToken, KeyRequest, Leaf},
    state::State,
    wire::{FramedReader, FramedWriter},
};

/// Generous: what is waited for takes milliseconds, on a machine that may be busy.
const WAIT: Duration = Duration::from_secs(30);

const FENCE_AFTER: Duration = Duration::from_secs(8);

/// There is nobody to dial.
#[derive(Debug)]
struct Alone;

impl Dial for Alone {
    fn dial(&self, _address: String) -> BoxFuture<'static, io::Result<BoxedStream>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
}

struct Bench {
    consensus: Consensus,
    running: Running,
    server: SessionServer,
    shutdown: CancellationToken,
    address: SocketAddr,
    ca: Arc<Ca>,
    streams: Arc<Streams>,
    /// What the leader counted.
    counted: Arc<Mutex<Vec<Heartbeat>>>,
    _dir: TempDir,
}

impl Bench {
    /// A manager whose cluster is founded.
    async fn start() -> Self {
        let bench = Self::start_with(true).await;
        bench
            .until("the cluster is founded", |state| state.cluster_id().is_some())
            .await;
        bench
    }

    async fn start_with(founded: bool) -> Self {
        security::install_crypto();
        let ca = Arc::new(Ca::generate("test").unwrap());
        let dir = TempDir::new().unwrap();
        let counted = Arc::new(Mutex::new(Vec::new()));
        let counting = counted.clone();
        let me = PeerInfo {
            peer: "peer-1".into(),
            api: "api-1".into(),
            session: "session-1".into(),
        };
        let fatal: Fatal = Arc::new(|why| panic!("{why}"));
        let incarnation = 11;
        let peers = Peers::new(Arc::new(Alone), Me { id: 1, incarnation });
        let options = Options {
            info: me.clone(),
            stores: Stores::open(dir.path(), fatal.clone()).await.unwrap(),
            clock: Clock::start(),
            raft: RaftSettings {
                heartbeat: Duration::from_millis(50),
                election_min: Duration::from_millis(150),
                election_max: Duration::from_millis(300),
                snapshot_every: 10_000,
                keep_logs: 1_000,
            },
            first: First::Form(BTreeMap::from([(1, me)])),
            bootstrap: founded.then(|| bootstrap(&ca)),
            peers: peers.clone(),
            fatal,
        };
        let (consensus, running) = Consensus::start(options).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let leaf = ca.issue_manager(1, &[]).unwrap();
        let roster = Arc::<Roster>::default();
        let deps = Deps {
            consensus: consensus.clone(),
            peers: peers.clone(),
            count: Arc::new(move |digest| counting.lock().unwrap().extend(&digest.heartbeats)),
            ca: ca.clone(),
            tls: security::session_server(&leaf, ca.trust()).unwrap(),
            fence_after: FENCE_AFTER,
            samples: Arc::default(),
            roster: roster.clone(),
        };
        let shutdown = CancellationToken::new();
        let server = SessionServer::start(listener, deps, shutdown.clone());
        Self {
            consensus,
            running,
            server,
            shutdown,
            address,
            ca,
            streams: Streams::start(roster, peers),
            counted,
            _dir: dir,
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(WAIT, self.server.stopped())
            .await
            .expect("sessions do not end");
        self.running.stop().await;
    }

    async fn propose(&self, command: Command) -> Reply {
        self.consensus
            .propose(crate::command::Principal::Manager, None, command)
            .await
            .unwrap()
    }

    /// Waits until the state is as wanted, and gives it.
    async fn until(&self, what: &str, holds: impl Fn(&State) -> bool) -> Arc<State> {
        let mut applied = self.consensus.watch_applied();
        let reached = async {
            loop {
                let state = self.consensus.state();
                if holds(&state) {
                    return state;
                }
                applied.changed().await.unwrap();
            }
        };
        timeout(WAIT, reached)
            .await
            .unwrap_or_else(|_| panic!("never: {what}"))
    }

    fn container(&self, id: ContainerId) -> Arc<Container> {
        self.consensus.state().container(id).unwrap().clone()
    }

    /// A join token that the cluster knows.
    async fn token(&self, role: JoinRole, expires_at: Option<Millis>, uses_left: Option<u32>) -> JoinToken {
        let token = JoinToken::generate(self.ca.fingerprint()).unwrap();
        let stored = stored(&token, role, expires_at, uses_left);
        let command = Command::Cluster(ClusterCommand::CreateJoinToken(stored));
        self.propose(command).await.result.unwrap();
        token
    }

    async fn connect(&self, tls: Arc<ClientConfig>) -> Peer {
        Peer::over(self.dial(tls).await)
    }

    async fn dial(&self, tls: Arc<ClientConfig>) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let stream = TlsConnector::from(tls)
            .connect(security::manager_name(), stream)
            .await;
        stream.unwrap()
    }

    /// The answer to a stranger's frame.
    async fn ask(&self, frame: FromRunner) -> FromManager {
        let mut peer = self
            .connect(security::pinned_client(self.ca.fingerprint()).unwrap())
            .await;
        peer.send(frame).await;
        peer.read().await
    }

    async fn enroll(&self, name: &str, token: &str) -> FromManager {
        self.ask(FromRunner::Enroll {
            protocol: PROTOCOL,
            token: token.to_owned(),
            csr: KeyRequest::generate().unwrap().csr_pem,
            hello: hello(name, 1),
        })
        .await
    }

    /// A runner that has joined.
    async fn runner(&self, name: &str) -> Runner {
        let token = self.token(JoinRole::Runner, None, None).await;
        let request = KeyRequest::generate().unwrap();
        let answer = self
            .ask(FromRunner::Enroll {
                protocol: PROTOCOL,
                token: token.to_string(),
                csr: request.csr_pem,
                hello: hello(name, 1),
            })
            .await;
        let FromManager::Certificate { container, chain } = answer else {
            panic!("not joined: {answer:?}");
        };
        Runner {
            id: container,
            leaf: Leaf::from_pem(&chain, &request.key_pem).unwrap(),
            name: name.to_owned(),
        }
    }

    /// Connects with a runner's certificate and says one thing.
    async fn say(&self, leaf: &Leaf, frame: FromRunner) -> Peer {
        let tls = security::session_client(self.ca.trust(), Some(leaf)).unwrap();
        let mut peer = self.connect(tls).await;
        peer.send(frame).await;
        peer
    }

    async fn hello(&self, runner: &Runner, boot: u64) -> Peer {
        let frame = FromRunner::Hello {
            protocol: PROTOCOL,
            hello: hello(&runner.name, boot),
        };
        self.say(&runner.leaf, frame).await
    }

    /// A session that is open, with its first list taken.
    async fn session(&self, runner: &Runner, boot: u64) -> Peer {
        let mut peer = self.hello(runner, boot).await;
        peer.welcome().await;
        peer.desired().await;
        peer
    }

    /// An agent, placed in a container.
    async fn agent(&self, n: u64, container: ContainerId) -> (AgentId, Revision) {
        self.large_agent(n, container, 0).await
    }

    /// An agent with an argument of so many bytes.
    async fn large_agent(&self, n: u64, container: ContainerId, size: usize) -> (AgentId, Revision) {
        let id = AgentId(n);
        let name = format!("agent-{n}");
        let spec = serde_json::json!({ "name": name, "command": "sh", "args": ["x".repeat(size)] });
        let spec = serde_json::from_value(spec).unwrap();
        let deployed = self
            .propose(Command::Agent(AgentCommand::Deploy { id, spec }))
            .await;
        assert_eq!(deployed.result, Ok(Outcome::AgentDeployed(id)));
        let placed = self
            .propose(Command::Agent(AgentCommand::Place(vec![binding(id, container)])))
            .await;
        let made = Ok(Outcome::Placed { made: 1, refused: 0 });
        assert_eq!(placed.result, made);
        (id, placed.revision)
    }

    /// What the runner that has an agent would report of it.
    fn seen(&self, agent: AgentId, state: AgentState) -> PlacementReport {
        let replica = replica(agent);
        let known = self.consensus.state().active(replica).unwrap().clone();
        PlacementReport {
            placement: known.id,
            replica,
            epoch: known.epoch,
            generation: known.generation,
            state,
            reason: "as observed".into(),
            restarts: 0,
        }
    }

    async fn want(&self, id: AgentId, desired: Desired) {
        let condition = Condition::Any;
        let command = AgentCommand::SetDesired {
            id,
            desired,
            condition,
        };
        self.propose(Command::Agent(command)).await.result.unwrap();
    }

    async fn remove(&self, id: ContainerId) {
        let condition = Condition::Any;
        let command = ContainerCommand::Remove { id, condition };
        self.propose(Command::Container(command)).await.result.unwrap();
    }
}

fn bootstrap(ca: &Ca) -> ClusterCommand {
    let token = JoinToken::generate(ca.fingerprint()).unwrap();
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
        join: stored(&token, JoinRole::Runner, None, None),
        next_manager: 2,
    }
}

fn stored(
    token: &JoinToken,
    role: JoinRole,
    expires_at: Option<Millis>,
    uses_left: Option<u32>,
) -> crate::model::JoinToken {
    crate::model::JoinToken {
        id: JoinTokenId(token.id()),
        role,
        hash: token.hash(),
        expires_at,
        uses_left,
        version: 0,
    }
}

fn hello(name: &str, boot: u64) -> Hello {
    Hello {
        name: name.parse().unwrap(),
        boot,
        engine_container: None,
        labels: Labels::default(),
        capabilities: Capabilities::default(),
        resources: Resources::default(),
        assessment: None,
        placements: Vec::new(),
    }
}

fn replica(agent: AgentId) -> ReplicaId {
    ReplicaId { agent, ordinal: 1 }
}

/// What a plan would say of an agent that was just deployed.
fn binding(agent: AgentId, container: ContainerId) -> Binding {
    Binding {
        replica: replica(agent),
        after: 0,
        generation: 1,
        container,
    }
}

/// A runner's lasting half.
struct Runner {
    id: ContainerId,
    leaf: Leaf,
    name: String,
}

/// One connection, from the runner's side.
struct Peer {
    reader: FramedReader<ReadHalf<TlsStream<TcpStream>>>,
    writer: FramedWriter<WriteHalf<TlsStream<TcpStream>>>,
    /// What came of specs.
    specs: BTreeMap<(AgentId, Generation), Arc<AgentSpec>>,
}

impl Peer {
    fn over(stream: TlsStream<TcpStream>) -> Self {
        let (read, write) = split(stream);
        Self {
            reader: FramedReader::new(read, MAX_FRAME_BYTES),
            writer: FramedWriter::new(write, MAX_FRAME_BYTES),
            specs: BTreeMap::new(),
        }
    }

    async fn send(&mut self, frame: FromRunner) {
        self.writer.send(&frame).await.unwrap();
    }

    /// The next frame that is no echo; `None` where the manager closed.
    async fn try_read(&mut self) -> Option<FromManager> {
        loop {
            let frame = timeout(WAIT, self.reader.read())
                .await
                .expect("the manager says nothing");
            match frame.unwrap_or(None) {
                Some(FromManager::Echo { .. }) => {}
                other => return other,
            }
        }
    }

    async fn read(&mut self) -> FromManager {
        self.try_read().await.expect("the manager hung up")
    }

    async fn welcome(&mut self) -> (ContainerId, Vec<String>, u64) {
        match self.read().await {
            FromManager::Welcome {
                version,
                container,
                managers,
                fence_after_ms,
            } if PROTOCOL.has(version) => (container, managers, fence_after_ms),
            other => panic!("no welcome: {other:?}"),
        }
    }

    /// The next whole list; what it is to run is in `specs`.
    async fn desired(&mut self) -> (Revision, Vec<Assignment>) {
        let mut list = Vec::new();
        loop {
            match self.read().await {
                FromManager::Spec {
                    agent,
                    generation,
                    spec,
                } => {
                    let known = self.specs.insert((agent, generation), spec);
                    assert_eq!(known, None, "sent twice");
                }
                FromManager::Desired {
                    revision,
                    placements,
                    last,
                } => {
                    list.extend(placements);
                    if last {
                        return (revision, list);
                    }
                }
                other => panic!("no list: {other:?}"),
            }
        }
    }

    /// Reads to the refusal that ends the connection.
    async fn refused(&mut self) -> (String, bool) {
        loop {
            if let FromManager::Refused { reason, retry } = self.read().await {
                assert_eq!(self.try_read().await, None, "a refusal is the end");
                return (reason, retry);
            }
        }
    }
}

/// What a refusal says, and whether to try again.
#[track_caller]
fn refusal(answer: impl Debug + Into<FromManager>) -> (String, bool) {
    match answer.into() {
        FromManager::Refused { reason, retry } => (reason, retry),
        other => panic!("not refused: {other:?}"),
    }
}
