//! One fault in a large history that is right otherwise.

use jepsen::checker::linear::{self, Budget};
use jepsen::checker::{Validity, versions};
use jepsen::history::{History, Kind};
use serde_json::{Value, json};

use super::script::{breaks, end, history, holds, renumbered};
use super::simulated::Registers;

const KEYS: u64 = 8;
const EACH: u64 = 1_500;

/// Work, a fault on `r3`, more work.
fn with(seed: u64, fault: impl Fn(&mut Registers)) -> History {
    let mut registers = Registers::new(seed, 10);
    registers.work(KEYS, EACH);
    registers.settle();
    fault(&mut registers);
    registers.work(KEYS, EACH);
    registers.settle();
    registers.history()
}

/// A value and what replaced it.
fn two_writes(registers: &mut Registers) -> (Value, u64, Value) {
    let first = json!(registers.fresh());
    let version = registers
        .alone("write", "r3", first.clone())
        .notes
        .version
        .expect("it was written");
    let second = json!(registers.fresh());
    registers.alone("write", "r3", second.clone());
    (first, version, second)
}

#[test]
fn large_right_histories_have_an_order() {
    for seed in 0..10 {
        let history = with(seed, |_| {});
        assert!(history.ops.iter().any(|op| op.kind == Kind::Info));
        holds(&linear::check(&history, "register"));
        holds(&versions::check(&history, "register"));
    }
}

#[test]
fn a_lost_write_is_found() {
    for seed in 0..10 {
        let history = with(seed, |registers| {
            let (first, version, _) = two_writes(registers);
            registers.forget("r3", first, version);
            registers.alone("read", "r3", Value::Null);
        });
        let verdict = linear::check(&history, "register");
        breaks(&verdict, "`r3`: the read of");
        breaks(&versions::check(&history, "register"), "is older than");
    }
}

#[test]
fn a_lost_compare_and_swap_is_found() {
    for seed in 0..10 {
        let history = with(seed, |registers| {
            let (_, _, second) = two_writes(registers);
            let version = registers.fresh;
            let third = json!([second, registers.fresh()]);
            registers.alone("cas", "r3", third);
            registers.forget("r3", second, version);
            let fourth = json!([
                registers.alone("read", "r3", Value::Null).value,
                registers.fresh()
            ]);
            registers.alone("cas", "r3", fourth);
        });
        breaks(&linear::check(&history, "register"), "can't be explained");
    }
}

#[test]
fn a_stale_read_is_found() {
    for seed in 0..10 {
        let history = with(seed, |registers| {
            let (first, version, second) = two_writes(registers);
            let mut read = end(0, Kind::Invoke, "read", "r3", Value::Null);
            registers.ops.push(read.clone());
            (read.kind, read.value, read.notes.version) = (Kind::Ok, first, Some(version));
            registers.ops.push(read);
            // Everybody after it sees the newest again.
            assert_eq!(registers.alone("read", "r3", Value::Null).value, second);
        });
        breaks(&linear::check(&history, "register"), "`r3`: the read of");
    }
}

#[test]
fn a_write_that_is_applied_twice_is_found() {
    for seed in 0..10 {
        let history = with(seed, |registers| {
            let (first, ..) = two_writes(registers);
            let again = registers.fresh();
            registers.forget("r3", first, again);
            registers.alone("read", "r3", Value::Null);
        });
        breaks(&linear::check(&history, "register"), "`r3`: the read of");
    }
}

#[test]
fn a_read_of_the_future_is_found() {
    for seed in 0..10 {
        let history = with(seed, |registers| {
            let later = json!(registers.fresh());
            let mut read = end(0, Kind::Invoke, "read", "r3", Value::Null);
            registers.ops.push(read.clone());
            (read.kind, read.value) = (Kind::Ok, later.clone());
            registers.ops.push(read);
            registers.alone("write", "r3", later);
        });
        breaks(&linear::check(&history, "register"), "`r3`: the read of");
    }
}

#[test]
fn a_failed_write_that_took_effect_is_found() {
    for seed in 0..10 {
        let history = with(seed, |registers| {
            let value = json!(registers.fresh());
            registers.alone("write", "r3", value);
            // It was told to have failed.
            let told = registers.ops.last_mut().expect("it was told");
            told.kind = Kind::Fail;
            registers.alone("read", "r3", Value::Null);
        });
        breaks(&linear::check(&history, "register"), "`r3`: the read of");
    }
}

#[test]
fn two_that_win_the_same_compare_and_swap_are_found() {
    for seed in 0..10 {
        let history = with(seed, |registers| {
            let (_, _, second) = two_writes(registers);
            let version = registers.fresh;
            let one = json!([second, registers.fresh()]);
            registers.alone("cas", "r3", one);
            registers.forget("r3", second.clone(), version);
            let other = json!([second, registers.fresh()]);
            registers.alone("cas", "r3", other);
        });
        breaks(&linear::check(&history, "register"), "the compare-and-swap of");
    }
}

#[test]
fn a_refusal_that_met_what_was_not_there_is_found() {
    for seed in 0..10 {
        let history = with(seed, |registers| {
            let (first, _, second) = two_writes(registers);
            let mut cas = end(0, Kind::Invoke, "cas", "r3", json!([second, registers.fresh()]));
            registers.ops.push(cas.clone());
            cas.kind = Kind::Fail;
            cas.error = Some(format!("{}{first}", linear::MET));
            registers.ops.push(cas);
        });
        breaks(&linear::check(&history, "register"), "`r3`: the read of");
    }
}

#[test]
fn evidence_says_what_could_have_been_seen() {
    let text = "
        0 invoke write r0 1
        0 ok write r0 1
        1 invoke write r0 2
        1 info write r0 2 # broke off
        0 invoke read r0 null
        0 ok read r0 1
        0 invoke write r0 3
        0 ok write r0 3
        0 invoke read r0 null
        0 ok read r0 1
        0 invoke write r0 4
        0 ok write r0 4";
    let verdict = linear::check(&history("register", text), "register");
    let wrong = &verdict.data["wrong"][0];
    // 2 is uncertain: it may have replaced 3.
    assert_eq!(wrong["possible"], json!(["2", "3"]), "{verdict:#?}");
    assert!(
        wrong["operation"]
            .as_str()
            .expect("it is shown")
            .starts_with("[8–9]"),
        "{verdict:#?}"
    );
    assert!(
        wrong["writes"][0]
            .as_str()
            .expect("it is shown")
            .contains("ok write r0 1"),
        "{verdict:#?}"
    );
}

#[test]
fn what_is_undecided_is_no_pass() {
    let history = with(1, |_| {});
    let budget = Budget {
        steps: 20,
        ..Budget::default()
    };
    let verdict = linear::check_within(&history, "register", &budget);
    assert_eq!(verdict.validity, Validity::Unknown, "{verdict:#?}");
    assert!(!verdict.passes());
    let nothing = linear::check(&History::default(), "register");
    assert_eq!(nothing.validity, Validity::Unknown, "{nothing:#?}");
}

/// A partition: a hundred writes of which nobody knows whether they happened, most of which did not.
#[test]
fn many_uncertain_writes_are_decided() {
    let mut ops = Vec::new();
    for number in 0..100_u64 {
        let write = end(100 + number, Kind::Invoke, "write", "r0", json!(number));
        ops.push(write);
    }
    for number in 0..150_u64 {
        let (value, process) = (json!(1_000 + number), number % 5);
        for kind in [Kind::Invoke, Kind::Ok] {
            ops.push(end(process, kind, "write", "r0", value.clone()));
        }
        // Every tenth is overwritten by one of them, which takes effect only now.
        let seen = if number % 10 == 0 {
            json!(number / 10)
        } else {
            value
        };
        ops.push(end(process, Kind::Invoke, "read", "r0", Value::Null));
        ops.push(end(process, Kind::Ok, "read", "r0", seen));
    }
    holds(&linear::check(&renumbered(ops), "register"));
}
