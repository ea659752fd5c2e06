//! A runner that stands still can't stop its agents: their keepers do, before anybody replaces them.

mod support;

use std::path::Path;
use std::time::Duration;

use jepsen::beat;
use jepsen::workload::Stage;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate::client::Client;
use quorate::client::types::AgentView;
use quorate::model::{AgentState, ContainerState};
use serde_json::json;
use support::{PATIENCE, client, endpoints, stage, start};
use tokio::time::{Instant, sleep};

/// After the sending of the last heartbeat that was counted, an exclusive agent is stopped.
const FENCED: Duration = Duration::from_secs(8);

/// What a busy machine may need to run a process that is due.
const LATE: Duration = Duration::from_millis(500);

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < PATIENCE, "never: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn runs(client: &Client, under: impl Fn(&AgentView) -> bool) -> AgentView {
    let mut found = None;
    until("the agent runs", async || {
        let agent = client.agent("only").await.ok();
        found = agent.filter(|agent| agent.state == AgentState::Running && under(agent));
        found.is_some()
    })
    .await;
    found.expect("it was waited for")
}

async fn deployed(client: &Client, stage: &Stage) -> AgentView {
    for name in ["runner-1", "runner-2"] {
        until("both are ready", async || {
            let container = client.container(name).await;
            container.is_ok_and(|container| container.state == ContainerState::Ready)
        })
        .await;
    }
    let spec = json!({"name": "only", "command": stage.program, "args": ["beat", stage.lives]});
    let spec = serde_json::from_value(spec).expect("a spec");
    client.deploy_agent(&spec).await.expect("it is taken");
    runs(client, |_| true).await
}

fn runner(dir: &Path, name: &str) -> Pid {
    let pid = std::fs::read_to_string(dir.join(format!("{name}.pid"))).expect("it runs");
    Pid::from_raw(pid.trim().parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_runner_stands_still_has_stopped_before_it_is_replaced() {
    let dir = tempfile::tempdir().expect("there is room");
    let cluster = dir.path().join("cluster");
    let _dev = start(&cluster);
    let client = client(&endpoints(&cluster)[0]);
    let stage = stage(dir.path());
    let agent = deployed(&client, &stage).await;

    let name = agent.container_name.expect("it has a container").to_string();
    let stopped = runner(&cluster, &name);
    kill(stopped, Signal::SIGSTOP).expect("it runs");
    let at = Duration::from_nanos(beat::now().expect("there is a clock"));
    runs(&client, |now| now.epoch > agent.epoch).await;
    until("the replacement acts", async || {
        beat::lives(&stage.lives).is_ok_and(|lives| lives["only"].len() == 2)
    })
    .await;

    let lives = beat::lives(&stage.lives).expect("they are there");
    let [first, second] = lives["only"].as_slice() else {
        panic!("{lives:?}");
    };
    let acted = Duration::from_nanos(first.last).saturating_sub(at);
    let gap = second.first.checked_sub(first.last).map(Duration::from_nanos);
    eprintln!("it acted for another {acted:?}, and its replacement {gap:?} later");
    assert!(acted <= FENCED + LATE, "it acted for another {acted:?}");
    assert!(gap.is_some(), "two copies acted: {lives:?}");
    kill(stopped, Signal::SIGCONT).expect("it is still there");
}
