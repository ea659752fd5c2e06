//! Agents, and what managers say of themselves.

use jepsen::checker::{Validity, deploys, enough, last, members};

use super::script::{breaks, history, holds};

fn deployed(agents: &str) -> jepsen::checker::Verdict {
    let text = format!(
        "0 invoke deploy d0 null
        0 ok deploy d0 \"x1\"
        1 invoke deploy d1 null
        1 info deploy d1 null # broke off
        0 invoke deploy d2 null
        0 fail deploy d2 null # no_quorum
        0 invoke read - null
        0 ok read - {agents} last=true"
    );
    deploys::check(&history("deploys", &text), "deploys")
}

#[test]
fn each_acknowledged_agent_is_there_once() {
    holds(&deployed(r#"[["d0","x1"]]"#));
    holds(&deployed(r#"[["d0","x1"],["d1","x2"]]"#));
    for (agents, why) in [
        (r#"[["d1","x2"]]"#, "an acknowledged agent is not there"),
        (r#"[["d0","x9"]]"#, "another id than was told"),
        (r#"[["d0","x1"],["d0","x1"]]"#, "`d0` is there twice"),
        (r#"[["d0","x1"],["d1","x1"]]"#, "have the same id"),
        (r#"[["d0","x1"],["d2","x3"]]"#, "its deploy failed"),
        (r#"[["d0","x1"],["d7","x3"]]"#, "nobody deployed it"),
    ] {
        breaks(&deployed(agents), why);
    }
}

#[test]
fn a_name_is_deployed_once() {
    let text = r#"
        0 invoke deploy d0 null
        1 invoke deploy d0 null
        0 ok deploy d0 "x1"
        1 ok deploy d0 "x2"
        0 invoke read - null
        0 ok read - [["d0","x1"]]"#;
    breaks(
        &deploys::check(&history("deploys", text), "deploys"),
        "two clients were told",
    );
}

fn statuses(second: &str, between: &str) -> jepsen::checker::Verdict {
    let text = format!(
        r#"0 invoke status - null node=1
        0 ok status - {{"cluster":"c","manager":1,"leader":1,"term":3}} node=1 revision=10
        {between}
        1 invoke status - null node=1
        1 ok status - {second}"#
    );
    members::check(&history("members", &text), "members")
}

#[test]
fn terms_have_one_leader_and_never_go_back() {
    holds(&statuses(
        r#"{"cluster":"c","manager":2,"leader":2,"term":4} node=2 revision=5"#,
        "",
    ));
    for (second, why) in [
        (
            r#"{"cluster":"c","manager":2,"leader":2,"term":3} node=2 revision=5"#,
            "in term 3 manager 1 leads, and manager 2 too",
        ),
        (
            r#"{"cluster":"c","manager":1,"leader":null,"term":2} node=1 revision=11"#,
            "was in term 3 before",
        ),
        (
            r#"{"cluster":"c","manager":1,"leader":1,"term":3} node=1 revision=9"#,
            "was at 10 before",
        ),
        (
            r#"{"cluster":"other","manager":2,"leader":2,"term":4} node=2 revision=5"#,
            "two clusters",
        ),
    ] {
        breaks(&statuses(second, ""), why);
    }
}

/// A manager comes back with its log, and applies it anew.
#[test]
fn only_a_restart_brings_a_revision_back() {
    let older = r#"{"cluster":"c","manager":1,"leader":1,"term":3} node=1 revision=9"#;
    let fault = |name: &str, value: &str| {
        format!("nemesis info start-{name} - {value}\n nemesis info stop-{name} - null")
    };
    let (first, second) = (r#"{"nodes":[1]}"#, r#"{"nodes":[2]}"#);
    holds(&statuses(older, &fault("kill-one", first)));
    holds(&statuses(older, &fault("kill-one", "null")));
    holds(&statuses(older, r#"nemesis info ended - {"seat":1}"#));
    // Still about when the manager is asked.
    holds(&statuses(older, "nemesis info start-kill-one - null"));
    breaks(&statuses(older, &fault("kill-one", second)), "was at 10 before");
    breaks(&statuses(older, &fault("pause-one", first)), "was at 10 before");
    // The vote is on disk before it counts: no restart brings a term back.
    let term = r#"{"cluster":"c","manager":1,"leader":null,"term":2} node=1 revision=11"#;
    breaks(&statuses(term, &fault("kill-one", first)), "was in term 3 before");
}

#[test]
fn a_run_in_which_little_happened_is_no_pass() {
    let many = |kind: &str, count: usize| {
        (0..count).fold(String::new(), |text, _| {
            format!("{text}\n 0 invoke read r0 null node=1\n 0 {kind} read r0 null node=1 last=true")
        })
    };
    let judged = |text: &str, of: &[&str]| enough::check(&history("register", text), "register", of).validity;
    assert_eq!(judged(&many("ok", 50), &["read"]), Validity::Valid);
    assert_eq!(judged(&many("ok", 10), &["read"]), Validity::Unknown);
    assert_eq!(judged(&many("fail", 50), &["read"]), Validity::Unknown);
    assert_eq!(judged(&many("ok", 50), &["read", "write"]), Validity::Unknown);
}

#[test]
fn what_was_not_read_at_the_end_everywhere_is_no_pass() {
    let text = "
        0 invoke write r0 1 node=1
        0 ok write r0 1 node=1
        1 invoke write r1 1 node=2
        1 ok write r1 1 node=2
        0 invoke read r0 null node=1
        0 ok read r0 1 node=1 last=true
        0 invoke read r1 null node=1
        0 ok read r1 1 node=1 last=true
        1 invoke read r0 null node=2
        1 ok read r0 1 node=2 last=true
        1 invoke read r1 null node=2
        1 ok read r1 1 node=2 last=true";
    holds(&last::check(&history("register", text), "register"));
    let without = text.rsplit_once("1 invoke read r1").expect("it is the last").0;
    let verdict = last::check(&history("register", without), "register");
    assert_eq!(verdict.validity, Validity::Unknown);
    assert!(verdict.detail.contains("`r1` at manager 2"), "{verdict:#?}");
}
