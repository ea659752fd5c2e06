//! Heartbeats of all sessions, gathered into digests for the leader.
//!
//! One digest each half second carries the latest heartbeat of each session that sent one since, so
//! the leader's cost grows with managers. What was not confirmed stays for the next digest, unless
//! a newer heartbeat came meanwhile: counted twice it is only counted later, which is safe.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::roster::Handle;
use crate::model::ContainerId;

/// Between digests. A heartbeat after a quiet time goes at once.
const PERIOD: Duration = Duration::from_millis(500);

/// Digests under way at most: one may hang at a leader that fell, and the next must not wait.
const IN_FLIGHT: usize = 4;

/// What a digest holds of a session: container, start of its runner, latest heartbeat.
pub(super) type Heartbeat = (ContainerId, u64, u64);

/// A session's latest heartbeat that nobody confirmed yet.
#[derive(Debug, Clone)]
struct Beat {
    session: Arc<Handle>,
    seq: u64,
}

/// Heartbeats that wait for the next digest.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    waiting: Mutex<HashMap<ContainerId, Beat>>,
    arrived: Notify,
}

impl Pulse {
    /// A session sent a heartbeat.
    pub(super) fn beat(&self, session: &Arc<Handle>, seq: u64) {
        let mut waiting = self.lock();
        let beat = Beat {
            session: session.clone(),
            seq,
        };
        match waiting.get_mut(&session.container) {
            Some(known) if Arc::ptr_eq(&known.session, session) => known.seq = known.seq.max(seq),
            _ => {
                waiting.insert(session.container, beat);
            }
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Sends digests for ever. `send` says whether a digest was counted and confirmed.
    pub(super) async fn run<F>(&self, send: impl Fn(Vec<Heartbeat>) -> F)
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let mut under_way = JoinSet::new();
        let mut next = Instant::now();
        loop {
            let ready = !self.lock().is_empty();
            tokio::select! {
                () = self.arrived.notified(), if !ready => {}
                () = sleep_until(next), if ready && under_way.len() < IN_FLIGHT => {
                    next = Instant::now() + PERIOD;
                    let beats = mem::take(&mut *self.lock());
                    let heartbeats = beats.values().map(|b| (b.session.container, b.session.boot, b.seq));
                    let sent = send(heartbeats.collect());
                    under_way.spawn(async move { (sent.await, beats) });
                }
                Some(ended) = under_way.join_next() => {
                    // A task that was lost takes its heartbeats along; the next second brings others.
                    if let Ok((counted, beats)) = ended {
                        self.settle(counted, beats);
                    }
                }
            }
        }
    }

    fn settle(&self, counted: bool, beats: HashMap<ContainerId, Beat>) {
        if counted {
            beats
                .into_values()
                .for_each(|beat| beat.session.acknowledge(beat.seq));
            return;
        }
        let mut waiting = self.lock();
        for (container, beat) in beats {
            let over = beat.session.is_replaced() || beat.session.counted() >= beat.seq;
            if !over {
                // What came meanwhile is newer.
                waiting.entry(container).or_insert(beat);
            }
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ContainerId, Beat>> {
        // Nothing panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
