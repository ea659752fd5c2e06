//! Every fault set with every workload, one run after the other, and a table at the end.

use anyhow::{Context, Error, Result, ensure};
use comfy_table::{Table, presets::ASCII_MARKDOWN};

use crate::machine::Machine;
use crate::nemesis::Plan;
use crate::options::{MatrixOptions, RunOptions};
use crate::run::{Outcome, run};

/// The fault sets: a name, its faults, and whether it belongs to the quick matrix.
const SETS: [(&str, &[&str], bool); 31] = [
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
    ("runner with minority", &["runner-minority"], true),
    ("runners cut off", &["runner-partition"], false),
    ("runners stopped", &["runner-pause", "runner-kill"], false),
    ("rolling restart", &["rolling-restart"], false),
    ("everything", &["everything"], true),
];

/// Seconds of a run, unless told otherwise.
const TIME: u64 = 60;
const QUICK_TIME: u64 = 15;

/// Runs the matrix; whether all of it passed.
///
/// # Errors
/// No fault set is left, or the table cannot be written. A run that could not be carried out is a row that says so, and
/// the others go on.
pub async fn matrix(options: &MatrixOptions, machine: &Machine) -> Result<bool> {
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
        let nemesis: Vec<_> = faults.iter().map(|fault| (*fault).to_owned()).collect();
        if let Err(why) = Plan::of(&nemesis, &|tools| machine.lacks(tools)) {
            eprintln!("left out {name}: {why:#}");
            rows.push((*name, Row::LeftOut(why)));
            continue;
        }
        let one = RunOptions {
            workload: vec!["all".to_owned()],
            nemesis,
            time,
            rate: options.rate,
            until_wrong: false,
            stay: None,
            nodes: 3,
            seed: None,
            set: Vec::new(),
            network: options.network,
            planted: None,
            binary: options.binary.clone(),
            store: options.store.clone(),
        };
        rows.push((*name, Row::Run(run(&one, machine).await)));
    }
    let left_out = rows
        .iter()
        .filter(|(_, row)| matches!(row, Row::LeftOut(_)))
        .count();
    ensure!(left_out < rows.len(), "nothing of it can be done on this machine");
    let (table, passed) = table(&rows);
    println!("\n{table}");
    let passed_word = if passed { "all passed" } else { "NOT all passed" };
    let ran = rows.len() - left_out;
    let network = machine.network();
    let told =
        format!("{passed_word}: {ran} fault sets, {time} s each, {left_out} left out; network: {network}");
    println!("{told}");
    std::fs::write(options.store.join("matrix.md"), format!("{table}\n\n{told}\n"))
        .context("the table cannot be written")?;
    Ok(passed)
}

/// What came of a fault set.
enum Row {
    Run(Result<Outcome>),
    /// This machine can't do it.
    LeftOut(Error),
}

fn table(rows: &[(&str, Row)]) -> (Table, bool) {
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
    for (name, row) in rows {
        let cells = match row {
            Row::Run(Ok(outcome)) => {
                passed &= outcome.passed;
                cells(outcome)
            }
            Row::Run(Err(error)) => {
                passed = false;
                not_run("could not be run", error)
            }
            Row::LeftOut(why) => not_run("left out", why),
        };
        table.add_row(std::iter::once((*name).to_owned()).chain(cells));
    }
    (table, passed)
}

fn not_run(verdict: &str, why: &Error) -> [String; 5] {
    let mut cells = [const { String::new() }; 5];
    cells[0] = verdict.to_owned();
    cells[4] = format!("{why:#}");
    cells
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise it would be left out, as what a machine can't do is.
    #[test]
    fn every_fault_set_is_made_of_faults_there_are() {
        for (name, faults, _) in SETS {
            let nemesis: Vec<_> = faults.iter().map(|fault| (*fault).to_owned()).collect();
            assert!(Plan::of(&nemesis, &|_| None).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_was_left_out_is_in_the_table_and_no_failure() {
        let left_out = [("lossy links", Row::LeftOut(anyhow::anyhow!("no packets")))];
        let (shown, passed) = table(&left_out);
        assert!(passed && shown.to_string().contains("no packets"), "{shown}");
        let broken = [("lossy links", Row::Run(Err(anyhow::anyhow!("no packets"))))];
        assert!(!table(&broken).1);
    }
}
