//! Every workload against a real cluster of which one manager dies: everything holds, and the report says so.
//!
//! The cluster is `quorate dev`, so neither root nor namespaces are needed. `LOAD_SECONDS` makes it longer; where
//! something does not hold, the run's directory is left and named.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jepsen::history::Recorder;
use jepsen::report;
use jepsen::workload::{self, Endpoint, Pace, Stage, WorkloadContext};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use support::{PATIENCE, client, endpoints, stage, start};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

fn context(
    endpoints: &[Endpoint],
    recorder: &Arc<Recorder>,
    rate: f64,
    stop: &CancellationToken,
    stage: &Stage,
) -> WorkloadContext {
    WorkloadContext {
        endpoints: endpoints.to_vec(),
        recorder: Arc::clone(recorder),
        pace: Arc::new(Pace::new(rate)),
        stop: stop.clone(),
        seed: 7,
        stage: stage.clone(),
    }
}

/// Kills the leader, and waits until it is back and knows a leader.
async fn kill_the_leader(dir: &Path, endpoints: &[Endpoint], recorder: &Recorder) {
    let status = client(&endpoints[0]).cluster_status().await.expect("it answers");
    let leader = status.leader.expect("somebody leads");
    recorder.nemesis("start-kill-leader", json!({ "nodes": [leader] }));
    let pid = std::fs::read_to_string(dir.join(format!("manager-{leader}.pid"))).expect("it runs");
    let pid: i32 = pid.trim().parse().expect("a number");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it can be killed");
    let place = endpoints
        .iter()
        .find(|endpoint| endpoint.node == leader)
        .expect("it is one of them");
    let again = client(place);
    let back = Instant::now();
    loop {
        assert!(back.elapsed() < PATIENCE, "manager {leader} does not come back");
        match again.cluster_status().await {
            Ok(status) if status.leader.is_some() && status.term > 1 => break,
            _ => sleep(Duration::from_millis(50)).await,
        }
    }
    recorder.nemesis("stop-kill-leader", json!({ "pid": pid }));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_workload_holds_while_a_leader_dies() {
    let seconds = std::env::var("LOAD_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let half = Duration::from_secs(seconds.unwrap_or(12)) / 2;
    let dir = tempfile::tempdir().expect("there is room");
    let (cluster, run) = (dir.path().join("cluster"), dir.path().join("run"));
    std::fs::create_dir(&run).expect("there is room");
    let _dev = start(&cluster);
    let endpoints = endpoints(&cluster);
    let recorder = Arc::new(Recorder::create(&run.join("history.jsonl")).expect("there is room"));
    let workloads = workload::all();
    let stage = stage(&run);

    let stop = CancellationToken::new();
    let mut load = JoinSet::new();
    for workload in &workloads {
        let (workload, ctx) = (
            Arc::clone(workload),
            context(&endpoints, &recorder, 40.0, &stop, &stage),
        );
        load.spawn(async move { workload.run(ctx).await });
    }
    // The load itself is what is waited for: so much of it before the fault, and so much after.
    sleep(half).await;
    kill_the_leader(&cluster, &endpoints, &recorder).await;
    sleep(half).await;
    stop.cancel();
    timeout(PATIENCE, load.join_all()).await.expect("the load ends");

    let stop = CancellationToken::new();
    let mut reads = JoinSet::new();
    for workload in &workloads {
        let (workload, ctx) = (
            Arc::clone(workload),
            context(&endpoints, &recorder, 1e4, &stop, &stage),
        );
        reads.spawn(async move { workload.final_reads(ctx).await });
    }
    timeout(PATIENCE, reads.join_all()).await.expect("the reads end");

    let history = recorder.history().expect("it is one");
    let verdicts: Vec<_> = workloads
        .iter()
        .flat_map(|workload| workload.check(&history))
        .collect();
    let about = report::Run {
        name: "load".to_owned(),
        nemeses: vec!["kill-leader".to_owned()],
        ..report::Run::default()
    };
    let summary = report::write(&run, &about, &history, &verdicts).expect("there is room");
    eprintln!("{summary}");
    if !summary.passes() || seconds.is_some() {
        eprintln!("everything of it is in {}", dir.keep().display());
    }
    assert!(summary.passes());
}
