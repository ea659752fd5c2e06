//! The right of exclusive agents to act: the runner's half of "at most one".
//!
//! A lease ends `fence_after` after the *sending* of the last heartbeat that was acknowledged, by
//! the monotonic clock. Managers replace an exclusive agent only later than that (DESIGN section 7),
//! so whoever stops at the end never overlaps with the replacement.
//!
//! A lease that has ended is not revived by a late acknowledgement: meanwhile the agents may have
//! been given to others, and the list this runner holds may be old. It takes a new session, whose
//! opening is an entry of the log, and a list of agents read after that entry.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Terms {
    /// The end, once a heartbeat was acknowledged.
    until: Option<Instant>,
    /// Whether the list of agents is not older than the lease.
    fresh: bool,
}

impl Terms {
    fn live(self) -> bool {
        self.fresh && !self.ended() && self.until.is_some()
    }

    fn ended(self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}

/// The lease as the session sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    terms: watch::Sender<Terms>,
}

/// The late acknowledgement of a lease that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lapsed;

impl Lease {
    pub(super) fn new() -> Self {
        Self {
            terms: watch::Sender::new(Terms::default()),
        }
    }

    /// A new session is open. A lease that goes on is kept; any other begins anew, with a new list.
    pub(super) fn open(&self) {
        self.terms.send_if_modified(|terms| {
            let over = !terms.live();
            if over {
                *terms = Terms::default();
            }
            over
        });
    }

    /// A list of agents that was read after the session opened is in effect.
    pub(super) fn list_taken(&self) {
        self.terms
            .send_if_modified(|terms| !std::mem::replace(&mut terms.fresh, true));
    }

    /// A heartbeat sent at `sent` was acknowledged.
    ///
    /// # Errors
    /// [`Lapsed`] when the lease had ended before; nothing is changed.
    pub(super) fn renew(&self, sent: Instant, fence_after: Duration) -> Result<(), Lapsed> {
        let mut result = Ok(());
        self.terms.send_if_modified(|terms| {
            if terms.ended() {
                result = Err(Lapsed);
                return false;
            }
            let until = terms.until.max(Some(sent + fence_after));
            std::mem::replace(&mut terms.until, until) != until
        });
        result
    }

    /// Whether exclusive agents may act now.
    pub(super) fn live(&self) -> bool {
        self.terms.borrow().live()
    }

    /// Waits until exclusive agents may act.
    pub(super) async fn begun(&self) {
        // The sender lives in `self`, so the wait can't fail.
        let _ = self.terms.subscribe().wait_for(|terms| terms.live()).await;
    }

    /// Waits until exclusive agents must not act any more.
    pub(super) async fn ended(&self) {
        let mut terms = self.terms.subscribe();
        loop {
            let now = *terms.borrow_and_update();
            let Some(until) = now.until.filter(|_| now.live()) else {
                return;
            };
            tokio::select! {
                () = sleep_until(until) => {}
                _ = terms.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const FENCE: Duration = Duration::from_secs(8);

    #[tokio::test(start_paused = true)]
    async fn it_begins_with_a_list_and_an_acknowledgement() {
        let lease = Lease::new();
        lease.open();
        lease.list_taken();
        assert!(!lease.live(), "nobody has counted this runner yet");
        lease.renew(Instant::now(), FENCE).unwrap();
        assert!(lease.live());

        let lease = Lease::new();
        lease.open();
        lease.renew(Instant::now(), FENCE).unwrap();
        assert!(!lease.live(), "what shall run is not known yet");
        lease.list_taken();
        lease.begun().await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_by_the_sending_not_by_the_acknowledgement() {
        let lease = Lease::new();
        lease.list_taken();
        let sent = Instant::now();
        advance(Duration::from_secs(5)).await;
        lease.renew(sent, FENCE).unwrap();
        // An older heartbeat's acknowledgement that comes later takes nothing away.
        lease.renew(sent - Duration::from_secs(3), FENCE).unwrap();
        lease.ended().await;
        assert_eq!(sent.elapsed(), FENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_acknowledgement_revives_nothing() {
        let lease = Lease::new();
        lease.open();
        lease.list_taken();
        lease.renew(Instant::now(), FENCE).unwrap();
        let late = Instant::now() + Duration::from_secs(7);
        advance(FENCE).await;
        assert_eq!(lease.renew(late, FENCE), Err(Lapsed));
        assert!(!lease.live());
        // A new session, without a list that was read in it, does not revive it either.
        lease.open();
        lease.renew(Instant::now(), FENCE).unwrap();
        assert!(!lease.live());
        lease.list_taken();
        assert!(lease.live());
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_of_an_earlier_session_begins_none() {
        let lease = Lease::new();
        lease.open();
        lease.list_taken();
        lease.open();
        lease.renew(Instant::now(), FENCE).unwrap();
        assert!(!lease.live());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_session_in_time_keeps_it() {
        let lease = Lease::new();
        lease.open();
        lease.list_taken();
        lease.renew(Instant::now(), FENCE).unwrap();
        advance(Duration::from_secs(7)).await;
        lease.open();
        assert!(lease.live());
    }
}
