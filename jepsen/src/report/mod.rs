//! A run for people: the verdict first, then figures, plots and a timeline.
//!
//! Everything of a run is in its directory: `results.json` (the verdicts with their evidence), `history.jsonl` (as it
//! was recorded), `history.edn` and one `<workload>.edn` each (the same in Jepsen's words), `latency.svg` and
//! `rate.svg` (with the spans shaded in which faults were in effect), and `timeline.html` (every operation as a bar).
//! All of it is made from the history and the verdicts, so `check` makes it again from a recorded run.

mod again;
mod figures;
mod plots;
mod summary;
mod timeline;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::checker::{Validity, Verdict};
use crate::history::{History, edn, windows};

pub use self::again::again;
pub use self::figures::{Figures, figures};
pub use self::summary::Summary;

/// What a run was made of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its name: that of its directory.
    pub name: String,
    /// Workloads, side by side.
    pub workloads: Vec<String>,
    /// Faults.
    pub nemeses: Vec<String>,
    /// Managers.
    pub nodes: u64,
    /// Operations a second that were wished for.
    pub rate: u64,
    /// Seconds of load and faults.
    pub seconds: u64,
    /// What was left to chance.
    pub seed: u64,
    /// Where managers were: in namespaces or on the loopback, and why.
    #[serde(default)]
    pub network: String,
    /// Faults of families that could not be had, each with why.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// The bug that was planted on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<String>,
    /// What else the harness knows of it: faults with their evidence, managers that ended.
    #[serde(default)]
    pub more: Value,
}

/// Writes everything but `history.jsonl`, which is there already; gives what is to be told at the end.
///
/// # Errors
/// A file can't be written.
pub fn write(dir: &Path, run: &Run, history: &History, verdicts: &[Verdict]) -> io::Result<Summary> {
    let figures = figures(history);
    let summary = Summary::new(run, verdicts, &figures);
    let results = json!({
        "valid": match summary.validity {
            Validity::Valid => json!(true),
            Validity::Invalid => json!(false),
            Validity::Unknown => json!("unknown"),
        },
        "run": run, "verdicts": verdicts, "figures": figures, "faults": faults(history),
    });
    let mut file = create(dir, "results.json")?;
    serde_json::to_writer_pretty(&mut file, &results)?;
    file.flush()?;
    let mut workloads: Vec<&str> = history
        .ops
        .iter()
        .filter_map(|op| op.workload.as_deref())
        .collect();
    workloads.sort_unstable();
    workloads.dedup();
    for workload in &workloads {
        let mut file = create(dir, &format!("{}.edn", plain(workload)))?;
        edn::write(history, Some(workload), &mut file)?;
        file.flush()?;
    }
    let mut file = create(dir, "history.edn")?;
    edn::write(history, None, &mut file)?;
    file.flush()?;
    plots::write(dir, run, history).map_err(io::Error::other)?;
    let mut file = create(dir, "timeline.html")?;
    timeline::write(&mut file, run, history, &summary)?;
    file.flush()?;
    Ok(summary)
}

fn create(dir: &Path, name: &str) -> io::Result<BufWriter<File>> {
    File::create(dir.join(name)).map(BufWriter::new)
}

/// A workload's name as part of a file's: histories may come from anywhere.
fn plain(name: &str) -> String {
    let kept = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c));
    kept.take(64).collect()
}

/// The faults with their spans, in seconds.
fn faults(history: &History) -> Value {
    let seconds = |time: u64| time as f64 / 1e9;
    windows(history)
        .into_iter()
        .map(|window| {
            json!({
                "fault": window.fault, "from": seconds(window.from), "to": seconds(window.to),
                "begun": window.value, "undone": window.undone,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
