//! Agents in containers: at most one live copy of each at any moment; none ends, and no container is lost, unless
//! something happened to a runner or to most managers; all that were acknowledged run in the end.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::json;

use super::{Findings, Verdict};
use crate::beat::Life;
use crate::history::{Call, History, calls, windows};

/// Faults that leave most managers and all runners in peace: nothing of an agent may end because of them.
const HARMLESS: &[&str] = &[
    "kill-one",
    "kill-leader",
    "pause-one",
    "pause-leader",
    "partition-one",
    "partition-leader",
    "partition-clients",
    "transfer",
    "clock-one",
    "clock-all",
    "clock-strobe",
];

/// So long after another fault, in nanoseconds, an end may still be of its making: a lease, and the time to find a manager.
const AFTERMATH: u64 = 20_000_000_000;

/// A life may have ended so long after it last acted, in nanoseconds: a beat, and the time that processors gave to others.
const BEAT: u64 = 500_000_000;

/// A life that acted so shortly before it was looked at goes on, in nanoseconds.
const FRESH: u64 = 5_000_000_000;

/// What was read of the agents' own words.
#[derive(Debug, Deserialize)]
struct Told {
    now: u64,
    lives: BTreeMap<String, Vec<Life>>,
}

/// The last look at all lives, and the call that gave it.
fn told<'a>(calls: &[Call<'a>]) -> Option<(Told, Call<'a>)> {
    let last = calls
        .iter()
        .rev()
        .find(|call| call.f() == "lives" && call.is_ok())?;
    let told = serde_json::from_value(last.answered()?.clone()).ok()?;
    Some((told, *last))
}

/// At most one live copy of each agent at any moment, later ones under later epochs.
pub fn one_at_a_time(history: &History, workload: &str) -> Verdict {
    let mut findings = Findings::new(workload, "one live copy at a time");
    let calls = calls(history, workload);
    let (mut handed_over, mut closest) = (0_u64, u64::MAX);
    if let Some((told, _)) = told(&calls) {
        for (agent, mut lives) in told.lives {
            lives.sort_unstable();
            lives.iter().for_each(|_| findings.looked());
            // The life that went on longest so far: a short one may lie within a long one.
            let mut longest: Option<Life> = None;
            for life in lives {
                if let Some(before) = longest {
                    if life.first <= before.last {
                        findings.wrong(overlap(&agent, before, life), &[]);
                    } else if life.epoch < before.epoch {
                        let (epoch, older) = (before.epoch, life.epoch);
                        findings.wrong(format!("{agent} began under epoch {older} after {epoch}"), &[]);
                    } else if life.epoch > before.epoch {
                        handed_over += 1;
                        closest = closest.min(life.first - before.last);
                    }
                }
                longest = longest.filter(|before| before.last > life.last).or(Some(life));
            }
        }
    }
    let mut verdict = findings.verdict("lives of agents");
    if handed_over > 0 && verdict.passes() {
        let gap = closest as f64 / 1e9;
        verdict.detail += &format!("; {handed_over} were handed over, the closest after {gap:.2} s");
    }
    verdict.data["handed_over"] = json!(handed_over);
    verdict.data["closest_ns"] = json!((handed_over > 0).then_some(closest));
    verdict
}

fn overlap(agent: &str, before: Life, life: Life) -> String {
    let both = (before.last.min(life.last) - life.first) as f64 / 1e6;
    format!(
        "two copies of {agent} acted for {both:.1} ms: process {} under epoch {} and {} under {}",
        before.pid, before.epoch, life.pid, life.epoch
    )
}

/// No agent ends and no container is lost while nothing but harmless faults are about.
pub fn not_without_a_cause(history: &History, workload: &str) -> Verdict {
    let mut findings = Findings::new(workload, "nothing ends without a cause");
    let calls = calls(history, workload);
    let causes: Vec<_> = windows(history)
        .into_iter()
        .filter(|window| !HARMLESS.contains(&window.fault.as_str()) && window.fault != "violation")
        .collect();
    let caused = |from: u64, to: u64| {
        let mut causes = causes.iter();
        causes.any(|cause| cause.from <= to && from <= cause.to.saturating_add(AFTERMATH))
    };
    for call in calls.iter().filter(|call| call.f() == "containers") {
        let Some(end) = call.end else { continue };
        for one in call
            .answered()
            .and_then(|all| all.as_array())
            .into_iter()
            .flatten()
        {
            findings.looked();
            if one[1] == "lost" && !caused(end.time, end.time) {
                findings.wrong(format!("{} is lost", one[0]), &[call]);
            }
        }
    }
    if let Some((told, call)) = told(&calls) {
        // Both clocks are the same but for where they begin.
        let at = |moment: u64| {
            let ago = told.now.saturating_sub(moment);
            call.end.map_or(0, |end| end.time).saturating_sub(ago)
        };
        for (agent, lives) in &told.lives {
            for life in lives {
                findings.looked();
                let last = at(life.last);
                if life.last.saturating_add(FRESH) < told.now && !caused(last, last.saturating_add(BEAT)) {
                    let (pid, epoch) = (life.pid, life.epoch);
                    findings.wrong(format!("process {pid} of {agent}, epoch {epoch}, ended"), &[]);
                }
            }
        }
    }
    findings.verdict("containers and lives that were looked at")
}

/// Every agent that was acknowledged runs in the end, by the word of each manager, and acts.
pub fn run_at_the_end(history: &History, workload: &str) -> Verdict {
    let mut findings = Findings::new(workload, "acknowledged agents run");
    let calls = calls(history, workload);
    let lives = told(&calls).map(|(told, _)| told);
    let last = || calls.iter().filter(|call| call.f() == "runs");
    let managers: BTreeSet<_> = last().filter_map(|call| call.notes().node).collect();
    for deployed in calls.iter().filter(|call| call.f() == "deploy" && call.is_ok()) {
        let agent = deployed.key();
        for manager in &managers {
            findings.looked();
            let of = |call: &&Call<'_>| call.key() == agent && call.notes().node == Some(*manager);
            if !last().filter(of).any(Call::is_ok) {
                let why = last()
                    .filter(of)
                    .filter_map(|call| call.end?.error.clone())
                    .next_back();
                let why = why.unwrap_or_else(|| "it was not asked".to_owned());
                findings.wrong(
                    format!("{agent} does not run at manager {manager}: {why}"),
                    &[deployed],
                );
            }
        }
        if let Some(told) = &lives {
            let mut all = told.lives.get(agent).into_iter().flatten();
            if !all.any(|life| life.last.saturating_add(FRESH) >= told.now) {
                findings.wrong(format!("{agent} is said to run, and does not act"), &[deployed]);
            }
        }
    }
    findings.verdict("agents at managers")
}
