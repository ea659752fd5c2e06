//! Each run has a process of its own.
//!
//! The order in which tokio takes the tasks of a crashed manager down depends on their numbers, which count
//! up through all of a process. So only the first run of a process is the same each time. A process
//! also keeps a run that aborts, or never comes to its end, from taking the others along.

use std::{
    env, fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    plant::Plant,
    run::{Report, run_here},
};

/// How the process is told what to run.
const ORDER: &str = "QUORATE_SIMULATED_RUN";

/// A run takes about a second; what takes so long never waits for anything.
const HUNG: Duration = Duration::from_secs(120);

#[derive(Serialize, Deserialize)]
struct Order {
    seed: u64,
    ticks: u64,
    plant: Plant,
    /// Where the report and the trace go.
    report: String,
    trace: String,
}

/// Runs a seed in a process of its own: `ticks` milliseconds of trouble, then the heal.
pub fn run(seed: u64, ticks: u64, plant: Plant) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let order = Order {
        seed,
        ticks,
        plant,
        report: path("report"),
        trace: path("trace"),
    };
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child::process", "--ignored", "--nocapture"])
        .env(ORDER, serde_json::to_string(&order).unwrap())
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(fs::File::create(path("errors")).unwrap())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break format!("its process ended: {status}");
        }
        if began.elapsed() > HUNG {
            child.kill().unwrap();
            child.wait().unwrap();
            break "it does not come to its end".to_owned();
        }
        std::thread::park_timeout(Duration::from_millis(5));
    };
    let report = fs::read_to_string(&order.report).ok();
    let report = report.and_then(|text| serde_json::from_str::<Report>(&text).ok());
    let mut report = report.unwrap_or_else(|| {
        let errors = fs::read_to_string(path("errors")).unwrap_or_default();
        let first = errors.lines().filter(|line| !line.is_empty()).take(2);
        Report::broken(seed, format!("{ended}: {}", first.collect::<Vec<_>>().join(" ")))
    });
    report.trace = fs::read_to_string(&order.trace).unwrap_or_default();
    report
}

/// What such a process does; not a test.
#[test]
#[ignore = "runs what another test orders"]
fn process() {
    let Ok(order) = env::var(ORDER) else { return };
    // To look into a run by hand: what the managers and raft say of it, with RUST_LOG.
    if env::var("RUST_LOG").is_ok() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .without_time()
            .init();
    }
    let order: Order = serde_json::from_str(&order).unwrap();
    let report = run_here(order.seed, order.ticks, order.plant);
    fs::write(&order.trace, &report.trace).unwrap();
    fs::write(&order.report, serde_json::to_string(&report).unwrap()).unwrap();
}
