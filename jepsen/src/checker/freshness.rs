//! Reads that ask for a revision get it, and stale ones show one moment, which is never before an earlier one.
//!
//! - `min_revision`: what is shown is at that revision or later, and has every write up to it;
//! - one moment: a read that says it shows revision R shows the newest acknowledged write of its object up to R, and
//!   none after R;
//! - a manager's revision does not go back while it runs; a fault that may have restarted it begins anew.

use std::collections::{BTreeMap, HashMap};

use super::floor::in_real_time;
use super::lives::Lives;
use super::{Findings, Verdict};
use crate::history::{Call, History, calls};

/// Judges all reads that say which revision they show.
pub fn check(history: &History, workload: &str) -> Verdict {
    let mut findings = Findings::new(workload, "freshness");
    let calls = calls(history, workload);
    let writes = writes(&calls);
    for read in calls.iter().filter(|call| call.f() == "read" && call.is_ok()) {
        findings.looked();
        one_moment(read, writes.get(read.key()), &mut findings);
    }
    never_back(history, &calls, &mut findings);
    findings.verdict("reads")
}

/// Acknowledged writes of each object, by version.
fn writes<'a>(calls: &[Call<'a>]) -> HashMap<&'a str, BTreeMap<u64, Call<'a>>> {
    let mut writes: HashMap<&str, BTreeMap<u64, Call<'a>>> = HashMap::new();
    for call in calls.iter().filter(|call| call.f() == "write" && call.is_ok()) {
        if let Some(version) = call.notes().version {
            writes.entry(call.key()).or_default().insert(version, *call);
        }
    }
    writes
}

fn one_moment(read: &Call<'_>, writes: Option<&BTreeMap<u64, Call<'_>>>, findings: &mut Findings) {
    let notes = read.notes();
    let wanted = read.invoke.notes.min_revision;
    // An answer without the object doesn't say which revision it shows; it shows what was asked for at least.
    let Some(shown) = notes.revision.or(wanted) else {
        return;
    };
    if wanted.is_some_and(|wanted| shown < wanted) {
        findings.wrong("the read shows an older revision than it asked for", &[read]);
    }
    if notes.version.is_some_and(|version| version > shown) {
        findings.wrong("the read shows a version that is after its revision", &[read]);
    }
    let newest = writes.and_then(|writes| writes.range(..=shown).next_back());
    if let Some((version, write)) = newest
        && notes.version.is_none_or(|seen| seen < *version)
    {
        findings.wrong(
            format!("the read shows revision {shown}, and not the write of version {version}"),
            &[write, read],
        );
    }
}

fn never_back(history: &History, calls: &[Call<'_>], findings: &mut Findings) {
    let lives = Lives::of(history);
    in_real_time(
        calls,
        |call| Some((lives.of_call(call)?, call.notes().revision?)),
        |call| lives.of_call(call),
        |call, floor| {
            if let (Some((floor, by)), Some(revision)) = (floor, call.notes().revision)
                && revision < floor
            {
                findings.wrong(
                    format!("the manager shows revision {revision}, and showed {floor} before"),
                    &[&by, call],
                );
            }
        },
    );
}
