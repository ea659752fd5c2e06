//! Counts and latencies of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::history::{History, Kind, Process, calls};

/// A run in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// From the first line to the last, in seconds.
    pub seconds: f64,
    /// Operations that were begun.
    pub operations: u64,
    /// Operations that were acknowledged.
    pub ok: u64,
    /// Acknowledged operations a second.
    pub rate: f64,
    /// By workload and operation.
    pub by_kind: BTreeMap<String, Counts>,
    /// The longest time without any acknowledged write, in seconds.
    pub longest_silence: f64,
}

/// One kind of operation in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Acknowledged.
    pub ok: u64,
    /// Certainly without effect.
    pub fail: u64,
    /// Nobody knows.
    pub info: u64,
    /// Latencies of the acknowledged, in milliseconds.
    pub p50: f64,
    /// The same.
    pub p99: f64,
    /// The same.
    pub max: f64,
}

/// Counts a history.
pub fn figures(history: &History) -> Figures {
    let mut workloads: Vec<&str> = history
        .ops
        .iter()
        .filter(|op| op.process != Process::Nemesis)
        .map(|op| op.workload.as_deref().unwrap_or_default())
        .collect();
    workloads.sort_unstable();
    workloads.dedup();
    let mut figures = Figures::default();
    let mut acknowledged: Vec<u64> = Vec::new();
    for workload in workloads {
        let mut latencies: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for call in calls(history, workload) {
            let name = format!("{workload} {}", call.f()).trim_start().to_owned();
            let counts = figures.by_kind.entry(name.clone()).or_default();
            figures.operations += 1;
            match call.kind() {
                Kind::Ok => counts.ok += 1,
                Kind::Fail => counts.fail += 1,
                Kind::Invoke | Kind::Info => counts.info += 1,
            }
            if let (true, Some(end)) = (call.is_ok(), call.end) {
                let took = end.time.saturating_sub(call.invoke.time) as f64 / 1e6;
                latencies.entry(name).or_default().push(took);
                if !matches!(call.f(), "read" | "status") {
                    acknowledged.push(end.time);
                }
            }
        }
        for (name, mut times) in latencies {
            times.sort_by(f64::total_cmp);
            let counts = figures.by_kind.entry(name).or_default();
            (counts.p50, counts.p99) = (rank(&times, 0.5), rank(&times, 0.99));
            counts.max = times.last().copied().unwrap_or_default();
        }
    }
    figures.ok = figures.by_kind.values().map(|counts| counts.ok).sum();
    let time = |op: Option<&crate::history::Op>| op.map_or(0, |op| op.time);
    let (first, last) = (time(history.ops.first()), time(history.ops.last()));
    figures.seconds = last.saturating_sub(first) as f64 / 1e9;
    figures.rate = figures.ok as f64 / figures.seconds.max(0.001);
    acknowledged.sort_unstable();
    let silences = acknowledged.windows(2).map(|two| two[1] - two[0]);
    figures.longest_silence = silences.max().unwrap_or_default() as f64 / 1e9;
    figures
}

/// The value below which a share of the sorted values lies.
fn rank(sorted: &[f64], share: f64) -> f64 {
    let place = ((sorted.len() as f64 * share).ceil() as usize).max(1) - 1;
    sorted.get(place).copied().unwrap_or_default()
}
