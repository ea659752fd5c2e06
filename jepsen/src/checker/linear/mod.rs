//! Linearizability of registers, object by object.
//!
//! A history is linearizable when each operation can be given one moment between its beginning and its end so that
//! all answers are those of a single register. Registers are independent, so each is judged alone (the property is
//! local: the whole is linearizable exactly when each object is). The search is our own ([`search`]): the libraries
//! there are want every operation to have ended, have no bound on time and memory, and show no evidence.
//!
//! What ended in `info` may take effect at any later moment, or never. A refused compare-and-swap that says which
//! value it met is a read of that value. Undecided within the bounds is unknown, and no pass.

mod evidence;
mod object;
mod search;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{SHOWN, Validity, Verdict};
use crate::history::{Call, History, calls};

pub use self::object::{Effect, Object, Step};
pub use self::search::{Budget, Found, search};

/// What the error of a refused compare-and-swap begins with, when the value it met follows.
pub const MET: &str = "precondition_failed, met ";

/// Judges every register of a workload.
pub fn check(history: &History, workload: &str) -> Verdict {
    check_within(history, workload, &Budget::default())
}

/// Judges every register within bounds for each.
pub fn check_within(history: &History, workload: &str, budget: &Budget) -> Verdict {
    let mut objects: BTreeMap<String, Vec<Call<'_>>> = BTreeMap::new();
    for call in calls(history, workload) {
        objects.entry(call.key().to_owned()).or_default().push(call);
    }
    let (mut operations, mut wrong, mut undecided, mut foreign) = (0, Vec::new(), Vec::new(), Vec::new());
    for (key, calls) in &objects {
        let object = match Object::new(calls) {
            Ok(object) => object,
            Err(why) => {
                foreign.push(format!("`{key}`: {why}"));
                continue;
            }
        };
        operations += object.steps().len();
        match search(object.steps(), budget) {
            Found::Order => {}
            Found::NoOrder => wrong.push(evidence::of(key, calls, &object, budget)),
            Found::GaveUp => undecided.push(key.clone()),
        }
    }
    let (validity, detail) = if let Some(first) = wrong.first() {
        let what = first["what"].as_str().unwrap_or_default();
        (
            Validity::Invalid,
            format!(
                "{} of {} registers have no order; {what}",
                wrong.len(),
                objects.len()
            ),
        )
    } else if let Some(first) = foreign.first() {
        (Validity::Unknown, format!("not a history of registers: {first}"))
    } else if !undecided.is_empty() {
        let first = undecided.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        (
            Validity::Unknown,
            format!(
                "{} registers could not be decided within bounds: {first}",
                undecided.len()
            ),
        )
    } else if operations == 0 {
        (
            Validity::Unknown,
            "there are no operations to judge by".to_owned(),
        )
    } else {
        (
            Validity::Valid,
            format!(
                "{} registers with {operations} operations have an order",
                objects.len()
            ),
        )
    };
    wrong.truncate(SHOWN);
    Verdict {
        checker: format!("{workload}: linearizable"),
        validity,
        detail,
        data: json!({
            "registers": objects.len(), "operations": operations, "wrong": Value::Array(wrong),
            "undecided": undecided, "foreign": foreign,
        }),
    }
}
