//! Every workload against a real cluster of which one manager dies: everything holds, and the report says so.
//!
//! The cluster is `quorate dev`, so neither root nor namespaces are needed. `LOAD_SECONDS` makes it longer; where
//! something does not hold, the run's directory is left and named.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jepsen::history::Recorder;
use jepsen::report;
use jepsen::workload::{self, Endpoint, Pace, WorkloadContext};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate::client::Client;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster that ends with this.
struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        // Its managers end with it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The product's binary, which is built beside this test.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let beside = test
        .parent()
        .and_then(Path::parent)
        .expect("a test stands in `deps`");
    let path = std::env::var_os("QUORATE_BINARY").map_or_else(|| beside.join("quorate"), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is not there: `cargo build --bin quorate` makes it",
        path.display()
    );
    path
}

/// A port with free ones above it.
fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let port = listener.local_addr().expect("it is bound").port();
    port.min(60_000)
}

fn start(dir: &Path) -> Dev {
    let mut child = Command::new(binary())
        .args([
            "dev",
            "--managers",
            "3",
            "--runners",
            "0",
            "--port",
            &port().to_string(),
            "--data",
        ])
        .arg(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut ready = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("it was asked for"));
    out.read_line(&mut ready).expect("it says when it is ready");
    let dev = Dev(child);
    assert!(ready.starts_with("ready"), "{ready}");
    dev
}

fn endpoints(dir: &Path) -> Vec<Endpoint> {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect(name);
    let (ca, token, urls) = (read("ca.pem"), read("admin.token"), read("endpoints"));
    (1..)
        .zip(urls.lines())
        .map(|(node, url)| Endpoint {
            node,
            url: url.to_owned(),
            ca: ca.clone(),
            token: token.clone(),
        })
        .collect()
}

fn context(
    endpoints: &[Endpoint],
    recorder: &Arc<Recorder>,
    rate: f64,
    stop: &CancellationToken,
) -> WorkloadContext {
    WorkloadContext {
        endpoints: endpoints.to_vec(),
        recorder: Arc::clone(recorder),
        pace: Arc::new(Pace::new(rate)),
        stop: stop.clone(),
        seed: 7,
    }
}

/// Kills the leader, and waits until it is back and knows a leader.
async fn kill_the_leader(dir: &Path, endpoints: &[Endpoint], recorder: &Recorder) {
    let client = |endpoint: &Endpoint| {
        let builder = Client::builder().endpoint(&endpoint.url).ca_pem(&endpoint.ca);
        builder
            .token(&endpoint.token)
            .retry_for(PATIENCE)
            .build()
            .expect("its address is one")
    };
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

    let stop = CancellationToken::new();
    let mut load = JoinSet::new();
    for workload in &workloads {
        let (workload, ctx) = (Arc::clone(workload), context(&endpoints, &recorder, 40.0, &stop));
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
        let (workload, ctx) = (Arc::clone(workload), context(&endpoints, &recorder, 1e4, &stop));
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
