//! Reads that ask for less or for more than the newest: `consistency=stale` and `min_revision`.
//!
//! A stale read may be old, but it shows one moment of the cluster, says which, and a manager does not go back in
//! time while it runs. A read with the revision of an acknowledged write as `min_revision` shows that write, through
//! any manager.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use rand::Rng;
use serde_json::{Value, json};

use quorate::client::{Condition, Page};

use super::attempt::Outcome;
use super::hand::{Ask, Hand, Step, drive};
use super::keys::Keys;
use super::register::{number, put, read_all};
use super::{Workload, WorkloadContext};
use crate::checker::{self, Verdict};
use crate::history::{History, Notes};

const NAME: &str = "freshness";

/// Clients.
const CLIENTS: usize = 6;

/// The workload.
#[derive(Debug)]
pub struct Freshness {
    keys: Keys<Acknowledged>,
}

/// The version of the newest acknowledged write.
#[derive(Debug, Default)]
pub struct Acknowledged(Mutex<Option<u64>>);

impl Acknowledged {
    fn note(&self, version: Option<u64>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = (*known).max(version);
    }

    fn newest(&self) -> Option<u64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            keys: Keys::new("f", 3, 400),
        }
    }
}

/// A read with its wishes, through the hand's manager.
async fn read(hand: &mut Hand, key: &str, consistency: Option<&str>, min_revision: Option<u64>) -> Outcome {
    let manager = hand.manager().clone();
    let page = Page {
        consistency: consistency.map(str::to_owned),
        min_revision,
        ..Page::default()
    };
    let answer = async {
        match manager.client.get_config(key, &page).await {
            Ok(config) => Outcome::ok(
                Some(number(&config.value).map_or(Value::Null, |value| json!(value))),
                Notes {
                    version: Some(config.version),
                    revision: Some(config.revision),
                    ..Notes::default()
                },
            ),
            Err(error) if error.code() == Some("not_found") => {
                Outcome::ok(Some(Value::Null), Notes::default())
            }
            Err(error) => Outcome::of_read(&error),
        }
    };
    let ask = Ask {
        notes: Notes {
            consistency: consistency.map(str::to_owned),
            min_revision,
            ..Notes::default()
        },
        ..Ask::new("read", key, Value::Null)
    };
    hand.call(ask, answer).await
}

#[async_trait]
impl Step for Freshness {
    async fn step(&self, hand: &mut Hand) {
        let key = self.keys.take(&mut hand.rng);
        let newest = key.known.newest();
        match hand.rng.random_range(0..100) {
            0..35 => {
                let value = key.fresh_value();
                let ask = Ask::new("write", &key.name, json!(value));
                let outcome = put(hand, ask, &key.name, value, Condition::Any).await;
                key.known.note(outcome.notes.version);
            }
            35..55 => {
                read(hand, &key.name, Some("stale"), None).await;
            }
            55..75 => {
                read(hand, &key.name, Some("stale"), newest).await;
            }
            75..85 => {
                read(hand, &key.name, None, newest).await;
            }
            _ => {
                read(hand, &key.name, None, None).await;
            }
        }
    }
}

#[async_trait]
impl Workload for Freshness {
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
            checker::enough::check(history, NAME, &["write", "read"]),
            checker::freshness::check(history, NAME),
            checker::versions::check(history, NAME),
            checker::last::check(history, NAME),
        ]
    }
}
