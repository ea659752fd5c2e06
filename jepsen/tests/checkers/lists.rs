//! Sets, lists and requests that are sent more than once.

use jepsen::checker::{Validity, append, once, set};

use super::script::{breaks, history, holds};

const SET: &str = "
    0 invoke add - 1
    0 ok add - 1 version=3
    1 invoke add - 2
    1 info add - 2 # broke off
    0 invoke add - 3
    0 fail add - 3 # no_quorum
    2 invoke add - 4
    0 invoke read - null
    2 ok add - 4 version=5
";

fn set_read(seen: &str) -> String {
    format!("{SET}\n 0 ok read - {seen} last=true")
}

#[test]
fn a_set_may_have_what_is_uncertain() {
    for seen in ["[1]", "[1,2]", "[1,4,2]"] {
        holds(&set::check(&history("set", &set_read(seen)), "set"));
    }
}

#[test]
fn sets_that_lose_or_invent_are_found() {
    for (seen, why) in [
        ("[2]", "element 1 was acknowledged, and is not there"),
        ("[1,3]", "element 3 is there, and its add failed"),
        ("[1,9]", "nobody added it"),
        ("[1,1]", "element 1 is there twice"),
    ] {
        breaks(&set::check(&history("set", &set_read(seen)), "set"), why);
    }
}

#[test]
fn a_set_that_was_not_read_at_the_end_is_no_pass() {
    let text = set_read("[1]").replace(" last=true", "");
    let verdict = set::check(&history("set", &text), "set");
    assert_eq!(verdict.validity, Validity::Unknown, "{verdict:#?}");
    let verdict = set::check(&history("set", SET), "set");
    assert_eq!(verdict.validity, Validity::Unknown, "{verdict:#?}");
}

/// Two appends, one after the other, an uncertain one and a failed one.
const LIST: &str = "
    0 invoke append a0 1
    0 ok append a0 1
    0 invoke append a0 2
    0 ok append a0 2
    1 invoke append a0 3
    1 info append a0 3 # broke off
    0 invoke append a0 4
    0 fail append a0 4 # precondition_failed
";

fn list_read(first: &str, second: &str) -> String {
    format!(
        "{LIST}
        0 invoke read a0 null
        0 ok read a0 {first}
        2 invoke read a0 null
        2 ok read a0 {second}"
    )
}

#[test]
fn lists_in_the_order_of_their_appends_hold() {
    for (first, second) in [("[1,2]", "[1,2]"), ("[1,2]", "[1,2,3]"), ("[1,2,3]", "[1,2,3]")] {
        holds(&append::check(
            &history("append", &list_read(first, second)),
            "append",
        ));
    }
}

#[test]
fn lists_that_lose_repeat_or_reorder_are_found() {
    for (first, second, why) in [
        ("[1]", "[1]", "2 was acknowledged, and is not there"),
        ("[2,1]", "[2,1]", "the list had"),
        ("[1,2,2]", "[1,2,2]", "2 is there twice"),
        ("[1,2,4]", "[1,2,4]", "its append failed"),
        ("[1,2,9]", "[1,2,9]", "nobody appended it"),
        ("[1,2,3]", "[1,2]", "there were 3 before it began"),
        // It is uncertain whether 3 was appended, and certain that it was not before 2 was acknowledged.
        ("[1,3,2]", "[1,3,2]", "the list had"),
        ("[1,2,3]", "[1,3,2]", "two reads differ at place 1"),
        ("\"1,2\"", "[1,2]", "is no list"),
    ] {
        let text = list_read(first, second);
        breaks(&append::check(&history("append", &text), "append"), why);
    }
}

#[test]
fn a_request_has_one_effect_and_one_answer() {
    let sent = |second: &str, read: &str| {
        let text = format!(
            "0 invoke write o0 7 request=a
            1 invoke write o0 7 request=a
            0 ok write o0 7 request=a version=5
            1 {second}
            2 invoke read o0 null
            2 ok read o0 {read}"
        );
        once::check(&history("once", &text), "once")
    };
    holds(&sent("ok write o0 7 request=a version=5", "7 version=5"));
    holds(&sent("info write o0 7 request=a # broke off", "7 version=5"));
    breaks(
        &sent("ok write o0 7 request=a version=6", "7 version=6"),
        "two copies of a request have two answers",
    );
    breaks(
        &sent("info write o0 7 request=a # broke off", "7 version=6"),
        "its value is there at two versions",
    );
}

#[test]
fn a_request_that_stands_in_its_own_way_is_found() {
    let text = "
        0 invoke create once-1 1 request=a
        0 info create once-1 1 request=a # broke off
        1 invoke create once-1 1 request=a
        1 fail create once-1 1 request=a # precondition_failed, met 1";
    breaks(
        &once::check(&history("once", text), "once"),
        "its own earlier copy",
    );
}

#[test]
fn a_request_that_failed_everywhere_leaves_nothing() {
    let text = "
        0 invoke write o0 7 request=a
        0 fail write o0 7 request=a # no_quorum
        1 invoke read o0 null
        1 ok read o0 7 version=5";
    breaks(&once::check(&history("once", text), "once"), "its value is there");
}
