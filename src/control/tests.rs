use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Controller, LivenessTable, Replica as _,
    fixture::{Alone, deps},
};
use crate::{
    command::{AgentCommand, Command, ContainerCommand, EngineCommand},
    model::{ContainerId, ContainerState, EngineId, EngineState},
    plan::Windows,
};

fn start(alone: &Alone, windows: Windows) -> (CancellationToken, Controller) {
    let stop = CancellationToken::new();
    let table = Arc::new(LivenessTable::default());
    let controller = Controller::start(alone.clone(), deps(table, windows), stop.clone());
    (stop, controller)
}

fn batches(alone: &Alone) -> Vec<usize> {
    let of = |command: &Command| match command {
        Command::Agent(AgentCommand::Place(placements)) => Some(placements.len()),
        _ => None,
    };
    alone.proposed().iter().filter_map(of).collect()
}

#[tokio::test]
async fn agents_are_placed_while_leading_and_only_then() {
    let alone = Alone::new();
    for n in 1..=3 {
        alone.ready(ContainerId(n), 1);
    }
    for n in 1..=2_500 {
        alone.deploy(n, "");
    }
    let (stop, controller) = start(&alone, Windows::default());
    tokio::task::yield_now().await;
    assert!(batches(&alone).is_empty(), "a follower decides nothing");
    alone.lead(true);
    alone.until("all placed", |s| s.pending().next().is_none()).await;
    assert_eq!(batches(&alone), [1_000, 1_000, 500]);

    alone.deploy(3_000, "");
    alone.until("woken", |s| s.pending().next().is_none()).await;
    stop.cancel();
    controller.stopped().await;
}

#[tokio::test]
async fn leadership_that_is_lost_ends_the_loops() {
    let alone = Alone::new();
    alone.lead(true);
    let (stop, controller) = start(&alone, Windows::default());
    alone.ready(ContainerId(1), 1);
    alone.deploy(1, "");
    alone.until("placed", |s| s.pending().next().is_none()).await;
    alone.lead(false);
    // The controller's turn; it has nothing to await that a test could see.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    alone.deploy(2, "");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(alone.state().pending().count(), 1);
    alone.lead(true);
    alone
        .until("placed by the next one", |s| s.pending().next().is_none())
        .await;
    stop.cancel();
    controller.stopped().await;
}

#[tokio::test]
async fn an_agent_that_fits_nowhere_does_not_stand_in_the_way() {
    let alone = Alone::new();
    alone.ready(ContainerId(1), 1);
    alone.deploy(1, "zone=nowhere");
    alone.lead(true);
    let (stop, controller) = start(&alone, Windows::default());
    alone.deploy(2, "");
    alone
        .until("the other is placed", |s| s.pending().count() == 1)
        .await;
    stop.cancel();
    controller.stopped().await;
}

#[tokio::test]
async fn a_proposal_that_fails_is_not_repeated_at_once() {
    let alone = Alone::new();
    alone.ready(ContainerId(1), 1);
    alone.fail(true);
    alone.deploy(1, "");
    alone.lead(true);
    let (stop, controller) = start(&alone, Windows::default());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(batches(&alone), [1], "one attempt a period");
    alone.fail(false);
    alone
        .until("placed later", |s| s.pending().next().is_none())
        .await;
    stop.cancel();
    controller.stopped().await;
}

#[tokio::test]
async fn a_silent_container_is_lost_and_its_agents_leave_when_it_is_fenced() {
    let alone = Alone::new();
    alone.ready(ContainerId(1), 7);
    alone.deploy(1, "");
    let windows = Windows {
        suspect: Duration::from_millis(300),
        lost: Duration::from_millis(900),
        fence: Duration::from_millis(1_800),
        ..Windows::default()
    };
    let started = Instant::now();
    alone.lead(true);
    let (stop, controller) = start(&alone, windows);
    let state = |state| move |s: &crate::state::State| s.container(ContainerId(1)).unwrap().state == state;
    alone
        .until("placed", |s| s.placed(ContainerId(1)).is_some())
        .await;
    alone.until("suspect", state(ContainerState::Suspect)).await;
    alone.until("lost", state(ContainerState::Lost)).await;
    assert!(
        alone.state().placed(ContainerId(1)).is_some() || started.elapsed() >= windows.fence,
        "an exclusive agent stays until the container is fenced"
    );
    alone
        .until("fenced", |s| s.placed(ContainerId(1)).is_none())
        .await;
    assert!(started.elapsed() >= windows.fence, "never early");

    alone.ready(ContainerId(2), 1);
    alone
        .until("elsewhere", |s| s.placed(ContainerId(2)).is_some())
        .await;
    stop.cancel();
    controller.stopped().await;
}

#[tokio::test]
async fn an_engine_that_hangs_is_unreachable_and_its_containers_are_left_alone() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", silent.local_addr().unwrap()).parse().unwrap();
    let alone = Alone::new();
    alone.apply(Command::Engine(EngineCommand::Add {
        id: EngineId(1),
        name: "hung".parse().unwrap(),
        url,
    }));
    alone.lead(true);
    let (stop, controller) = start(&alone, Windows::default());
    let unreachable =
        |s: &crate::state::State| s.engine(EngineId(1)).unwrap().state == EngineState::Unreachable;
    alone.until("unreachable", unreachable).await;
    let observed = |c: &Command| matches!(c, Command::Container(ContainerCommand::Observe { .. }));
    assert!(!alone.proposed().iter().any(observed));
    stop.cancel();
    controller.stopped().await;
}
