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
    let mut bench = Bench::new();
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
    let mut bench = Bench::new();
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

#[test]
fn a_key_is_forgotten_after_a_day_of_log_time() {
    let day = Duration::from_secs(24 * 3600);
    let mut state = State::default();
    let mut at = |revision, at: Millis| {
        let proposal = Proposal {
            at,
            key: key("a", 1),
            command: put("one", Condition::Any),
        };
        state.apply(revision, TERM, &proposal).replayed
    };
    assert!(!at(1, Millis(1_000)));
    assert!(at(2, Millis(999).after(day)));
    assert!(!at(3, Millis(1_000).after(day)));
    // A clock that went back makes no entry young again.
    assert!(at(4, Millis(1)));
}

#[test]
fn conditions_are_checked_against_the_version() {
    let mut bench = Bench::new();
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
