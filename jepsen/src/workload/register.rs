//! Registers: read, write, compare-and-swap on configs, through every manager.
//!
//! Each value is written to a key once. A compare-and-swap `[old, new]` sends the version at which `old` was seen as
//! `If-Match`; as each value has one version, the version is expected exactly when the value is, and the model of a
//! compare-and-swap by value is exact. Most use the newest version that any client saw, some an older one, which must
//! be refused. A refusal that shows the value it met is one more read: it says what was there.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rand::Rng;
use serde_json::{Value, json};

use quorate::client::{ClientError, Condition, Page};

use super::attempt::{Outcome, stood_in_the_way};
use super::hand::{Ask, Hand, LastRead, Step, drive, read_at_the_end};
use super::keys::{Key, Keys};
use super::{Workload, WorkloadContext};
use crate::checker::{self, Verdict};
use crate::history::{History, Notes};

const NAME: &str = "register";

/// Clients, a third of them at each of three managers: some go on when those of one manager hang.
const CLIENTS: usize = 12;

/// Objects at a time: few, so that clients meet.
const AT_ONCE: usize = 3;

/// Operations an object sees: the search for an order is over single objects.
const MOST: u64 = 400;

/// Versions that are remembered of an object, for compare-and-swaps that come too late.
const REMEMBERED: usize = 5;

/// The workload.
#[derive(Debug)]
pub struct Register {
    keys: Keys<Seen>,
}

impl Default for Register {
    fn default() -> Self {
        Self {
            keys: Keys::new("r", AT_ONCE, MOST),
        }
    }
}

/// What clients saw of an object: versions with their values, the newest last.
#[derive(Debug, Default)]
pub struct Seen(Mutex<VecDeque<(u64, u64)>>);

impl Seen {
    fn note(&self, version: u64, value: u64) {
        let mut seen = self.inner();
        if seen.iter().all(|(known, _)| *known != version) {
            let place = seen.partition_point(|(known, _)| *known < version);
            seen.insert(place, (version, value));
        }
        while seen.len() > REMEMBERED {
            seen.pop_front();
        }
    }

    /// The newest mostly, sometimes an older one.
    fn choose(&self, rng: &mut impl Rng) -> Option<(u64, u64)> {
        let seen = self.inner();
        let newest = seen.len().checked_sub(1)?;
        let place = if rng.random_bool(0.8) {
            newest
        } else {
            rng.random_range(0..=newest)
        };
        seen.get(place).copied()
    }

    fn inner(&self) -> MutexGuard<'_, VecDeque<(u64, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value as it is stored: a number in decimal.
pub fn number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Reads a register; what is not there is null, what is no number of ours stays a text and explains itself.
pub async fn read(hand: &mut Hand, key: &str) -> Outcome {
    let manager = hand.manager().clone();
    let page = Page::default();
    let read = manager.client.get_config(key, &page);
    let answer = async {
        match read.await {
            Ok(config) => {
                let value = number(&config.value).map_or_else(
                    || json!(String::from_utf8_lossy(&config.value)),
                    |value| json!(value),
                );
                Outcome::ok(
                    Some(value),
                    Notes {
                        version: Some(config.version),
                        revision: Some(config.revision),
                        ..Notes::default()
                    },
                )
            }
            Err(error) if error.code() == Some("not_found") => {
                Outcome::ok(Some(Value::Null), Notes::default())
            }
            Err(error) => Outcome::of_read(&error),
        }
    };
    hand.call(Ask::new("read", key, Value::Null), answer).await
}

/// Puts a number.
pub async fn put(hand: &mut Hand, ask: Ask<'_>, key: &str, value: u64, condition: Condition) -> Outcome {
    let manager = hand.manager().clone();
    let request = ask.notes.request.clone();
    let answer = async {
        let body = value.to_string();
        let put = manager
            .client
            .put_config(key, "text/plain", body, condition, request.as_deref());
        match put.await {
            Ok(put) => Outcome::ok(
                None,
                Notes {
                    version: Some(put.version),
                    ..Notes::default()
                },
            ),
            Err(error) => refused(&error),
        }
    };
    hand.call(ask, answer).await
}

/// A write without its answer, with what stood in its way where that was told.
fn refused(error: &ClientError) -> Outcome {
    let mut outcome = Outcome::of_write(error);
    if let Some((version, value)) = stood_in_the_way(error) {
        outcome.notes.version = version;
        // What was met is the error's, not the operation's value: `precondition_failed: 7`.
        let met = match (version, value) {
            (None, _) => Some("null".to_owned()),
            (Some(_), value) => value.filter(|value| number(value.as_bytes()).is_some()),
        };
        if let Some(met) = met {
            outcome.error = Some(format!("{}{met}", checker::linear::MET));
        }
    }
    outcome
}

#[async_trait]
impl Step for Register {
    async fn step(&self, hand: &mut Hand) {
        let key = self.keys.take(&mut hand.rng);
        match hand.rng.random_range(0..100) {
            0..45 => {
                let outcome = read(hand, &key.name).await;
                let value = outcome.value.as_ref().and_then(Value::as_u64);
                if let (Some(version), Some(value)) = (outcome.notes.version, value) {
                    key.known.note(version, value);
                }
            }
            45..70 => {
                let value = key.fresh_value();
                let ask = Ask::new("write", &key.name, json!(value));
                let outcome = put(hand, ask, &key.name, value, Condition::Any).await;
                remember(&key, &outcome, value);
            }
            _ => {
                let value = key.fresh_value();
                let expected = key.known.choose(&mut hand.rng);
                let old = expected.map(|(_, old)| old);
                let condition =
                    expected.map_or(Condition::Absent, |(version, _)| Condition::Version(version));
                let ask = Ask::new("cas", &key.name, json!([old, value]));
                let outcome = put(hand, ask, &key.name, value, condition).await;
                remember(&key, &outcome, value);
            }
        }
    }
}

fn remember(key: &Key<Seen>, outcome: &Outcome, value: u64) {
    if outcome.kind == crate::history::Kind::Ok
        && let Some(version) = outcome.notes.version
    {
        key.known.note(version, value);
    }
}

/// One key, read until it is answered.
struct Last<'a>(&'a str);

#[async_trait]
impl LastRead for Last<'_> {
    async fn read(&self, hand: &mut Hand) -> Outcome {
        read(hand, self.0).await
    }
}

/// Reads every key through every manager.
pub async fn read_all(ctx: &WorkloadContext, workload: &'static str, names: &[String]) {
    let lasts: Vec<_> = names.iter().map(|name| Last(name)).collect();
    read_at_the_end(ctx, workload, &lasts).await;
}

#[async_trait]
impl Workload for Register {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run(&self, ctx: WorkloadContext) {
        drive(&ctx, NAME, CLIENTS, self).await;
    }

    async fn final_reads(&self, ctx: WorkloadContext) {
        read_all(&ctx, NAME, &self.keys.names()).await;
    }

    fn check(&self, history: &History) -> Vec<Verdict> {
        vec![
            checker::enough::check(history, NAME, &["read", "write", "cas"]),
            checker::linear::check(history, NAME),
            checker::versions::check(history, NAME),
            checker::last::check(history, NAME),
        ]
    }
}
