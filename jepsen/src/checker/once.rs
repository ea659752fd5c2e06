//! Idempotency keys: however often and wherever a request is sent, it has one effect and one answer.

use std::collections::{BTreeMap, HashMap};

use super::{Findings, Verdict};
use crate::history::{Call, History, Kind, calls};

/// Judges all requests.
pub fn check(history: &History, workload: &str) -> Verdict {
    let mut findings = Findings::new(workload, "one effect, one answer");
    let calls = calls(history, workload);
    let mut requests: BTreeMap<&str, Vec<Call<'_>>> = BTreeMap::new();
    for call in &calls {
        if let Some(id) = &call.invoke.notes.request {
            requests.entry(id).or_default().push(*call);
        }
    }
    let copies = requests.values().filter(|copies| copies.len() > 1).count();
    let seen = seen(&calls);
    for copies in requests.values() {
        findings.looked();
        one_answer(copies, &mut findings);
        one_effect(copies, &seen, &mut findings);
    }
    let mut verdict = findings.verdict("requests");
    verdict.data["sent_more_than_once"] = copies.into();
    verdict
}

/// Reads by key and value.
type Seen<'a> = HashMap<(&'a str, u64), Vec<Call<'a>>>;

fn seen<'a>(calls: &[Call<'a>]) -> Seen<'a> {
    let mut seen: Seen<'a> = HashMap::new();
    for call in calls.iter().filter(|call| call.f() == "read") {
        if let Some(value) = call.answered().and_then(serde_json::Value::as_u64) {
            seen.entry((call.key(), value)).or_default().push(*call);
        }
    }
    seen
}

fn one_answer(copies: &[Call<'_>], findings: &mut Findings) {
    let first = copies.iter().find(|copy| copy.is_ok());
    for copy in copies {
        let Some(first) = first else { break };
        if copy.is_ok() && copy.notes().version != first.notes().version {
            findings.wrong("two copies of a request have two answers", &[first, copy]);
        }
    }
    // Nobody else creates this config: what stands in the way is an earlier copy.
    let in_the_way = |copy: &&Call<'_>| {
        let error = copy.end.and_then(|end| end.error.as_deref()).unwrap_or_default();
        copy.f() == "create" && error.starts_with("precondition_failed")
    };
    if let Some(copy) = copies.iter().find(in_the_way) {
        let mut shown: Vec<_> = copies.iter().collect();
        shown.retain(|call| call.is_ok());
        shown.push(copy);
        findings.wrong("a request was refused because of its own earlier copy", &shown);
    }
}

fn one_effect(copies: &[Call<'_>], seen: &Seen<'_>, findings: &mut Findings) {
    let Some(one) = copies.first() else { return };
    let Some(value) = one.asked().as_u64() else { return };
    let Some(reads) = seen.get(&(one.key(), value)) else {
        return;
    };
    if copies.iter().all(|copy| copy.kind() == Kind::Fail) {
        findings.wrong(
            "every copy of a request failed, and its value is there",
            &[one, &reads[0]],
        );
    }
    let known = copies.iter().chain(reads).find(|call| call.is_ok());
    for read in reads {
        let Some(known) = known else { break };
        if read.notes().version != known.notes().version {
            findings.wrong(
                "a request took effect twice: its value is there at two versions",
                &[known, read],
            );
        }
    }
}
