//! The reads at the end: everything that was worked on was read through every manager after all faults were undone.
//!
//! Without them a lost write may simply not have been looked at.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{Validity, Verdict};
use crate::history::{History, calls};

/// Whether each key was read at the end through each manager.
pub fn check(history: &History, workload: &str) -> Verdict {
    let calls = calls(history, workload);
    let mut nodes: BTreeSet<u64> = BTreeSet::new();
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    let mut read: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for call in &calls {
        let node = call.notes().node;
        // A manager that was removed for good is not asked at the end.
        nodes.extend(node.filter(|_| call.notes().last));
        // What is done to the whole cluster has one place; deploys are read as a whole.
        let key = if workload == "deploys" { "" } else { call.key() };
        keys.insert(key);
        if call.notes().last && call.is_ok() {
            read.entry(key).or_default().extend(node);
        }
    }
    let missing: Vec<_> = keys
        .iter()
        .flat_map(|key| nodes.iter().map(move |node| (*key, *node)))
        .filter(|(key, node)| !read.get(key).is_some_and(|by| by.contains(node)))
        .collect();
    let of = |(key, node): &(&str, u64)| match *key {
        "" => format!("manager {node}"),
        key => format!("`{key}` at manager {node}"),
    };
    let (validity, detail) = match missing.first() {
        None if keys.is_empty() => (Validity::Unknown, "there was nothing to read".to_owned()),
        None if nodes.is_empty() => (Validity::Unknown, "nothing was read at the end".to_owned()),
        None => (
            Validity::Valid,
            format!("{} read through {} managers", keys.len(), nodes.len()),
        ),
        Some(first) => (
            Validity::Unknown,
            format!(
                "{} reads are missing at the end, such as of {}",
                missing.len(),
                of(first)
            ),
        ),
    };
    Verdict {
        checker: format!("{workload}: read at the end"),
        validity,
        detail,
        data: json!({ "missing": missing.iter().take(super::SHOWN).map(of).collect::<Vec<_>>() }),
    }
}
