//! A runner that a test plays, at a real manager.

use std::time::Duration;

use quorate::{
    command::{AgentCommand, Command, Condition},
    model::{
        AgentId, AgentState, ContainerId, ContainerState, Desired, PlacementId, ReplicaId,
        session::{Assignment, FromManager, FromRunner, MAX_FRAME_BYTES, PROTOCOL, PlacementReport},
    },
    security::{self, KeyRequest, Leaf},
    wire::{FramedReader, FramedWriter},
};
use tokio::{
    io::{ReadHalf, WriteHalf, split},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::manager::{Manager, hello};

const WAIT: Duration = Duration::from_secs(30);

struct Played {
    container: ContainerId,
    reader: FramedReader<ReadHalf<TlsStream<TcpStream>>>,
    writer: FramedWriter<WriteHalf<TlsStream<TcpStream>>>,
}

impl Played {
    /// Opens a session as a container that has a certificate.
    async fn open(manager: &Manager, container: ContainerId, leaf: &Leaf, boot: u64) -> Self {
        let tls = security::session_client(manager.ca.trust(), Some(leaf)).unwrap();
        let stream = TcpStream::connect(manager.address.to_string()).await.unwrap();
        let stream = TlsConnector::from(tls)
            .connect(security::manager_name(), stream)
            .await
            .unwrap();
        let (read, write) = split(stream);
        let mut played = Self {
            container,
            reader: FramedReader::new(read, MAX_FRAME_BYTES),
            writer: FramedWriter::new(write, MAX_FRAME_BYTES),
        };
        let (protocol, hello) = (PROTOCOL, hello("box-1", boot));
        played.say(FromRunner::Hello { protocol, hello }).await;
        let welcome = played.hear().await;
        let Some(FromManager::Welcome {
            managers,
            fence_after_ms,
            ..
        }) = welcome
        else {
            panic!("{welcome:?}");
        };
        assert_eq!(
            (managers, fence_after_ms),
            (vec![manager.address.to_string()], 8000)
        );
        played
    }

    async fn say(&mut self, frame: FromRunner) {
        self.writer.send(&frame).await.unwrap();
    }

    /// The next frame that is no echo.
    async fn hear(&mut self) -> Option<FromManager> {
        loop {
            let heard = timeout(WAIT, self.reader.read())
                .await
                .expect("the manager says nothing");
            match heard.unwrap_or(None) {
                Some(FromManager::Echo { .. }) => {}
                other => return other,
            }
        }
    }

    /// The end of the session, with words or without.
    async fn sent_away(&mut self) {
        while let Some(frame) = self.hear().await {
            assert!(matches!(frame, FromManager::Refused { .. }), "{frame:?}");
        }
    }

    /// The next list; what its specs say is not looked at.
    async fn list(&mut self) -> Vec<Assignment> {
        loop {
            match self.hear().await {
                Some(FromManager::Spec { .. }) => {}
                Some(FromManager::Desired {
                    placements,
                    last: true,
                    ..
                }) => return placements,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn report(&mut self, assignment: &Assignment, state: AgentState, reason: &str) {
        self.say(FromRunner::Report(PlacementReport {
            placement: assignment.placement,
            replica: assignment.replica,
            epoch: assignment.epoch,
            generation: assignment.generation,
            state,
            reason: reason.into(),
            restarts: 0,
        }))
        .await;
    }
}

async fn joined(manager: &Manager) -> (ContainerId, Leaf) {
    let request = KeyRequest::generate().unwrap();
    let answer = manager.enroll_as("box-1", &request.csr_pem).await;
    let Some(FromManager::Certificate { container, chain }) = answer else {
        panic!("{answer:?}");
    };
    (container, Leaf::from_pem(&chain, &request.key_pem).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_follow_the_state_and_reports_reach_it() {
    let manager = Manager::start().await;
    let (container, leaf) = joined(&manager).await;
    let mut runner = Played::open(&manager, container, &leaf, 5).await;
    assert_eq!(
        runner.list().await,
        vec![],
        "the first list comes even if it is empty"
    );

    let id = manager.deploy(1, "sleep 1000").await;
    let list = runner.list().await;
    let [assigned] = list.as_slice() else {
        panic!("{list:?}")
    };
    assert_eq!((assigned.replica.agent, assigned.run), (id, true));
    // A report changes what is observed and not what shall be: no other list comes of it.
    runner.report(assigned, AgentState::Starting, "begins").await;
    runner
        .report(assigned, AgentState::Running, "runs as process 7")
        .await;
    assert_eq!(
        manager
            .agent("agent-1", AgentState::Running)
            .await
            .reason
            .as_ref(),
        "runs as process 7"
    );
    let (desired, condition) = (Desired::Stopped, Condition::Any);
    let stop = AgentCommand::SetDesired {
        id,
        desired,
        condition,
    };
    manager.propose(Command::Agent(stop)).await.result.unwrap();
    let list = runner.list().await;
    assert_eq!(
        list.iter().map(|a| (a.replica.agent, a.run)).collect::<Vec<_>>(),
        [(id, false)]
    );
    runner
        .report(assigned, AgentState::Stopped, "stopped as ordered")
        .await;
    assert_eq!(runner.list().await, vec![]);
    assert_eq!(manager.agent("agent-1", AgentState::Stopped).await.active, None);

    // Heartbeats are acknowledged by the leader's word.
    runner.say(FromRunner::Heartbeat { seq: 41, applied: 0 }).await;
    assert_eq!(runner.hear().await, Some(FromManager::HeartbeatAck { seq: 41 }));

    // A certificate is renewed for this container, whatever the request says.
    let request = KeyRequest::generate().unwrap();
    let csr = request.csr_pem.clone();
    runner.say(FromRunner::Renew { csr }).await;
    let Some(FromManager::Certificate {
        container: same,
        chain,
    }) = runner.hear().await
    else {
        panic!("no certificate");
    };
    assert_eq!(same, runner.container);
    let renewed = Leaf::from_pem(&chain, &request.key_pem).unwrap();
    assert_eq!(renewed.identity().unwrap().name, container.to_string());

    // A second session of this container, here, ends the first.
    let mut second = Played::open(&manager, container, &renewed, 5).await;
    runner.sent_away().await;
    assert_eq!(second.list().await, vec![]);
    second.say(FromRunner::Goodbye).await;
    assert_eq!(second.hear().await, None);
    assert!(manager.container(ContainerState::Lost).await.fenced);
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_belong_in_a_session_ends_it() {
    let manager = Manager::start().await;
    let (container, leaf) = joined(&manager).await;
    let mut runner = Played::open(&manager, container, &leaf, 5).await;
    runner.list().await;
    let (protocol, again) = (PROTOCOL, hello("box-1", 6));
    runner
        .say(FromRunner::Hello {
            protocol,
            hello: again,
        })
        .await;
    runner.sent_away().await;
    assert_eq!(manager.consensus.state().container(container).unwrap().boot, 5);

    // Reports of another start of the runner than the one the container has are refused.
    let mut old = Played::open(&manager, container, &leaf, 5).await;
    old.list().await;
    let mut new = Played::open(&manager, container, &leaf, 6).await;
    new.list().await;
    let report = PlacementReport {
        placement: PlacementId(9),
        replica: ReplicaId {
            agent: AgentId(9),
            ordinal: 1,
        },
        epoch: 1,
        generation: 1,
        state: AgentState::Running,
        reason: String::new(),
        restarts: 0,
    };
    // The connection may have ended before this is written.
    let _ = old.writer.send(&FromRunner::Report(report)).await;
    old.sent_away().await;
    // A manager that stops sends its runners away.
    let stopping = tokio::spawn(manager.stop());
    assert!(matches!(
        new.hear().await,
        Some(FromManager::Refused { retry: true, .. })
    ));
    stopping.await.unwrap();
}
