//! Retries under an idempotency key: one effect and one answer, whichever managers they go to.
//!
//! Each request is sent one to three times to different managers, one after the other or all at once, and some are
//! sent again much later, when leaders have changed and managers were restarted from snapshots. A `create` may happen
//! once, so a copy that meets its own first copy would be refused; a `write` that happened twice would bring back a
//! value that others had replaced, at another version.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::join_all;
use rand::Rng;
use serde_json::json;

use quorate::client::Condition;

use super::hand::{Ask, Hand, Step, drive};
use super::keys::Keys;
use super::register::{put, read, read_all};
use super::{Workload, WorkloadContext};
use crate::checker::{self, Verdict};
use crate::history::{History, Notes};

const NAME: &str = "once";

/// Clients: each waits for all copies of its request, so some wait long while a manager is cut off.
const CLIENTS: usize = 12;

/// Requests that are remembered, to be sent again later.
const REMEMBERED: usize = 400;

/// The workload.
#[derive(Debug)]
pub struct Once {
    keys: Keys<()>,
    next: AtomicU64,
    sent: Mutex<VecDeque<Request>>,
}

impl Default for Once {
    fn default() -> Self {
        Self {
            keys: Keys::new("o", 2, 300),
            next: AtomicU64::new(0),
            sent: Mutex::new(VecDeque::new()),
        }
    }
}

/// A request that may be sent again.
#[derive(Debug, Clone)]
struct Request {
    /// Its idempotency key.
    id: String,
    key: String,
    value: u64,
    create: bool,
}

/// What names of configs that are created once begin with.
const CREATED: &str = "once-";

impl Request {
    async fn send(&self, hand: &mut Hand) {
        let (f, condition) = if self.create {
            ("create", Condition::Absent)
        } else {
            ("write", Condition::Any)
        };
        let ask = Ask {
            notes: Notes {
                request: Some(self.id.clone()),
                ..Notes::default()
            },
            ..Ask::new(f, &self.key, json!(self.value))
        };
        put(hand, ask, &self.key, self.value, condition).await;
    }
}

impl Once {
    fn fresh(&self, hand: &mut Hand) -> Request {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let create = hand.rng.random_bool(0.4);
        let (key, value) = if create {
            (format!("{CREATED}{number}"), number)
        } else {
            let key = self.keys.take(&mut hand.rng);
            (key.name.clone(), key.fresh_value())
        };
        let request = Request {
            id: format!("request-{number}"),
            key,
            value,
            create,
        };
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.push_back(request.clone());
        if sent.len() > REMEMBERED {
            sent.pop_front();
        }
        request
    }

    /// One from a while ago, to be sent again.
    fn old(&self, hand: &mut Hand) -> Option<Request> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let place = hand.rng.random_range(0..sent.len().max(1));
        sent.get(place).cloned()
    }
}

#[async_trait]
impl Step for Once {
    async fn step(&self, hand: &mut Hand) {
        match hand.rng.random_range(0..100) {
            0..30 => {
                let key = self.keys.take(&mut hand.rng);
                read(hand, &key.name).await;
            }
            30..45 => {
                if let Some(request) = self.old(hand) {
                    request.send(hand).await;
                }
            }
            _ => {
                let request = self.fresh(hand);
                let copies = hand.rng.random_range(1..=3_usize);
                if hand.rng.random_bool(0.5) {
                    let mut hands: Vec<_> = (0..copies).map(|turn| hand.beside(turn)).collect();
                    join_all(hands.iter_mut().map(|hand| request.send(hand))).await;
                    return;
                }
                for turn in 0..copies {
                    request.send(&mut hand.beside(turn)).await;
                }
            }
        }
    }
}

#[async_trait]
impl Workload for Once {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run(&self, ctx: WorkloadContext) {
        drive(&ctx, NAME, CLIENTS, self).await;
    }

    async fn final_reads(&self, ctx: WorkloadContext) {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut names = self.keys.names();
        // The youngest that were created once; all of them would make the end longer than the run.
        let young = sent.iter().filter(|request| request.create);
        names.extend(young.map(|request| request.key.clone()));
        read_all(&ctx, NAME, &names).await;
    }

    fn check(&self, history: &History) -> Vec<Verdict> {
        vec![
            checker::enough::check(history, NAME, &["write", "create", "read"]),
            checker::once::check(history, NAME),
            checker::versions::check(history, NAME),
        ]
    }
}
