//! A list in one object: read it, put it back with one more element, if nobody else did meanwhile.
//!
//! The order of elements is the order of effects, so a lost, doubled or reordered one is seen in every later read.

use async_trait::async_trait;
use serde_json::{Value, json};

use quorate::client::{Condition, Page};

use super::attempt::Outcome;
use super::hand::{Ask, Hand, LastRead, Step, drive, read_at_the_end};
use super::keys::Keys;
use super::{Workload, WorkloadContext};
use crate::checker::{self, Verdict};
use crate::history::{History, Kind, Notes};

const NAME: &str = "append";

/// Clients; all work on one list, so more of them would only refuse each other more often.
const CLIENTS: usize = 6;

/// Attempts a list sees. Every read has all of it, so a history's size grows with the square.
const MOST: u64 = 300;

/// The workload.
#[derive(Debug)]
pub struct Append {
    keys: Keys<()>,
}

impl Default for Append {
    fn default() -> Self {
        Self {
            keys: Keys::new("a", 1, MOST),
        }
    }
}

/// Reads a list; one that is not there is empty.
async fn read(hand: &mut Hand, key: &str) -> Outcome {
    let manager = hand.manager().clone();
    let answer = async {
        match manager.client.get_config(key, &Page::default()).await {
            Ok(config) => {
                let notes = Notes {
                    version: Some(config.version),
                    revision: Some(config.revision),
                    ..Notes::default()
                };
                let text = || json!(String::from_utf8_lossy(&config.value));
                let list = serde_json::from_slice(&config.value).unwrap_or_else(|_| text());
                Outcome::ok(Some(list), notes)
            }
            Err(error) if error.code() == Some("not_found") => Outcome::ok(Some(json!([])), Notes::default()),
            Err(error) => Outcome::of_read(&error),
        }
    };
    hand.call(Ask::new("read", key, Value::Null), answer).await
}

async fn append(
    hand: &mut Hand,
    key: &str,
    mut list: Vec<Value>,
    element: u64,
    condition: Condition,
) -> Outcome {
    let manager = hand.manager().clone();
    list.push(json!(element));
    let answer = async {
        let body = Value::Array(list).to_string();
        let put = manager
            .client
            .put_config(key, "application/json", body, condition, None);
        match put.await {
            Ok(put) => Outcome::ok(
                None,
                Notes {
                    version: Some(put.version),
                    ..Notes::default()
                },
            ),
            Err(error) => Outcome::of_write(&error),
        }
    };
    hand.call(Ask::new("append", key, json!(element)), answer).await
}

#[async_trait]
impl Step for Append {
    async fn step(&self, hand: &mut Hand) {
        let key = self.keys.take(&mut hand.rng);
        let seen = read(hand, &key.name).await;
        let (Kind::Ok, Some(Value::Array(list))) = (seen.kind, seen.value) else {
            return;
        };
        let condition = seen.notes.version.map_or(Condition::Absent, Condition::Version);
        append(hand, &key.name, list, key.fresh_value(), condition).await;
    }
}

struct Last<'a>(&'a str);

#[async_trait]
impl LastRead for Last<'_> {
    async fn read(&self, hand: &mut Hand) -> Outcome {
        read(hand, self.0).await
    }
}

#[async_trait]
impl Workload for Append {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run(&self, ctx: WorkloadContext) {
        drive(&ctx, NAME, CLIENTS, self).await;
    }

    async fn final_reads(&self, ctx: WorkloadContext) {
        let names = self.keys.names();
        let lasts: Vec<_> = names.iter().map(|name| Last(name)).collect();
        read_at_the_end(&ctx, NAME, &lasts).await;
    }

    fn check(&self, history: &History) -> Vec<Verdict> {
        vec![
            checker::enough::check(history, NAME, &["read", "append"]),
            checker::append::check(history, NAME),
            checker::versions::check(history, NAME),
            checker::last::check(history, NAME),
        ]
    }
}
