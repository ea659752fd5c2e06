//! Runners and strangers at the session port of a real manager.

use std::{io, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use quorate::{
    command::{AgentCommand, ClusterCommand, Command, Condition, ContainerCommand, Outcome, Reply},
    config::{Address, Hidden, RunnerConfig},
    consensus::{Clock, Consensus, Fatal, First, Options, RaftSettings, Running as RunningConsensus, Stores},
    control::{self, Controller, LivenessTable, Scanning},
    engine::EngineAccess,
    model::{
        AgentId, AgentState, Container, ContainerState, Desired, JoinRole, JoinTokenId, PeerInfo, ReplicaId,
        Role, Token, TokenId, Versions,
        session::{FromManager, FromRunner, Hello, MAX_FRAME_BYTES, PROTOCOL},
    },
    peers::{BoxedStream, Dial, Me, Peers},
    plan::Windows,
    probe::Prober,
    security::session_server,
    security::{self, Ca, JoinToken},
    session::{Deps, Roster, Samples, SessionServer},
    state::{ReplicaStatus, State},
    wire,
};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::scripted::{Running, lives, pid_in, shell};

const WAIT: Duration = Duration::from_secs(30);

/// There are no others.
#[derive(Debug)]
struct Nobody;

impl Dial for Nobody {
    fn dial(&self, _: String) -> BoxFuture<'static, io::Result<BoxedStream>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
}

pub struct Manager {
    dir: TempDir,
    pub ca: Arc<Ca>,
    pub token: JoinToken,
    pub address: Address,
    pub consensus: Consensus,
    running: RunningConsensus,
    pub sessions: SessionServer,
    pub samples: Arc<Samples>,
    pub roster: Arc<Roster>,
    _controller: Controller,
    end: CancellationToken,
}

impl Manager {
    pub async fn start() -> Self {
        security::install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let ca = Arc::new(Ca::generate("test").unwrap());
        let token = JoinToken::generate(ca.fingerprint()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
        let info = PeerInfo {
            session: address.to_string(),
            ..PeerInfo::default()
        };
        let liveness = Arc::new(LivenessTable::default());
        let counting = liveness.clone();
        let fatal: Fatal = Arc::new(|why| panic!("{why}"));
        let data = dir.path().join("manager");
        let incarnation = 1;
        let peers = Peers::new(Arc::new(Nobody), Me { id: 1, incarnation });
        let options = Options {
            info: info.clone(),
            stores: Stores::open(&data, fatal.clone()).await.unwrap(),
            clock: Clock::start(),
            raft: RaftSettings {
                heartbeat: Duration::from_millis(100),
                election_min: Duration::from_millis(300),
                election_max: Duration::from_millis(600),
                snapshot_every: 10_000,
                keep_logs: 1000,
            },
            first: First::Form([(1, info)].into()),
            bootstrap: Some(bootstrap(&token)),
            peers: peers.clone(),
            fatal,
        };
        let (consensus, running) = Consensus::start(options).await.unwrap();
        let end = CancellationToken::new();
        let controller = Controller::start(
            consensus.clone(),
            control::Deps {
                table: liveness,
                windows: Windows::default(),
                engines: EngineAccess::new("/nowhere".into()),
                trips: Arc::default(),
                scanning: Scanning::new(Prober::new().unwrap(), None, Duration::from_secs(300), 200),
                adopter: None,
            },
            end.clone(),
        );
        let leaf = ca.issue_manager(1, &[]).unwrap();
        let samples = Arc::new(Samples::default());
        let roster = Arc::new(Roster::default());
        let deps = Deps {
            consensus: consensus.clone(),
            peers,
            count: Arc::new(move |digest| counting.count(digest)),
            ca: ca.clone(),
            tls: session_server(&leaf, ca.trust()).unwrap(),
            fence_after: Duration::from_secs(8),
            samples: samples.clone(),
            roster: roster.clone(),
        };
        let sessions = SessionServer::start(listener, deps, end.child_token());
        let manager = Self {
            dir,
            ca,
            token,
            address,
            consensus,
            running,
            sessions,
            samples,
            roster,
            _controller: controller,
            end,
        };
        manager
            .until("a cluster", |state| state.cluster_id().map(|_| ()))
            .await;
        manager
    }

    pub fn runner(&self) -> RunnerConfig {
        RunnerConfig {
            data_dir: self.dir.path().join("runner"),
            name: "box-1".into(),
            managers: vec![self.address.clone()],
            join_token: Some(Hidden::new(self.token.to_string())),
            ..RunnerConfig::default()
        }
    }

    pub async fn propose(&self, command: Command) -> Reply {
        self.consensus
            .propose(quorate::command::Principal::Manager, None, command)
            .await
            .unwrap()
    }

    pub async fn until<T>(&self, what: &str, wanted: impl Fn(&State) -> Option<T>) -> T {
        let mut applied = self.consensus.watch_applied();
        let reached = async {
            loop {
                if let Some(found) = wanted(&self.consensus.state()) {
                    return found;
                }
                applied.changed().await.unwrap();
            }
        };
        let reached = timeout(WAIT, reached).await;
        reached.unwrap_or_else(|_| panic!("never: {what}; {:#?}", self.consensus.state()))
    }

    pub async fn container(&self, state: ContainerState) -> Arc<Container> {
        let named = |s: &State| s.find_container("box-1").filter(|c| c.state == state).cloned();
        self.until(&format!("the container {state:?}"), named).await
    }

    /// The replica of an agent, once it is in a state.
    pub async fn agent(&self, name: &str, state: AgentState) -> ReplicaStatus {
        let named = |s: &State| replica_of(s, s.find_agent(name)?.id).filter(|r| r.state == state);
        self.until(&format!("{name} {state:?}"), named).await
    }

    pub async fn deploy(&self, number: u64, script: &str) -> AgentId {
        let spec = shell(number, 0, script).spec;
        let id = AgentId(number);
        let reply = self
            .propose(Command::Agent(AgentCommand::Deploy {
                id,
                spec: spec.into(),
            }))
            .await;
        assert_eq!(reply.result, Ok(Outcome::AgentDeployed(id)));
        id
    }

    pub async fn stranger(&self) -> TlsStream<TcpStream> {
        let tls = security::pinned_client(self.ca.fingerprint()).unwrap();
        let stream = TcpStream::connect(self.address.to_string()).await.unwrap();
        TlsConnector::from(tls)
            .connect(security::manager_name(), stream)
            .await
            .unwrap()
    }

    /// What a stranger is answered.
    pub async fn ask(&self, frame: &FromRunner) -> Option<FromManager> {
        let mut stream = self.stranger().await;
        wire::write_frame(&mut stream, frame, MAX_FRAME_BYTES)
            .await
            .unwrap();
        let answer = wire::read_frame(&mut stream, MAX_FRAME_BYTES);
        timeout(WAIT, answer)
            .await
            .expect("no answer and no end")
            .unwrap_or(None)
    }

    pub async fn enroll(&self, token: &str, csr: &str, protocol: Versions) -> Option<FromManager> {
        let (token, csr) = (token.to_owned(), csr.to_owned());
        let hello = hello("box-2", 1);
        self.ask(&FromRunner::Enroll {
            protocol,
            token,
            csr,
            hello,
        })
        .await
    }

    /// Joins as it should be done.
    pub async fn enroll_as(&self, name: &str, csr: &str) -> Option<FromManager> {
        self.ask(&FromRunner::Enroll {
            protocol: PROTOCOL,
            token: self.token.to_string(),
            csr: csr.to_owned(),
            hello: hello(name, 1),
        })
        .await
    }

    pub async fn stop(self) {
        self.end.cancel();
        timeout(WAIT, self.sessions.stopped())
            .await
            .expect("sessions did not end");
        self.running.stop().await;
    }
}

fn replica_of(state: &State, agent: AgentId) -> Option<ReplicaStatus> {
    state.replica(ReplicaId { agent, ordinal: 1 })
}

/// A runner that holds nothing.
pub fn hello(name: &str, boot: u64) -> Hello {
    Hello {
        name: name.parse().unwrap(),
        boot,
        engine_container: None,
        labels: Default::default(),
        capabilities: Default::default(),
        resources: Default::default(),
        assessment: None,
        placements: Vec::new(),
    }
}

fn bootstrap(token: &JoinToken) -> ClusterCommand {
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
        join: quorate::model::JoinToken {
            id: JoinTokenId(token.id()),
            role: JoinRole::Runner,
            hash: token.hash(),
            expires_at: None,
            uses_left: None,
            version: 0,
        },
        next_manager: 2,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_runs_from_its_deployment_to_the_runners_goodbye() {
    let manager = Manager::start().await;
    let runner = Running::start(manager.runner());
    let container = manager.container(ContainerState::Ready).await;
    assert!(container.resources.memory_bytes > 0);

    let first = manager.deploy(1, "echo $$ > pid; sleep 1000").await;
    let second = manager.deploy(2, "exit 0").await;
    let running = manager.agent("agent-1", AgentState::Running).await;
    assert_eq!(running.container(), Some(container.id));
    let id = running.active.unwrap().id.to_string();
    let home = manager.dir.path().join("runner/agents").join(id);
    let pid = pid_in(&home.join("pid")).await;
    let again = |s: &State| replica_of(s, second).filter(|r| r.restarts() > 0);
    let again = manager.until("a restart is reported", again).await;
    assert!(again.reason.contains("exited with status 0"), "{}", again.reason);

    // Stopped by an operator, the process ends and the placement with it.
    let stop = Command::Agent(AgentCommand::SetDesired {
        id: first,
        desired: Desired::Stopped,
        condition: Condition::Any,
    });
    assert!(manager.propose(stop).await.result.is_ok());
    let stopped = manager.agent("agent-1", AgentState::Stopped).await;
    assert_eq!(stopped.container(), None);
    assert!(!lives(pid));

    // A runner that says goodbye is proof that its agents have stopped.
    runner.shutdown.cancel();
    runner.end().await.unwrap();
    let gone = manager.container(ContainerState::Lost).await;
    assert!(gone.fenced, "{}", gone.reason);
    manager.agent("agent-2", AgentState::Pending).await;
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_keep_a_container_ready_without_entries() {
    let manager = Manager::start().await;
    let runner = Running::start(manager.runner());
    manager.container(ContainerState::Ready).await;
    manager.deploy(1, "echo $$ > pid; sleep 1000").await;
    manager.agent("agent-1", AgentState::Running).await;
    let assessed = |s: &State| s.find_container("box-1")?.assessment.clone();
    manager.until("an assessment", assessed).await;
    let before = manager.consensus.state().revision();
    // Past the time after which silence would have made it suspect; nothing else is to happen.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let state = manager.consensus.state();
    assert_eq!(state.revision(), before, "heartbeats are not to enter the log");
    runner.shutdown.cancel();
    runner.end().await.unwrap();
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_container_s_runner_is_told_and_ends() {
    let manager = Manager::start().await;
    let runner = Running::start(manager.runner());
    let id = manager.container(ContainerState::Ready).await.id;
    let condition = Condition::Any;
    let removed = manager
        .propose(Command::Container(ContainerCommand::Remove { id, condition }))
        .await;
    assert_eq!(removed.result, Ok(Outcome::Done));
    let error = runner.end().await.unwrap_err().to_string();
    assert!(error.contains("was removed"), "{error}");
    // And again when it comes back with its certificate.
    let error = Running::start(manager.runner())
        .end()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("was removed"), "{error}");
    manager.stop().await;
}
