//! Why there is no order: the first moment at which there is none any more, and what surrounds it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::object::until;
use super::{Budget, Effect, Found, Object, Step, search};
use crate::history::Call;

/// Operations that are shown before the one that can't be explained.
const BEFORE: usize = 8;

/// The shortest beginning of a register's history that has no order, its last operation, and the values that would
/// have explained it.
pub fn of(key: &str, calls: &[Call<'_>], object: &Object, budget: &Budget) -> Value {
    let mut ends: Vec<u64> = object.steps().iter().filter_map(|step| step.to).collect();
    ends.sort_unstable();
    // What has no order has none when more is known: the first such end can be searched by halves.
    let has_order = |end: &u64| search(&until(object.steps(), *end), budget) != Found::NoOrder;
    let first = ends.partition_point(has_order);
    let Some((end, culprit)) = ends.get(first).and_then(|end| {
        let ended = object.steps().iter().find(|step| step.to == Some(*end))?;
        Some((*end, ended))
    }) else {
        // Too large to look at again within bounds.
        return json!({ "key": key, "what": format!("`{key}` has no order") });
    };
    let call = &calls[culprit.call];
    let possible = possible(object, culprit, end, budget);
    let possible: Vec<String> = possible
        .iter()
        .map(|number| object.value(*number).to_string())
        .collect();
    let what = format!(
        "`{key}`: {} of process {} can't be explained: {}",
        wording(object, culprit),
        call.invoke.process,
        match possible.as_slice() {
            [] => "no value is possible then".to_owned(),
            values => format!("only {} is possible then", values.join(" or ")),
        }
    );
    json!({
        "key": key, "what": what, "operation": call.show(), "possible": possible,
        "around": around(calls, culprit, end), "writes": writes(calls, object, culprit),
    })
}

fn wording(object: &Object, step: &Step) -> String {
    match step.effect {
        Effect::Read(value) => format!("the read of {}", object.value(value)),
        Effect::Write(value) => format!("the write of {}", object.value(value)),
        Effect::Cas(old, new) => {
            format!(
                "the compare-and-swap of {} to {}",
                object.value(old),
                object.value(new)
            )
        }
    }
}

/// The values that the register could have had when the step happened: those that a read in its place could show.
fn possible(object: &Object, culprit: &Step, end: u64, budget: &Budget) -> BTreeSet<u32> {
    // With the uncertain steps that nobody saw: each could have been seen here.
    let mut steps = until(object.every(), end);
    let Some(place) = steps.iter().position(|step| step.call == culprit.call) else {
        return BTreeSet::new();
    };
    let mut fits = |number: &u32| {
        steps[place].effect = Effect::Read(*number);
        search(&steps, budget) == Found::Order
    };
    object.numbers().filter(|number| fits(number)).collect()
}

/// The operations before the step, and those under way beside it.
fn around(calls: &[Call<'_>], culprit: &Step, end: u64) -> Vec<String> {
    let mut shown: Vec<&Call<'_>> = calls
        .iter()
        .filter(|call| call.begins() < end && call.kind() != crate::history::Kind::Fail)
        .collect();
    let beside = shown
        .iter()
        .filter(|call| call.ends() > culprit.from && call.ends() < u64::MAX)
        .count();
    let keep = (beside + BEFORE).min(40);
    shown.sort_by_key(|call| call.ends().min(end));
    let from = shown.len().saturating_sub(keep);
    let mut shown: Vec<&Call<'_>> = shown.split_off(from);
    shown.sort_by_key(|call| call.begins());
    shown.iter().map(|call| call.show()).collect()
}

/// Who wrote the value that was seen: often long before.
fn writes(calls: &[Call<'_>], object: &Object, culprit: &Step) -> Vec<String> {
    let (Effect::Read(seen) | Effect::Cas(seen, _)) = culprit.effect else {
        return Vec::new();
    };
    let value = object.value(seen);
    let wrote = |call: &&Call<'_>| match call.f() {
        "write" => *call.asked() == value,
        "cas" => call.asked().get(1) == Some(&value),
        _ => false,
    };
    calls.iter().filter(wrote).take(5).map(Call::show).collect()
}
