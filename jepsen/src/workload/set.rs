//! A set: each element is a config of its own, created once; lists are walked page by page while it grows.
//!
//! Nothing is ever removed, so an acknowledged element is in every walk that begins later, through any manager. Lost
//! writes show here best: nothing overwrites them.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use rand::Rng;
use serde_json::{Value, json};

use quorate::client::Condition;

use super::attempt::Outcome;
use super::hand::{Ask, Hand, LastRead, Step, drive, read_at_the_end};
use super::pages;
use super::{Workload, WorkloadContext};
use crate::checker::{self, Verdict};
use crate::history::{History, Notes};

const NAME: &str = "set";

/// Clients.
const CLIENTS: usize = 6;

/// What every element's config is named after.
const PREFIX: &str = "s-";

/// The largest set that is walked while it grows: each walk is a line with all of it.
const WALKED: u64 = 3_000;

/// The workload.
#[derive(Debug, Default)]
pub struct Set {
    next: AtomicU64,
}

async fn add(hand: &mut Hand, element: u64) -> Outcome {
    let manager = hand.manager().clone();
    let name = format!("{PREFIX}{element}");
    let answer = async {
        let put =
            manager
                .client
                .put_config(&name, "text/plain", element.to_string(), Condition::Absent, None);
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
    hand.call(Ask::on_all("add", json!(element)), answer).await
}

async fn read(hand: &mut Hand, limit: usize) -> Outcome {
    let manager = hand.manager().clone();
    let answer = async {
        match pages::configs(&manager.client, PREFIX, limit).await {
            Ok(walk) => {
                // As they came: an element that is listed twice has to be seen twice.
                let elements: Vec<_> = walk
                    .items
                    .iter()
                    .filter_map(|config| pages::of_prefix(&config.name, PREFIX))
                    .collect();
                let notes = Notes {
                    revision: Some(walk.revision),
                    ..Notes::default()
                };
                Outcome::ok(Some(json!(elements)), notes)
            }
            Err(error) => Outcome::of_read(&error),
        }
    };
    hand.call(Ask::on_all("read", Value::Null), answer).await
}

#[async_trait]
impl Step for Set {
    async fn step(&self, hand: &mut Hand) {
        let so_far = self.next.load(Ordering::Relaxed);
        if so_far < WALKED && hand.rng.random_bool(0.02) {
            // Small pages, so that many change while a walk is under way.
            let limit = hand.rng.random_range(20..=200);
            read(hand, limit).await;
        } else {
            add(hand, self.next.fetch_add(1, Ordering::Relaxed)).await;
        }
    }
}

struct Last;

#[async_trait]
impl LastRead for Last {
    async fn read(&self, hand: &mut Hand) -> Outcome {
        read(hand, 1_000).await
    }
}

#[async_trait]
impl Workload for Set {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run(&self, ctx: WorkloadContext) {
        drive(&ctx, NAME, CLIENTS, self).await;
    }

    async fn final_reads(&self, ctx: WorkloadContext) {
        read_at_the_end(&ctx, NAME, &[Last]).await;
    }

    fn check(&self, history: &History) -> Vec<Verdict> {
        vec![
            checker::enough::check(history, NAME, &["add", "read"]),
            checker::set::check(history, NAME),
            checker::last::check(history, NAME),
        ]
    }
}
