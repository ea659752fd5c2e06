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

#[cfg(test)]
mod tests {
    use tokio::{
        sync::{mpsc, oneshot},
        time::{advance, timeout},
    };

    use super::*;

    type Sent = (Vec<Heartbeat>, oneshot::Sender<bool>);

    /// Runs a pulse whose digests come out here, each with the place for its answer.
    fn start() -> (Arc<Pulse>, mpsc::UnboundedReceiver<Sent>) {
        let pulse = Arc::new(Pulse::default());
        let (sender, digests) = mpsc::unbounded_channel();
        let running = pulse.clone();
        tokio::spawn(async move {
            let send = move |heartbeats| {
                let (answer, wait) = oneshot::channel();
                sender.send((heartbeats, answer)).unwrap();
                async move { wait.await.unwrap_or(false) }
            };
            running.run(send).await;
        });
        (pulse, digests)
    }

    fn session(n: u64) -> Arc<Handle> {
        Arc::new(Handle::new(ContainerId(n), 10 + n))
    }

    async fn acknowledged(session: &Handle, seq: u64) {
        while session.counted() != seq {
            session.woken().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_heartbeat_goes_at_once_and_the_next_ones_together() {
        let (pulse, mut digests) = start();
        let (one, two) = (session(1), session(2));
        let began = Instant::now();
        pulse.beat(&one, 1);
        let (sent, answer) = digests.recv().await.unwrap();
        assert_eq!(
            (sent, began.elapsed()),
            (vec![(one.container, 11, 1)], Duration::ZERO)
        );
        pulse.beat(&one, 2);
        pulse.beat(&two, 7);
        pulse.beat(&one, 3);
        answer.send(true).unwrap();
        acknowledged(&one, 1).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "an answer waits for no digest");

        let (mut sent, answer) = digests.recv().await.unwrap();
        sent.sort_unstable();
        assert_eq!(sent, [(one.container, 11, 3), (two.container, 12, 7)]);
        assert_eq!(began.elapsed(), PERIOD);
        pulse.beat(&one, 4);
        answer.send(true).unwrap();
        acknowledged(&one, 3).await;
        acknowledged(&two, 7).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_confirmed_is_sent_again_unless_a_newer_one_came() {
        let (pulse, mut digests) = start();
        let (one, two) = (session(1), session(2));
        pulse.beat(&one, 1);
        let (_, answer) = digests.recv().await.unwrap();
        pulse.beat(&two, 1);
        answer.send(false).unwrap();
        let (sent, answer) = digests.recv().await.unwrap();
        assert_eq!(sent.len(), 2, "{sent:?}");
        pulse.beat(&one, 2);
        answer.send(false).unwrap();
        let (mut sent, _answer) = digests.recv().await.unwrap();
        sent.sort_unstable();
        assert_eq!(sent, [(one.container, 11, 2), (two.container, 12, 1)]);
        assert_eq!((one.counted(), two.counted()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn digests_that_hang_hold_up_others_only_when_they_are_many() {
        let (pulse, mut digests) = start();
        let one = session(1);
        let mut hanging = Vec::new();
        for seq in 1..=IN_FLIGHT as u64 {
            pulse.beat(&one, seq);
            hanging.push(digests.recv().await.unwrap().1);
        }
        pulse.beat(&one, 90);
        assert!(timeout(PERIOD * 4, digests.recv()).await.is_err());
        hanging.pop().unwrap().send(true).unwrap();
        assert_eq!(digests.recv().await.unwrap().0, [(one.container, 11, 90)]);
        // An older digest that fails later takes nothing back.
        drop(hanging);
        advance(PERIOD).await;
        assert_eq!(one.counted(), IN_FLIGHT as u64);
        pulse.beat(&one, 91);
        assert_eq!(digests.recv().await.unwrap().0, [(one.container, 11, 91)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_session_is_not_acknowledged_for_an_earlier_one() {
        let (pulse, mut digests) = start();
        let (first, second) = (session(1), session(1));
        pulse.beat(&first, 900);
        let (_, answer) = digests.recv().await.unwrap();
        pulse.beat(&second, 1);
        answer.send(true).unwrap();
        acknowledged(&first, 900).await;
        assert_eq!(second.counted(), 0);
        assert_eq!(digests.recv().await.unwrap().0, [(second.container, 11, 1)]);
    }
}
