//! Versions: each write that took effect has one of its own, later ones have larger ones, and reads never go back.
//!
//! A version is the log index of the entry that wrote, so this sees the order that the cluster chose, where the search
//! for linearizability has to find one. It finds less, and finds it at once, in histories of any size.
//!
//! - one version, one write: of one object, by one request, with one value;
//! - real time: what begins after a write was acknowledged, or a version was read, is not older; a write is newer;
//! - a linearizable read shows a revision that is not below any write acknowledged before it began.

use std::collections::HashMap;

use serde_json::Value;

use super::floor::in_real_time;
use super::{Findings, Verdict};
use crate::history::{Call, History, calls};

/// Judges all objects of a workload.
pub fn check(history: &History, workload: &str) -> Verdict {
    let mut findings = Findings::new(workload, "versions");
    let calls = calls(history, workload);
    one_write_each(&calls, &mut findings);
    order_of_each_object(&calls, &mut findings);
    revisions_of_reads(&calls, &mut findings);
    findings.verdict("answers that tell a version")
}

fn writes(call: &Call<'_>) -> bool {
    call.f() != "read"
}

/// Whether it was answered, and promises something about real time.
fn strict(call: &Call<'_>) -> bool {
    call.is_ok() && call.invoke.notes.consistency.is_none()
}

/// The version of an acknowledged operation.
fn version(call: &Call<'_>) -> Option<u64> {
    call.notes().version.filter(|_| call.is_ok())
}

/// What an acknowledged operation says was the value at its version.
fn value(call: &Call<'_>) -> Option<Value> {
    let answered = call.answered()?;
    match call.f() {
        "cas" => answered.get(1).cloned(),
        // An append tells its element, a read the whole list: only reads are compared with each other.
        "append" => None,
        _ => Some(answered.clone()),
    }
}

fn one_write_each<'a>(calls: &[Call<'a>], findings: &mut Findings) {
    let mut written: HashMap<u64, Call<'a>> = HashMap::new();
    let mut shown: HashMap<u64, (Value, Call<'a>)> = HashMap::new();
    for call in calls {
        let Some(version) = version(call) else { continue };
        findings.looked();
        if writes(call)
            && let Some(other) = written.insert(version, *call)
            && !same_request(&other, call)
        {
            findings.wrong(format!("two writes have version {version}"), &[&other, call]);
        }
        let Some(value) = value(call) else { continue };
        match shown.get(&version) {
            Some((known, by)) if *known != value || by.key() != call.key() => findings.wrong(
                format!("version {version} has two values, {known} and {value}"),
                &[by, call],
            ),
            Some(_) => {}
            None => {
                shown.insert(version, (value, *call));
            }
        }
    }
}

/// Copies of one request have one effect, and so one version.
fn same_request(one: &Call<'_>, other: &Call<'_>) -> bool {
    let id = |call: &Call<'_>| call.invoke.notes.request.clone();
    id(one).is_some() && id(one) == id(other)
}

fn order_of_each_object(calls: &[Call<'_>], findings: &mut Findings) {
    let reach = |call: &Call<'_>| Some((call.key().to_owned(), version(call)?));
    let place = |call: &Call<'_>| strict(call).then(|| call.key().to_owned());
    in_real_time(calls, reach, place, |call, floor| {
        let Some((floor, by)) = floor else { return };
        // A copy of a request that was answered before is answered the same.
        let repeated = call.invoke.notes.request.is_some();
        match version(call) {
            None if !writes(call) => findings.wrong(
                format!("nothing is there, and version {floor} was seen before the read began"),
                &[&by, call],
            ),
            Some(version) if version < floor && !repeated => findings.wrong(
                format!("version {version} is older than {floor}, which was seen before this began"),
                &[&by, call],
            ),
            Some(version) if version == floor && writes(call) && !repeated => findings.wrong(
                format!("the write has version {version}, which was seen before it began"),
                &[&by, call],
            ),
            _ => {}
        }
    });
}

fn revisions_of_reads(calls: &[Call<'_>], findings: &mut Findings) {
    let reach = |call: &Call<'_>| Some(((), version(call)?));
    let place = |call: &Call<'_>| (strict(call) && call.notes().revision.is_some()).then_some(());
    in_real_time(calls, reach, place, |call, floor| {
        let revision = call.notes().revision;
        if let (Some((floor, by)), Some(revision)) = (floor, revision)
            && revision < floor
        {
            findings.wrong(
                format!("the read shows revision {revision}, and {floor} was acknowledged before it began"),
                &[&by, call],
            );
        }
        if let (Some(version), Some(revision)) = (version(call), revision)
            && version > revision
        {
            findings.wrong(
                format!("the read shows version {version}, and says it shows revision {revision}"),
                &[call],
            );
        }
    });
}
