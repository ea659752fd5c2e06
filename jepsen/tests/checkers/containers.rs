//! Lives of agents, as they tell of them themselves.

use jepsen::checker::{Validity, Verdict, containers};

use super::script::{breaks, history, holds};

/// Milliseconds of the clock that lives go by, at which they are looked at.
const NOW: u64 = 100_000;

/// A life from and to such a millisecond.
fn life(epoch: u64, first: u64, last: u64) -> String {
    let (first, last) = (first * 1_000_000, last * 1_000_000);
    format!("{{\"first\":{first},\"last\":{last},\"epoch\":{epoch},\"pid\":{epoch}}}")
}

/// Lives of the agent c0, looked at in the end.
fn told(lives: &[String]) -> String {
    let (now, lives) = (NOW * 1_000_000, lives.join(","));
    format!(
        "9 invoke lives - null
        9 ok lives - {{\"now\":{now},\"lives\":{{\"c0\":[{lives}]}}}} last=true"
    )
}

fn one_at_a_time(lives: &[String]) -> Verdict {
    containers::one_at_a_time(&history("containers", &told(lives)), "containers")
}

#[test]
fn copies_follow_each_other_under_growing_epochs() {
    let verdict = one_at_a_time(&[life(5, 10, 20), life(5, 21, 30), life(9, 32, 40)]);
    holds(&verdict);
    assert_eq!(verdict.data["handed_over"], 1);
    assert_eq!(verdict.data["closest_ns"], 2_000_000);
    breaks(
        &one_at_a_time(&[life(5, 10, 20), life(9, 19, 30)]),
        "acted for 1.0 ms",
    );
    breaks(&one_at_a_time(&[life(5, 10, 20), life(5, 20, 30)]), "two copies");
    // A short one within a long one, after which another begins in peace.
    let within = [life(5, 10, 90), life(9, 20, 30), life(12, 40, 50)];
    assert_eq!(one_at_a_time(&within).data["wrong"], 2);
    breaks(
        &one_at_a_time(&[life(9, 10, 20), life(5, 30, 40)]),
        "under epoch 5 after 9",
    );
    assert_eq!(one_at_a_time(&[]).validity, Validity::Unknown);
}

fn not_without_a_cause(before: &str, lives: &[String]) -> Verdict {
    let text = format!("{before}\n{}", told(lives));
    containers::not_without_a_cause(&history("containers", &text), "containers")
}

#[test]
fn ends_have_a_cause() {
    let (goes_on, ended) = ([life(5, 10, NOW - 1)], [life(5, 10, NOW - 20_000)]);
    let seen =
        |state: &str| format!("1 invoke containers - null\n1 ok containers - [[\"box-4\",\"{state}\"]]");
    holds(&not_without_a_cause(&seen("ready"), &goes_on));
    holds(&not_without_a_cause(&seen("suspect"), &goes_on));
    breaks(&not_without_a_cause(&seen("lost"), &goes_on), "is lost");
    breaks(&not_without_a_cause(&seen("ready"), &ended), "ended");
    let after = |fault: &str, more: &str| format!("nemesis info start-{fault} - null\n{more}");
    let harmless = after("kill-leader", &seen("lost"));
    breaks(&not_without_a_cause(&harmless, &goes_on), "is lost");
    holds(&not_without_a_cause(
        &after("runner-pause", &seen("lost")),
        &goes_on,
    ));
    holds(&not_without_a_cause(
        &after("runner-kill", &seen("ready")),
        &ended,
    ));
}

/// With a fault that strikes runners at a millisecond of the clock that lives go by.
fn struck_at(moment: u64, lives: &[String]) -> Verdict {
    let text = format!(
        "1 invoke containers - null
        1 ok containers - [[\"box-4\",\"ready\"]]
        nemesis info start-runner-kill - null
        {}",
        told(lives)
    );
    let mut history = history("containers", &text);
    for op in &mut history.ops {
        match op.f.as_str() {
            "start-runner-kill" => op.time = moment * 1_000_000,
            "lives" => op.time = NOW * 1_000_000,
            _ => {}
        }
    }
    containers::not_without_a_cause(&history, "containers")
}

#[test]
fn a_life_ends_after_the_last_time_it_acted() {
    let ended = [life(5, 10, NOW - 20_000)];
    holds(&struck_at(NOW - 20_000, &ended));
    holds(&struck_at(NOW - 19_996, &ended));
    breaks(&struck_at(NOW - 19_000, &ended), "ended");
}

fn run_at_the_end(runs: &str, lives: &[String]) -> Verdict {
    let text = format!(
        "0 invoke deploy c0 null
        0 ok deploy c0 \"x1\"
        1 invoke runs c0 null node=1 last=true
        1 {runs} node=1 last=true
        {}",
        told(lives)
    );
    // The error stands at the end of a line.
    let text = text.replace(" # pending node=1 last=true", " node=1 last=true # pending");
    containers::run_at_the_end(&history("containers", &text), "containers")
}

#[test]
fn who_was_acknowledged_runs_and_acts() {
    let (goes_on, ended) = ([life(5, 10, NOW - 1)], [life(5, 10, NOW - 20_000)]);
    holds(&run_at_the_end("ok runs c0 {}", &goes_on));
    breaks(&run_at_the_end("ok runs c0 {}", &ended), "does not act");
    breaks(
        &run_at_the_end("fail runs c0 null # pending", &goes_on),
        "at manager 1: pending",
    );
}
