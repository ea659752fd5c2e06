//! Sets: what was acknowledged is there, what failed is not, and nothing is there that nobody added, or twice.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::{Findings, Validity, Verdict};
use crate::history::{Call, History, Kind, calls};

/// Judges every read, those at the end and those before.
pub fn check(history: &History, workload: &str) -> Verdict {
    let calls = calls(history, workload);
    let adds: HashMap<u64, Call<'_>> = calls
        .iter()
        .filter(|call| call.f() == "add")
        .filter_map(|call| Some((call.asked().as_u64()?, *call)))
        .collect();
    let mut findings = Findings::new(workload, "elements");
    let mut found: HashSet<u64> = HashSet::new();
    let mut at_the_end = false;
    for read in calls.iter().filter(|call| call.f() == "read" && call.is_ok()) {
        at_the_end |= read.notes().last;
        let elements = one_read(read, &adds, &mut findings);
        found.extend(elements);
    }
    let count = |kind: Kind| adds.values().filter(|add| add.kind() == kind).count();
    let uncertain_but_there = adds
        .iter()
        .filter(|(element, add)| add.kind() == Kind::Info && found.contains(element))
        .count();
    let mut verdict = findings.verdict("elements in reads");
    if !at_the_end && verdict.validity == Validity::Valid {
        verdict.validity = Validity::Unknown;
        verdict.detail = "the set was not read at the end".to_owned();
    }
    verdict.data["acknowledged"] = json!(count(Kind::Ok));
    verdict.data["failed"] = json!(count(Kind::Fail));
    verdict.data["uncertain"] = json!(count(Kind::Info));
    verdict.data["uncertain_but_there"] = json!(uncertain_but_there);
    verdict
}

/// Judges one read; gives what it has.
fn one_read(read: &Call<'_>, adds: &HashMap<u64, Call<'_>>, findings: &mut Findings) -> HashSet<u64> {
    let mut seen = HashSet::new();
    for item in read.answered().and_then(Value::as_array).into_iter().flatten() {
        findings.looked();
        let Some(element) = item.as_u64() else {
            findings.wrong(format!("{item} is there, and is no element"), &[read]);
            continue;
        };
        if !seen.insert(element) {
            findings.wrong(format!("element {element} is there twice"), &[read]);
        }
        match adds.get(&element) {
            None => findings.wrong(
                format!("element {element} is there, and nobody added it"),
                &[read],
            ),
            Some(add) if add.begins() > read.ends() => findings.wrong(
                format!("element {element} was read before anybody added it"),
                &[read, add],
            ),
            Some(add) if add.kind() == Kind::Fail => findings.wrong(
                format!("element {element} is there, and its add failed"),
                &[add, read],
            ),
            Some(_) => {}
        }
    }
    for (element, add) in adds {
        if add.is_ok() && add.ends() < read.begins() && !seen.contains(element) {
            findings.looked();
            findings.wrong(
                format!("element {element} was acknowledged, and is not there"),
                &[add, read],
            );
        }
    }
    seen
}
