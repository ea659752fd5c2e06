//! Open sessions: lists, reports, heartbeats, and their ends.

use super::*;
use crate::model::ContainerState;

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_makes_the_container_ready_and_the_first_list_is_not_older() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let mut peer = bench.hello(&runner, 5).await;
    let managers = vec!["session-1".to_owned()];
    assert_eq!(peer.welcome().await, (runner.id, managers, 8_000));
    let (revision, agents) = peer.desired().await;
    let container = bench.container(runner.id);
    assert_eq!((container.state, container.boot), (ContainerState::Ready, 5));
    assert!(container.connected > 0 && revision >= container.connected);
    assert_eq!(container.holder(), Some(bench.consensus.id()));
    assert_eq!(agents, []);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_told_of_reported_stopped_and_forgotten() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let mut peer = bench.session(&runner, 5).await;
    let (agent, epoch) = bench.agent(1, runner.id).await;
    let (revision, list) = peer.desired().await;
    assert!(revision >= epoch);
    assert_eq!(
        (list[0].replica.agent, list[0].epoch, list[0].run),
        (agent, epoch, true)
    );
    assert_eq!(peer.specs[&(agent, list[0].generation)].command, "sh");

    peer.send(FromRunner::Report(bench.seen(agent, AgentState::Running)))
        .await;
    let in_state =
        |wanted| move |state: &State| state.replica(replica(agent)).is_some_and(|r| r.state == wanted);
    bench
        .until("it is reported running", in_state(AgentState::Running))
        .await;

    bench.want(agent, Desired::Stopped).await;
    let (later, list) = peer.desired().await;
    assert!(later > revision);
    assert_eq!(
        (list.len(), list[0].run),
        (1, false),
        "reports alone change no list"
    );
    peer.send(FromRunner::Report(bench.seen(agent, AgentState::Stopped)))
        .await;
    bench.until("it is stopped", in_state(AgentState::Stopped)).await;
    assert_eq!(peer.desired().await.1, []);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hello_tells_of_agents_is_reported_before_the_welcome() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let first = bench.session(&runner, 5).await;
    let (agent, _) = bench.agent(1, runner.id).await;
    drop(first);
    let mut about = hello("box-1", 5);
    about.placements = vec![bench.seen(agent, AgentState::Running)];
    let frame = FromRunner::Hello {
        protocol: PROTOCOL,
        hello: about,
    };
    let mut peer = bench.say(&runner.leaf, frame).await;
    peer.welcome().await;
    let state = bench.consensus.state();
    assert_eq!(state.replica(replica(agent)).unwrap().state, AgentState::Running);
    assert_eq!(peer.desired().await.1.len(), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_ended_for_good_is_not_given_to_a_new_start_of_the_runner() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let mut peer = bench.session(&runner, 5).await;
    let (agent, _) = bench.agent(1, runner.id).await;
    assert_eq!(peer.desired().await.1.len(), 1);
    peer.send(FromRunner::Report(bench.seen(agent, AgentState::Failed)))
        .await;
    assert_eq!(peer.desired().await.1, []);
    let mut again = bench.hello(&runner, 6).await;
    again.welcome().await;
    assert_eq!(again.desired().await.1, []);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_is_counted_and_acknowledged() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let mut peer = bench.session(&runner, 5).await;
    for seq in [1, 2, 3] {
        peer.send(FromRunner::Heartbeat { seq, applied: 0 }).await;
        assert_eq!(peer.read().await, FromManager::HeartbeatAck { seq });
        assert!(bench.counted.lock().unwrap().contains(&(runner.id, 5, seq)));
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_session_takes_the_place_of_the_first() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let mut first = bench.session(&runner, 5).await;
    let mut second = bench.session(&runner, 5).await;
    let (reason, retry) = first.refused().await;
    assert!(reason.contains("later session") && retry, "{reason}");
    second.send(FromRunner::Heartbeat { seq: 1, applied: 0 }).await;
    assert_eq!(second.read().await, FromManager::HeartbeatAck { seq: 1 });
    bench.agent(1, runner.id).await;
    assert_eq!(second.desired().await.1.len(), 1);
    bench.stop().await;
}

pub(super) fn connect(id: ContainerId, boot: u64) -> Command {
    Command::Container(ContainerCommand::Connect {
        id,
        boot,
        manager: 2,
        address: "elsewhere".into(),
        engine_container: None,
        labels: Labels::default(),
        capabilities: Capabilities::default(),
        resources: Resources::default(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_or_start_at_another_manager_ends_this_one() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    for (boot, words) in [(5, "later session"), (6, "another start")] {
        let mut peer = bench.session(&runner, 5).await;
        bench.propose(connect(runner.id, boot)).await.result.unwrap();
        let (reason, retry) = peer.refused().await;
        assert!(reason.contains(words) && retry, "{reason}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_container_has_to_say_hello_again() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let mut peer = bench.session(&runner, 5).await;
    let judge = ContainerCommand::Judge {
        id: runner.id,
        version: bench.container(runner.id).version,
        term: bench.consensus.state().term(),
        state: ContainerState::Lost,
        fenced: true,
        reason: "no heartbeat".into(),
    };
    bench.propose(Command::Container(judge)).await.result.unwrap();
    let (reason, retry) = peer.refused().await;
    assert!(reason.contains("no heartbeat") && retry, "{reason}");
    bench.session(&runner, 5).await;
    assert_eq!(bench.container(runner.id).state, ContainerState::Ready);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_container_is_refused_for_good() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let mut peer = bench.session(&runner, 5).await;
    bench.remove(runner.id).await;
    let (reason, retry) = peer.refused().await;
    assert!(reason.contains("removed") && !retry, "{reason}");
    let (reason, retry) = bench.hello(&runner, 5).await.refused().await;
    assert!(reason.contains("removed") && !retry, "{reason}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_opens_the_next_session() {
    let bench = Bench::start().await;
    let mut runner = bench.runner("box-1").await;
    let mut peer = bench.session(&runner, 5).await;
    let csr = "nonsense".to_owned();
    peer.send(FromRunner::Renew { csr }).await;
    // Renewals follow each other slowly; a bad one must not cost the session.
    peer.send(FromRunner::Heartbeat { seq: 1, applied: 0 }).await;
    assert_eq!(peer.read().await, FromManager::HeartbeatAck { seq: 1 });

    let mut peer = bench.session(&runner, 5).await;
    let request = KeyRequest::generate().unwrap();
    peer.send(FromRunner::Renew { csr: request.csr_pem }).await;
    let FromManager::Certificate { container, chain } = peer.read().await else {
        panic!("no certificate");
    };
    assert_eq!(container, runner.id);
    runner.leaf = Leaf::from_pem(&chain, &request.key_pem).unwrap();
    bench.session(&runner, 5).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_frees_the_agents_before_the_connection_closes() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let mut peer = bench.session(&runner, 5).await;
    let (agent, _) = bench.agent(1, runner.id).await;
    peer.desired().await;
    peer.send(FromRunner::Goodbye).await;
    assert_eq!(peer.try_read().await, None);
    let state = bench.consensus.state();
    let container = state.container(runner.id).unwrap();
    assert_eq!((container.boot, container.fenced), (0, true));
    assert_eq!(state.replica(replica(agent)).unwrap().active, None);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_stops_sends_runners_on() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let mut peer = bench.session(&runner, 5).await;
    bench.shutdown.cancel();
    let (reason, retry) = peer.refused().await;
    assert!(reason.contains("stopping") && retry, "{reason}");
    timeout(WAIT, bench.server.stopped()).await.unwrap();
    assert!(TcpStream::connect(bench.address).await.is_err());
    bench.running.stop().await;
}

/// Above 4 MiB of specs the last placed agents once did not start.
#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_agents_with_large_specs_are_told_of_in_one_container() {
    const COUNT: u64 = 5_000;
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let deploy = |n: u64| {
        let spec =
            serde_json::json!({ "name": format!("a{n}"), "command": "sh", "args": ["x".repeat(8 << 10)] });
        let spec = serde_json::from_value(spec).unwrap();
        Command::Agent(AgentCommand::Deploy { id: AgentId(n), spec })
    };
    for some in (1..=COUNT).collect::<Vec<_>>().chunks(250) {
        let all = some.iter().map(|n| bench.propose(deploy(*n)));
        for reply in futures::future::join_all(all).await {
            reply.result.unwrap();
        }
    }
    let first = bench.session(&runner, 5).await;
    drop(first);
    let bindings = (1..=COUNT).map(|n| binding(AgentId(n), runner.id)).collect();
    let placed = bench.propose(Command::Agent(AgentCommand::Place(bindings))).await;
    let all = u32::try_from(COUNT).unwrap();
    assert_eq!(
        placed.result,
        Ok(Outcome::Placed {
            made: all,
            refused: 0
        })
    );

    let mut peer = bench.hello(&runner, 5).await;
    peer.welcome().await;
    let (_, list) = peer.desired().await;
    assert_eq!(list.len() as u64, COUNT);
    assert!(list.iter().all(|one| one.run));
    let sent: usize = peer.specs.values().map(|spec| spec.args[0].len()).sum();
    assert_eq!(sent as u64, COUNT * (8 << 10));
    // A change of one is another list, without any spec again.
    bench.want(AgentId(7), Desired::Stopped).await;
    let (_, list) = peer.desired().await;
    assert_eq!(list.iter().filter(|one| !one.run).count(), 1);
    bench.stop().await;
}
