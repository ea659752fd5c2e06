//! Every fault set with every workload, one run after the other, and a table at the end.

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets::ASCII_MARKDOWN};

use crate::options::{MatrixOptions, RunOptions};
use crate::run::{Outcome, run};

/// The fault sets: a name, its faults, and whether it belongs to the quick matrix.
const SETS: [(&str, &[&str], bool); 28] = [
    ("none", &["none"], false),
    ("kill one", &["kill-one"], false),
    ("kill leader", &["kill-leader"], true),
    ("kill majority", &["kill-majority"], false),
    ("kill all", &["kill-all"], false),
    ("pause leader", &["pause-leader"], true),
    ("pause any", &["pause-one", "pause-majority"], false),
    ("pause all", &["pause-all"], false),
    ("partition one", &["partition-one"], false),
    ("partition halves", &["partition-halves"], false),
    ("partition ring", &["partition-ring", "partition-bridge"], false),
    ("partition one way", &["partition-one-way"], false),
    ("leader in minority", &["partition-leader"], true),
    ("clients from leader", &["partition-clients"], false),
    ("slow links", &["links-slow", "links-narrow"], false),
    (
        "lossy links",
        &["links-lossy", "links-mixed", "links-storm"],
        false,
    ),
    ("clocks", &["clock"], false),
    (
        "power one",
        &["power-one", "power-one-torn", "power-leader"],
        false,
    ),
    ("power all", &["power-all", "power-all-torn"], true),
    ("damaged log", &["damage-log-bits", "damage-log-end"], false),
    (
        "damaged snapshot",
        &["damage-snapshot-bits", "damage-snapshot-end"],
        false,
    ),
    ("disk full", &["disk-full"], false),
    ("slow disks", &["disk-slow", "disk-slow-all"], false),
    ("failing fsync", &["disk-failing"], true),
    (
        "members",
        &[
            "member-add",
            "member-replace",
            "member-remove-leader",
            "member-wiped",
        ],
        false,
    ),
    ("transfer", &["transfer"], false),
    ("rolling restart", &["rolling-restart"], false),
    ("everything", &["everything"], true),
];

/// Seconds of a run, unless told otherwise.
const TIME: u64 = 60;
const QUICK_TIME: u64 = 15;

/// Runs the matrix; whether all of it passed.
///
/// # Errors
/// A run could not be carried out; its row says so, and the others go on.
pub async fn matrix(options: &MatrixOptions) -> Result<bool> {
    let sets: Vec<_> = SETS
        .iter()
        .filter(|(name, _, quick)| {
            let asked =
                options.only.is_empty() || options.only.iter().any(|part| name.contains(part.as_str()));
            asked && (*quick || !options.quick)
        })
        .collect();
    ensure!(!sets.is_empty(), "no fault set has such a name");
    let time = options
        .time
        .unwrap_or(if options.quick { QUICK_TIME } else { TIME });
    let mut rows = Vec::new();
    for (name, faults, _) in &sets {
        let one = RunOptions {
            workload: vec!["all".to_owned()],
            nemesis: faults.iter().map(|fault| (*fault).to_owned()).collect(),
            time,
            rate: options.rate,
            stay: None,
            nodes: 3,
            seed: None,
            set: Vec::new(),
            planted: None,
            binary: options.binary.clone(),
            store: options.store.clone(),
        };
        rows.push((*name, run(&one).await));
    }
    let (table, passed) = table(&rows);
    println!("\n{table}");
    let passed_word = if passed { "all passed" } else { "NOT all passed" };
    println!("{passed_word}: {} fault sets, {time} s each", rows.len());
    std::fs::write(options.store.join("matrix.md"), format!("{table}\n"))
        .context("the table cannot be written")?;
    Ok(passed)
}

fn table(rows: &[(&str, Result<Outcome>)]) -> (Table, bool) {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        "fault set",
        "verdict",
        "faults",
        "ok/s",
        "recovery",
        "what did not hold",
    ]);
    let mut passed = true;
    for (name, outcome) in rows {
        let cells = match outcome {
            Ok(outcome) => {
                passed &= outcome.passed;
                cells(outcome)
            }
            Err(error) => {
                passed = false;
                [
                    "could not be run".to_owned(),
                    String::new(),
                    String::new(),
                    String::new(),
                    format!("{error:#}"),
                ]
            }
        };
        table.add_row(std::iter::once((*name).to_owned()).chain(cells));
    }
    (table, passed)
}

fn cells(outcome: &Outcome) -> [String; 5] {
    let rate = outcome
        .verdicts
        .iter()
        .find_map(|verdict| verdict.data.get("ok_a_second")?.as_f64());
    let slowest = outcome
        .strikes
        .iter()
        .filter_map(|strike| strike.recovered_in)
        .chain(outcome.recovered_in)
        .max();
    let wrong: Vec<_> = outcome
        .verdicts
        .iter()
        .filter(|verdict| !verdict.passes())
        .map(|verdict| verdict.checker.clone())
        .collect();
    [
        if outcome.passed { "pass" } else { "FAIL" }.to_owned(),
        outcome.strikes.len().to_string(),
        rate.map_or_else(String::new, |rate| format!("{rate:.0}")),
        slowest.map_or_else(String::new, |slowest| format!("{:.1} s", slowest.as_secs_f64())),
        wrong.join(", "),
    ]
}
