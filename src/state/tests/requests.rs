use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::{command::ConfigCommand, model::TokenId};

fn put(value: &'static str, condition: Condition) -> Command {
    Command::Config(ConfigCommand::Put {
        name: "k".parse().unwrap(),
        content_type: "text/plain".into(),
        value: Bytes::from_static(value.as_bytes()),
        condition,
    })
}

fn key(key: &str, fingerprint: u64) -> Option<RequestKey> {
    Some(RequestKey {
        principal: TokenId(1),
        key: key.into(),
        fingerprint,
    })
}

#[test]
fn a_key_has_one_effect_and_one_answer() {
    let mut bench = StateBench::new();
    let first = bench.reply(key("a", 1), put("one", Condition::Absent));
    assert_eq!(first.result, Ok(Outcome::ConfigPut { created: true }));
    bench.apply(put("two", Condition::Any)).unwrap();
    let again = bench.reply(key("a", 1), put("one", Condition::Absent));
    assert_eq!(
        again,
        Reply {
            replayed: true,
            ..first.clone()
        }
    );
    assert_eq!(bench.state.config("k").unwrap().value, "two");

    let other = bench.reply(key("a", 2), put("three", Condition::Any));
    assert_eq!(other.result, Err(Rejection::KeyReused));
    let elsewhere = RequestKey {
        principal: TokenId(2),
        ..key("a", 2).unwrap()
    };
    bench
        .reply(Some(elsewhere), put("four", Condition::Any))
        .result
        .unwrap();
    assert_eq!(bench.state.config("k").unwrap().value, "four");
}

#[test]
fn a_refusal_is_an_answer_too() {
    let mut bench = StateBench::new();
    bench.apply(put("one", Condition::Any)).unwrap();
    let first = bench.reply(key("a", 1), put("two", Condition::Absent));
    assert!(matches!(first.result, Err(Rejection::Condition { .. })));
    bench
        .apply(Command::Config(ConfigCommand::Delete {
            name: "k".parse().unwrap(),
            condition: Condition::Exists,
        }))
        .unwrap();
    let again = bench.reply(key("a", 1), put("two", Condition::Absent));
    assert_eq!(again.result, first.result);
    assert!(bench.state.config("k").is_none());
}

/// Applies entries without a key, an hour apart, until log time is there: one entry moves it no further.
fn pass_time(state: &mut State, until: Millis) {
    while state.now() < until {
        let at = until.min(state.now().after(Duration::from_secs(3600)));
        let command = put("other", Condition::Any);
        state.apply(
            state.revision() + 1,
            TERM,
            &Proposal {
                at,
                by: crate::command::Principal::Manager,
                key: None,
                command,
            },
        );
    }
}

#[test]
fn a_key_is_forgotten_after_a_day_of_log_time() {
    let day = Duration::from_secs(24 * 3600);
    let mut state = State::default();
    let mut replayed = |at: Millis| {
        if state.revision() > 0 {
            pass_time(&mut state, at);
        }
        let proposal = Proposal {
            at,
            by: crate::command::Principal::Manager,
            key: key("a", 1),
            command: put("one", Condition::Any),
        };
        state.apply(state.revision() + 1, TERM, &proposal).replayed
    };
    assert!(!replayed(Millis(1_000)));
    assert!(replayed(Millis(999).after(day)));
    assert!(!replayed(Millis(1_000).after(day)));
    // A clock that went back makes no entry young again.
    assert!(replayed(Millis(1)));
}

#[test]
fn a_clock_far_ahead_moves_log_time_by_an_hour_an_entry() {
    let mut state = State::default();
    pass_time(&mut state, Millis(1_000));
    let year = Millis(1_000).after(Duration::from_secs(365 * 24 * 3600));
    let proposal = Proposal {
        at: year,
        by: crate::command::Principal::Manager,
        key: None,
        command: put("one", Condition::Any),
    };
    state.apply(state.revision() + 1, TERM, &proposal);
    assert_eq!(state.now(), Millis(1_000).after(Duration::from_secs(3600)));
}

#[test]
fn conditions_are_checked_against_the_version() {
    let mut bench = StateBench::new();
    assert_eq!(
        bench.apply(put("x", Condition::Exists)),
        Err(Rejection::Condition { current: None })
    );
    bench.apply(put("x", Condition::Absent)).unwrap();
    let version = bench.state.config("k").unwrap().version;
    assert_eq!(
        bench.apply(put("y", Condition::Absent)),
        Err(Rejection::Condition {
            current: Some(version)
        })
    );
    bench
        .apply(put("y", Condition::Version(vec![1, version])))
        .unwrap();
    bench
        .apply(put("z", Condition::Version(vec![version])))
        .unwrap_err();
    assert_eq!(bench.state.config("k").unwrap().value, "y");
    assert_eq!(bench.state.config("k").unwrap().created, version);
}
