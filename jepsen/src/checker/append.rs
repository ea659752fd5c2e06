//! Lists: each read is a beginning of every longer one, and elements stand in the order in which they were added.
//!
//! The longest read of a list is its order of effects; then all else is a comparison: nothing acknowledged is missing
//! from a later read, nothing failed or unknown is in any, nothing is there twice, no two elements stand the other way
//! round than they were acknowledged, and no read shows less than one that ended before it began.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::floor::in_real_time;
use super::{Findings, Verdict};
use crate::history::{Call, History, Kind, calls};

/// Judges all lists.
pub fn check(history: &History, workload: &str) -> Verdict {
    let mut findings = Findings::new(workload, "order");
    let mut lists: BTreeMap<String, Vec<Call<'_>>> = BTreeMap::new();
    for call in calls(history, workload) {
        lists.entry(call.key().to_owned()).or_default().push(call);
    }
    for calls in lists.values() {
        one_list(calls, &mut findings);
    }
    findings.verdict("elements")
}

/// What a read shows.
fn shown<'a>(call: &Call<'a>) -> Option<&'a Vec<Value>> {
    call.answered()
        .filter(|_| call.f() == "read")
        .and_then(Value::as_array)
}

fn one_list<'a>(calls: &[Call<'a>], findings: &mut Findings) {
    for call in calls.iter().filter(|call| call.f() == "read" && call.is_ok()) {
        if shown(call).is_none() {
            findings.wrong("what was read is no list", &[call]);
        }
    }
    let longest = calls
        .iter()
        .filter_map(|call| Some((shown(call)?, call)))
        .max_by_key(|(list, _)| list.len());
    let Some((order, longest)) = longest else { return };
    let appends: HashMap<&Value, &Call<'a>> = calls
        .iter()
        .filter(|call| call.f() == "append")
        .map(|call| (call.asked(), call))
        .collect();
    let mut place: HashMap<&Value, u64> = HashMap::new();
    for (number, element) in order.iter().enumerate() {
        findings.looked();
        if place.insert(element, number as u64).is_some() {
            findings.wrong(format!("{element} is there twice"), &[longest]);
        }
    }
    for call in calls {
        if let Some(list) = shown(call) {
            beginnings(call, list, longest, order, findings);
            known_elements(call, list, &appends, findings);
        }
    }
    real_time(calls, &place, findings);
}

fn beginnings(read: &Call<'_>, list: &[Value], longest: &Call<'_>, order: &[Value], findings: &mut Findings) {
    let differs = list.iter().zip(order).position(|(one, other)| one != other);
    if let Some(at) = differs {
        findings.wrong(
            format!("two reads differ at place {at}: {} and {}", list[at], order[at]),
            &[read, longest],
        );
    }
}

fn known_elements(
    read: &Call<'_>,
    list: &[Value],
    appends: &HashMap<&Value, &Call<'_>>,
    findings: &mut Findings,
) {
    for element in list {
        match appends.get(element) {
            None => findings.wrong(format!("{element} is there, and nobody appended it"), &[read]),
            Some(append) if append.kind() == Kind::Fail => {
                findings.wrong(
                    format!("{element} is there, and its append failed"),
                    &[append, read],
                );
            }
            Some(append) if append.begins() > read.ends() => findings.wrong(
                format!("{element} was read before anybody appended it"),
                &[read, append],
            ),
            Some(_) => {}
        }
    }
}

/// How long the list was at least: through an append's own element, or through what a read shows.
fn length(call: &Call<'_>, place: &HashMap<&Value, u64>) -> Option<u64> {
    if let Some(list) = shown(call) {
        return Some(list.len() as u64);
    }
    let at = place.get(call.asked())?;
    (call.f() == "append" && call.kind() != Kind::Fail).then_some(at + 1)
}

fn real_time(calls: &[Call<'_>], place: &HashMap<&Value, u64>, findings: &mut Findings) {
    // An acknowledged element that no read after it shows may be in none at all: it has no place to compare.
    let missing: Vec<_> = calls
        .iter()
        .filter(|call| call.f() == "append" && call.is_ok() && !place.contains_key(call.asked()))
        .collect();
    for append in missing {
        let read = calls
            .iter()
            .find(|call| shown(call).is_some() && call.begins() > append.ends());
        if let Some(read) = read {
            let what = format!("{} was acknowledged, and is not there", append.asked());
            findings.wrong(what, &[append, read]);
        }
    }
    in_real_time(
        calls,
        |call| Some(((), length(call, place)?)),
        |_| Some(()),
        |call, floor| {
            let (Some((floor, by)), Some(length)) = (floor, length(call, place)) else {
                return;
            };
            if shown(call).is_some() && length < floor {
                findings.wrong(
                    format!("the read shows {length} elements, and there were {floor} before it began"),
                    &[&by, call],
                );
            } else if shown(call).is_none() && length <= floor {
                findings.wrong(
                    format!(
                        "{} stands at place {}, and the list had {floor} elements before its append began",
                        call.asked(),
                        length - 1
                    ),
                    &[&by, call],
                );
            }
        },
    );
}
