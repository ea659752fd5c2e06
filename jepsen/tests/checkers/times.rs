//! Versions, revisions, and reads that are old on purpose.

use jepsen::checker::{freshness, versions};

use super::script::{breaks, history, holds};

fn judged(text: &str) -> jepsen::checker::Verdict {
    versions::check(&history("register", text), "register")
}

#[test]
fn a_version_is_one_write_with_one_value() {
    let two = |second: &str| {
        judged(&format!(
            "0 invoke write r0 1
            1 invoke write {second}
            0 ok write r0 1 version=5
            1 ok write {second} "
        ))
    };
    holds(&judged(
        "0 invoke write r0 1
        1 invoke write r0 2
        0 ok write r0 1 version=5
        1 ok write r0 2 version=4",
    ));
    breaks(&two("r1 2 version=5"), "two writes have version 5");
    breaks(
        &judged(
            "0 invoke write r0 1
            0 ok write r0 1 version=5
            1 invoke read r0 null
            1 ok read r0 2 version=5 revision=5",
        ),
        "has two values",
    );
}

#[test]
fn real_time_is_kept_by_versions() {
    let after = |next: &str| {
        judged(&format!(
            "0 invoke write r0 1
            0 ok write r0 1 version=5
            1 invoke {next}"
        ))
    };
    holds(&after("write r0 2\n 1 ok write r0 2 version=6"));
    holds(&after("read r0 null\n 1 ok read r0 1 version=5 revision=7"));
    for (next, why) in [
        ("write r0 2\n 1 ok write r0 2 version=4", "is older than 5"),
        (
            "read r0 null\n 1 ok read r0 9 version=4 revision=5",
            "is older than 5",
        ),
        ("read r0 null\n 1 ok read r0 null", "nothing is there"),
        (
            "read r1 null\n 1 ok read r1 9 version=2 revision=4",
            "shows revision 4",
        ),
        (
            "read r0 null\n 1 ok read r0 9 version=9 revision=8",
            "says it shows revision 8",
        ),
    ] {
        breaks(&after(next), why);
    }
}

fn read(notes: &str, answer: &str) -> jepsen::checker::Verdict {
    let text = format!(
        "0 invoke write f0 1 node=1
        0 ok write f0 1 node=1 version=5
        0 invoke write f0 2 node=1
        0 ok write f0 2 node=1 version=8
        1 invoke read f0 null node=2 consistency=stale {notes}
        1 ok read f0 {answer} node=2 consistency=stale {notes}"
    );
    freshness::check(&history("freshness", &text), "freshness")
}

#[test]
fn stale_reads_show_one_moment() {
    holds(&read("", "2 version=8 revision=9"));
    holds(&read("", "1 version=5 revision=7"));
    holds(&read("", "null"));
    breaks(
        &read("", "1 version=5 revision=8"),
        "and not the write of version 8",
    );
    breaks(&read("", "2 version=8 revision=7"), "after its revision");
}

#[test]
fn a_read_of_a_revision_shows_it() {
    holds(&read("min_revision=8", "2 version=8 revision=8"));
    breaks(
        &read("min_revision=8", "1 version=5 revision=7"),
        "older revision than it asked for",
    );
    breaks(&read("min_revision=8", "null"), "and not the write of version 8");
}

#[test]
fn a_manager_does_not_go_back_in_time() {
    let text = |between: &str| {
        format!(
            "0 invoke read f0 null node=2 consistency=stale
            0 ok read f0 2 node=2 consistency=stale version=8 revision=9
            {between}
            0 invoke read f0 null node=2 consistency=stale
            0 ok read f0 1 node=2 consistency=stale version=5 revision=7"
        )
    };
    let judged = |between: &str| freshness::check(&history("freshness", &text(between)), "freshness");
    breaks(&judged(""), "showed 9 before");
    breaks(
        &judged(r#"nemesis info start-pause - {"nodes":[1]}"#),
        "showed 9 before",
    );
    holds(&judged(r#"nemesis info start-kill-one - {"nodes":[2]}"#));
}
