//! What managers say of themselves: one leader a term, terms and revisions that never go back, one cluster.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::floor::in_real_time;
use super::lives::Lives;
use super::{Findings, Verdict};
use crate::history::{Call, History, calls};

/// Judges every status.
pub fn check(history: &History, workload: &str) -> Verdict {
    let mut findings = Findings::new(workload, "one leader a term");
    let calls: Vec<_> = calls(history, workload)
        .into_iter()
        .filter(|call| call.f() == "status" && call.is_ok())
        .collect();
    let leaders = one_leader(&calls, &mut findings);
    one_cluster(&calls, &mut findings);
    terms(&calls, &mut findings);
    revisions(history, &calls, &mut findings);
    let mut verdict = findings.verdict("statuses");
    verdict.data["leaders"] = json!(leaders);
    verdict
}

fn field(call: &Call<'_>, name: &str) -> Option<u64> {
    call.answered()?.get(name)?.as_u64()
}

/// The leader of each term that anybody saw.
fn one_leader(calls: &[Call<'_>], findings: &mut Findings) -> BTreeMap<u64, u64> {
    let mut leaders: BTreeMap<u64, (u64, Call<'_>)> = BTreeMap::new();
    for call in calls {
        findings.looked();
        let (Some(term), Some(leader)) = (field(call, "term"), field(call, "leader")) else {
            continue;
        };
        let (known, by) = *leaders.entry(term).or_insert((leader, *call));
        if known != leader {
            findings.wrong(
                format!("in term {term} manager {known} leads, and manager {leader} too"),
                &[&by, call],
            );
        }
    }
    leaders
        .into_iter()
        .map(|(term, (leader, _))| (term, leader))
        .collect()
}

fn one_cluster(calls: &[Call<'_>], findings: &mut Findings) {
    let of = |call: &Call<'_>| {
        let cluster = call.answered().and_then(|status| status.get("cluster"));
        cluster.and_then(Value::as_str).map(str::to_owned)
    };
    let first = calls.iter().find_map(|call| Some((of(call)?, call)));
    let Some((known, by)) = first else { return };
    for call in calls {
        if of(call).is_some_and(|cluster| cluster != known) {
            findings.wrong("two managers belong to two clusters", &[by, call]);
        }
    }
}

/// A term outlives its manager's process: it is on disk before it is told.
fn terms(calls: &[Call<'_>], findings: &mut Findings) {
    let manager = |call: &Call<'_>| field(call, "manager");
    in_real_time(
        calls,
        |call| Some((manager(call)?, field(call, "term")?)),
        manager,
        |call, floor| {
            if let (Some((floor, by)), Some(term)) = (floor, field(call, "term"))
                && term < floor
            {
                findings.wrong(
                    format!("the manager is in term {term}, and was in term {floor} before"),
                    &[&by, call],
                );
            }
        },
    );
}

/// What a manager has applied is in memory, and comes back with the log after a restart.
fn revisions(history: &History, calls: &[Call<'_>], findings: &mut Findings) {
    let lives = Lives::of(history);
    let life = |call: &Call<'_>| Some((field(call, "manager")?, lives.of_call(call)?));
    in_real_time(
        calls,
        |call| Some((life(call)?, call.notes().revision?)),
        life,
        |call, floor| {
            if let (Some((floor, by)), Some(revision)) = (floor, call.notes().revision)
                && revision < floor
            {
                findings.wrong(
                    format!("the manager is at revision {revision}, and was at {floor} before"),
                    &[&by, call],
                );
            }
        },
    );
}
