//! A run in which little happened proves little.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Validity, Verdict};
use crate::history::{History, Kind, calls};

/// Operations of each kind that have to be `ok`, at the least.
const EACH: u64 = 3;

/// Operations that have to be `ok` in all.
const ALL: u64 = 40;

/// Whether there were enough acknowledged operations, of each of the kinds `of`.
pub fn check(history: &History, workload: &str, of: &[&str]) -> Verdict {
    let mut counts: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for call in calls(history, workload) {
        let kinds = counts.entry(call.f()).or_default();
        *kinds.entry(call.kind().as_str()).or_default() += 1;
    }
    let ok = |f: &str| {
        let kinds = counts.get(f);
        kinds
            .and_then(|kinds| kinds.get(Kind::Ok.as_str()))
            .copied()
            .unwrap_or(0)
    };
    let all: u64 = counts.keys().map(|f| ok(f)).sum();
    let few: Vec<_> = of
        .iter()
        .filter(|f| ok(f) < EACH)
        .map(|f| format!("{} `{f}`", ok(f)))
        .collect();
    let (validity, detail) = if all < ALL {
        (
            Validity::Unknown,
            format!("only {all} operations were acknowledged, fewer than {ALL}: the run proves nothing"),
        )
    } else if !few.is_empty() {
        (
            Validity::Unknown,
            format!(
                "only {} were acknowledged: the run proves nothing",
                few.join(", ")
            ),
        )
    } else {
        (Validity::Valid, format!("{all} operations were acknowledged"))
    };
    Verdict {
        checker: format!("{workload}: enough"),
        validity,
        detail,
        data: json!(counts),
    }
}
