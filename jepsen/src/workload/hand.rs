//! A client: one process, one manager, one operation at a time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use quorate::client::{Client, ClientError};

use super::attempt::Outcome;
use super::{Endpoint, WorkloadContext};
use crate::history::{Entry, Kind, Notes, Process, Recorder};

/// A manager answers within 2 s, or says that it can't; a paused or cut off one says nothing for ever.
const PATIENCE: Duration = Duration::from_secs(4);

/// One manager, and a client that knows no other.
#[derive(Debug, Clone)]
pub struct Manager {
    /// Its place in the cluster.
    pub node: u64,
    /// One call is one request.
    pub client: Client,
}

/// Clients of single managers.
pub fn managers(endpoints: &[Endpoint]) -> Result<Vec<Manager>, ClientError> {
    endpoints
        .iter()
        .map(|endpoint| {
            let client = Client::builder()
                .endpoint(&endpoint.url)
                .ca_pem(&endpoint.ca)
                .token(&endpoint.token)
                .attempt_timeout(PATIENCE)
                .retry_for(Duration::ZERO)
                .without_keys()
                .build()?;
            Ok(Manager {
                node: endpoint.node,
                client,
            })
        })
        .collect()
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// What is done.
    pub f: &'a str,
    /// To what.
    pub key: Option<&'a str>,
    /// The value, as it is known before.
    pub value: Value,
    /// What else is asked for.
    pub notes: Notes,
}

impl<'a> Ask<'a> {
    /// An operation with nothing special about it.
    pub fn new(f: &'a str, key: &'a str, value: Value) -> Self {
        Self {
            f,
            key: Some(key),
            value,
            notes: Notes::default(),
        }
    }

    /// An operation on the whole cluster.
    pub fn on_all(f: &'a str, value: Value) -> Self {
        Self {
            f,
            key: None,
            value,
            notes: Notes::default(),
        }
    }
}

/// A client at work.
pub struct Hand {
    recorder: Arc<Recorder>,
    workload: &'static str,
    process: Process,
    /// Whether an operation is under way; where it is given up, its process is not used again.
    busy: bool,
    last: bool,
    /// All managers; most clients only use their own.
    pub managers: Arc<Vec<Manager>>,
    /// Which of them is its own.
    pub own: usize,
    /// Its choices.
    pub rng: StdRng,
}

impl Hand {
    /// The client that speaks to `managers[own]`.
    pub fn new(
        ctx: &WorkloadContext,
        workload: &'static str,
        managers: &Arc<Vec<Manager>>,
        number: usize,
    ) -> Self {
        Self {
            recorder: ctx.recorder.clone(),
            workload,
            process: ctx.recorder.process(),
            busy: false,
            last: false,
            managers: managers.clone(),
            own: number % managers.len().max(1),
            rng: StdRng::seed_from_u64(ctx.seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        }
    }

    /// The same, for reads after everything was healed.
    fn for_last_reads(mut self) -> Self {
        self.last = true;
        self
    }

    /// A client that works beside this one, at the manager `turn` places further.
    pub fn beside(&mut self, turn: usize) -> Self {
        Self {
            recorder: self.recorder.clone(),
            workload: self.workload,
            process: self.recorder.process(),
            busy: false,
            last: self.last,
            managers: self.managers.clone(),
            own: (self.own + turn) % self.managers.len().max(1),
            rng: StdRng::from_rng(&mut self.rng),
        }
    }

    /// Its own manager.
    pub fn manager(&self) -> &Manager {
        &self.managers[self.own]
    }

    /// Does one operation: takes down its beginning, waits for what becomes of it, takes down its end.
    pub async fn call(&mut self, ask: Ask<'_>, answer: impl Future<Output = Outcome>) -> Outcome {
        let node = self.managers[self.own].node;
        let with_place = |mut notes: Notes| {
            notes.node = Some(node);
            notes.last = self.last;
            notes
        };
        let entry = Entry {
            process: self.process,
            kind: Kind::Invoke,
            f: ask.f,
            workload: Some(self.workload),
            key: ask.key,
            value: ask.value.clone(),
            error: None,
            notes: with_place(ask.notes.clone()),
        };
        self.busy = true;
        self.recorder.record(entry.clone());
        let outcome = answer.await;
        self.busy = false;
        let told = Notes {
            version: outcome.notes.version,
            revision: outcome.notes.revision,
            ..ask.notes
        };
        self.recorder.record(Entry {
            kind: outcome.kind,
            value: outcome.value.clone().unwrap_or(ask.value),
            error: outcome.error.clone(),
            notes: with_place(told),
            ..entry
        });
        if outcome.kind == Kind::Info {
            self.process = self.recorder.process();
        }
        outcome
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        if !self.busy {
            self.recorder.give_back(self.process);
        }
    }
}

/// What each of a workload's clients does at its turn.
#[async_trait]
pub trait Step: Sync {
    /// One operation, or a few that belong together.
    async fn step(&self, hand: &mut Hand);
}

/// Lets `count` clients work until the run stops them. Without managers, or with addresses that can't be used, there
/// are no clients, and a history without operations is no pass.
pub async fn drive(ctx: &WorkloadContext, workload: &'static str, count: usize, step: &dyn Step) {
    let managers = match managers(&ctx.endpoints) {
        Ok(managers) if !managers.is_empty() => Arc::new(managers),
        Ok(_) => return,
        Err(error) => return eprintln!("error: the clients of `{workload}` can't be set up: {error}"),
    };
    let work = |number| {
        let mut hand = Hand::new(ctx, workload, &managers, number);
        async move {
            loop {
                tokio::select! {
                    biased;
                    () = ctx.stop.cancelled() => return,
                    () = ctx.pace.turn() => {}
                }
                step.step(&mut hand).await;
            }
        }
    };
    join_all((0..count).map(work)).await;
}

/// Reads through every manager at once, one thing after the other, each until it is answered or the run ends.
pub async fn read_at_the_end<L: LastRead>(ctx: &WorkloadContext, workload: &'static str, what: &[L]) {
    let managers = match managers(&ctx.endpoints) {
        Ok(managers) => Arc::new(managers),
        Err(error) => return eprintln!("error: the last reads of `{workload}` can't be set up: {error}"),
    };
    let read = |number| {
        let mut hand = Hand::new(ctx, workload, &managers, number).for_last_reads();
        async move {
            for one in what {
                until_ok(ctx, &mut hand, one).await;
            }
        }
    };
    join_all((0..managers.len()).map(read)).await;
}

/// The pause before a read at the end is tried again.
const AGAIN: Duration = Duration::from_millis(200);

async fn until_ok(ctx: &WorkloadContext, hand: &mut Hand, last: &dyn LastRead) {
    while !ctx.stop.is_cancelled() {
        if last.read(hand).await.kind == Kind::Ok {
            return;
        }
        tokio::select! {
            () = ctx.stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// A read that is repeated until it is answered.
#[async_trait]
pub trait LastRead: Sync {
    /// One attempt.
    async fn read(&self, hand: &mut Hand) -> Outcome;
}
