//! The search against one that tries every order, on histories so small that it can.

use jepsen::checker::Validity;
use jepsen::checker::linear::{self, MET};
use jepsen::history::{Call, History, Kind, Op, calls};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::script::{end, renumbered};

/// Whether any order of the operations explains their answers: tries them all. Written from the definition, without
/// a look at the checker: it shares nothing with it but the history.
fn has_order(history: &History) -> bool {
    let calls: Vec<_> = calls(history, "register").into_iter().filter(tells).collect();
    let mut left: Vec<usize> = (0..calls.len()).collect();
    extend(&calls, &mut left, &Value::Null)
}

/// Whether an operation may have happened, or says something.
fn tells(call: &Call<'_>) -> bool {
    match call.kind() {
        Kind::Fail => met(call).is_some(),
        Kind::Info => call.f() != "read",
        _ => true,
    }
}

fn met(call: &Call<'_>) -> Option<Value> {
    let error = call.end?.error.as_deref()?;
    serde_json::from_str(error.strip_prefix(MET)?).ok()
}

fn extend(calls: &[Call<'_>], left: &mut Vec<usize>, state: &Value) -> bool {
    // What is uncertain may never happen.
    if left.iter().all(|number| calls[*number].kind() == Kind::Info) {
        return true;
    }
    for place in 0..left.len() {
        let number = left[place];
        let first = left
            .iter()
            .all(|other| *other == number || calls[*other].ends() > calls[number].begins());
        let Some(after) = after(&calls[number], state).filter(|_| first) else {
            continue;
        };
        left.remove(place);
        let explained = extend(calls, left, &after);
        left.insert(place, number);
        if explained {
            return true;
        }
    }
    false
}

fn after(call: &Call<'_>, state: &Value) -> Option<Value> {
    let keeps = |seen: &Value| (seen == state).then(|| state.clone());
    if call.kind() == Kind::Fail {
        return keeps(&met(call)?);
    }
    match call.f() {
        "read" => keeps(call.answered()?),
        "write" => Some(call.asked().clone()),
        _ => (call.asked()[0] == *state).then(|| call.asked()[1].clone()),
    }
}

/// A history of a few operations whose answers are chosen by chance.
fn random(rng: &mut StdRng) -> History {
    let processes = rng.random_range(2..=4);
    let count = rng.random_range(3..=7);
    let domain = rng.random_range(1..=4_u64);
    let any = |rng: &mut StdRng| match rng.random_range(0..=domain) {
        0 => Value::Null,
        value => json!(value),
    };
    let (mut ops, mut open): (Vec<Op>, Vec<Op>) = (Vec::new(), Vec::new());
    let (mut begun, mut fresh) = (0, processes);
    let mut idle: Vec<u64> = (0..processes).collect();
    while begun < count || !open.is_empty() {
        let begin = begun < count && !idle.is_empty() && (open.is_empty() || rng.random_bool(0.5));
        if begin {
            let process = idle.swap_remove(rng.random_range(0..idle.len()));
            let (f, value) = match rng.random_range(0..3) {
                0 => ("read", Value::Null),
                1 => ("write", json!(rng.random_range(1..=domain))),
                _ => ("cas", json!([any(rng), rng.random_range(1..=domain)])),
            };
            let op = end(process, Kind::Invoke, f, "r0", value);
            ops.push(op.clone());
            open.push(op);
            begun += 1;
            continue;
        }
        let mut op = open.swap_remove(rng.random_range(0..open.len()));
        op.kind = *[Kind::Ok, Kind::Ok, Kind::Ok, Kind::Fail, Kind::Info]
            .choose(rng)
            .expect("there are some");
        if op.f == "read" && op.kind == Kind::Ok {
            op.value = any(rng);
        }
        if op.f == "cas" && op.kind == Kind::Fail && rng.random_bool(0.5) {
            op.error = Some(format!("{MET}{}", any(rng)));
        }
        let jepsen::history::Process::Client(process) = op.process else {
            unreachable!("only clients");
        };
        if op.kind == Kind::Info {
            // Some never hear anything at all.
            if rng.random_bool(0.5) {
                ops.push(op);
            }
            idle.push(fresh);
            fresh += 1;
        } else {
            ops.push(op);
            idle.push(process);
        }
    }
    renumbered(ops)
}

#[test]
fn the_search_agrees_with_trying_every_order() {
    let (mut with, mut without) = (0, 0);
    for seed in 0..40_000 {
        let history = random(&mut StdRng::seed_from_u64(seed));
        let expected = has_order(&history);
        let verdict = linear::check(&history, "register");
        // A history in which nothing tells anything has nothing to be judged by.
        let found = match verdict.validity {
            Validity::Valid => true,
            Validity::Invalid => false,
            Validity::Unknown => {
                assert_eq!(verdict.data["operations"], 0, "seed {seed}: {verdict:#?}");
                continue;
            }
        };
        assert_eq!(found, expected, "seed {seed}: {:#?}", history.ops);
        if expected {
            with += 1;
        } else {
            without += 1;
        }
    }
    // Both answers were tried often enough to mean something.
    assert!(
        with > 10_000 && without > 10_000,
        "{with} with an order, {without} without"
    );
}
