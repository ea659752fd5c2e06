//! Heartbeats on their way to the leader: one digest a manager, whatever the number of its sessions.
//!
//! They never enter the log. A heartbeat is acknowledged to the runner only when the leader has counted
//! it and a quorum has confirmed that leader afterwards, which is what an answer to a digest says; and
//! only to the session it came from.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::slot::Slot;
use crate::{
    consensus::{Consensus, Digest},
    model::ContainerId,
};

/// Between digests (DESIGN section 7).
const EVERY: Duration = Duration::from_millis(500);

/// An answer that takes longer is not waited for: the next digest may reach the next leader.
const ANSWER: Duration = Duration::from_secs(1);

type Waiting = HashMap<ContainerId, (Arc<Slot>, u64)>;

/// The latest heartbeat of each session that no digest has brought to a leader yet.
#[derive(Debug, Default)]
pub(super) struct Beats {
    waiting: Mutex<Waiting>,
    some: Notify,
}

impl Beats {
    /// Notes a heartbeat.
    pub(super) fn record(&self, slot: &Arc<Slot>, seq: u64) {
        self.lock().insert(slot.container, (slot.clone(), seq));
        self.some.notify_one();
    }

    fn take(&self) -> Waiting {
        std::mem::take(&mut *self.lock())
    }

    /// Puts back what no leader took, unless something newer came.
    fn put_back(&self, waiting: Waiting) {
        let mut all = self.lock();
        for (container, beat) in waiting {
            all.entry(container).or_insert(beat);
        }
        self.some.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends digests until `end`.
pub(super) async fn run(consensus: Consensus, beats: Arc<Beats>, end: CancellationToken) {
    let mut next = Instant::now();
    loop {
        let due = async {
            beats.some.notified().await;
            sleep_until(next).await;
        };
        tokio::select! {
            () = end.cancelled() => return,
            () = due => {}
        }
        next = Instant::now() + EVERY;
        let waiting = beats.take();
        if waiting.is_empty() {
            continue;
        }
        let digest = Digest {
            from: consensus.id(),
            heartbeats: waiting
                .values()
                .map(|(slot, seq)| (slot.container, slot.boot, *seq))
                .collect(),
        };
        match timeout(ANSWER, consensus.send_digest(digest)).await {
            Ok(Ok(_)) => waiting.values().for_each(|(slot, seq)| slot.counted(*seq)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no leader took the heartbeats");
                beats.put_back(waiting);
            }
            Err(_) => beats.put_back(waiting),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_back_does_not_hide_what_came_meanwhile() {
        let beats = Beats::default();
        let slot = |container| Arc::new(Slot::new(ContainerId(container), 1));
        let (one, two) = (slot(1), slot(2));
        beats.record(&one, 5);
        beats.record(&two, 5);
        let taken = beats.take();
        beats.record(&one, 6);
        beats.put_back(taken);
        let all = beats.take();
        let seq = |id| all.get(&ContainerId(id)).map(|(_, seq)| *seq);
        assert_eq!((seq(1), seq(2)), (Some(6), Some(5)));
    }
}
