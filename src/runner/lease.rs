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

use super::fence::Fence;

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Terms {
    /// The end, once a heartbeat was acknowledged.
    until: Option<Instant>,
    /// Whether the list of agents is not older than the lease.
    fresh: bool,
}

impl Terms {
    fn live(self, now: Instant) -> bool {
        self.fresh && self.until.is_some_and(|until| now < until)
    }

    fn open(&mut self, now: Instant) {
        if !self.live(now) {
            *self = Self::default();
        }
    }

    fn renew(&mut self, until: Instant, now: Instant) -> Result<(), Lapsed> {
        if self.until.is_some_and(|until| until <= now) {
            return Err(Lapsed);
        }
        self.until = self.until.max(Some(until));
        Ok(())
    }
}

/// The lease as the session sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    terms: watch::Sender<Terms>,
    fence: Fence,
}

/// The late acknowledgement of a lease that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lapsed;

impl Lease {
    /// None yet; `fence` ends its agents when it ends.
    pub(super) fn new(fence: Fence) -> Self {
        fence.set(None);
        Self {
            terms: watch::Sender::new(Terms::default()),
            fence,
        }
    }

    /// Another one, that has not begun.
    pub(super) fn anew(&self) -> Self {
        Self::new(self.fence.clone())
    }

    /// What ends exclusive agents with this lease.
    pub(super) fn fence(&self) -> &Fence {
        &self.fence
    }

    fn change(&self, change: impl FnOnce(&mut Terms)) {
        self.terms.send_modify(|terms| {
            change(terms);
            let until = terms.until.filter(|_| terms.fresh).map(Instant::into_std);
            self.fence.set(if planted!(LeaseNotKept) {
                until.map(|until| until + Duration::from_secs(3600))
            } else {
                until
            });
        });
    }

    /// A new session is open. A lease that goes on is kept; any other begins anew, with a new list.
    pub(super) fn open(&self) {
        self.change(|terms| terms.open(Instant::now()));
    }

    /// A list of agents that was read after the session opened is in effect.
    pub(super) fn list_taken(&self) {
        self.change(|terms| terms.fresh = true);
    }

    /// A heartbeat sent at `sent` was acknowledged.
    ///
    /// # Errors
    /// [`Lapsed`] when the lease had ended before; nothing is changed.
    pub(super) fn renew(&self, sent: Instant, fence_after: Duration) -> Result<(), Lapsed> {
        let mut result = Ok(());
        self.change(|terms| result = terms.renew(sent + fence_after, Instant::now()));
        result
    }

    /// Whether exclusive agents may act now.
    pub(super) fn live(&self) -> bool {
        self.terms.borrow().live(Instant::now())
    }

    /// Waits until exclusive agents may act.
    pub(super) async fn begun(&self) {
        let mut terms = self.terms.subscribe();
        // The sender lives in `self`, so the wait can't fail.
        let _ = terms.wait_for(|terms| terms.live(Instant::now())).await;
    }

    /// Waits until exclusive agents must not act any more.
    pub(super) async fn ended(&self) {
        planted!(LeaseNotKept => std::future::pending::<()>().await);
        let mut terms = self.terms.subscribe();
        loop {
            let now = *terms.borrow_and_update();
            let Some(until) = now.until.filter(|_| now.live(Instant::now())) else {
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
    use super::*;

    const FENCE: Duration = Duration::from_secs(8);

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn it_begins_with_a_list_and_an_acknowledgement() {
        let now = Instant::now();
        let mut terms = Terms::default();
        terms.open(now);
        terms.fresh = true;
        assert!(!terms.live(now), "nobody has counted this runner yet");
        terms.renew(now + FENCE, now).unwrap();
        assert!(terms.live(now));

        let mut terms = Terms::default();
        terms.open(now);
        terms.renew(now + FENCE, now).unwrap();
        assert!(!terms.live(now), "what shall run is not known yet");
        terms.fresh = true;
        assert!(terms.live(now));
    }

    #[tokio::test]
    async fn it_ends_by_the_sending_not_by_the_acknowledgement() {
        let lease = Lease::new(Fence::start().unwrap());
        lease.list_taken();
        let sent = Instant::now() - second(5);
        lease.renew(sent, FENCE).unwrap();
        // An older heartbeat's acknowledgement that comes later takes nothing away.
        lease.renew(sent - second(1), FENCE).unwrap();
        assert!(lease.live());
        assert_eq!(lease.terms.borrow().until, Some(sent + FENCE));
        // One that was sent so long ago that its lease is over begins none.
        let lease = Lease::new(Fence::start().unwrap());
        lease.list_taken();
        lease.renew(sent, second(5)).unwrap();
        lease.ended().await;
        assert!(!lease.live());
    }

    #[test]
    fn a_late_acknowledgement_revives_nothing() {
        let now = Instant::now();
        let mut terms = Terms {
            until: Some(now + FENCE),
            fresh: true,
        };
        let (late, until) = (now + FENCE, now + second(15));
        assert_eq!(terms.renew(until, late), Err(Lapsed));
        assert!(!terms.live(late));
        // A new session, without a list that was read in it, does not revive it either.
        terms.open(late);
        terms.renew(until, late).unwrap();
        assert!(!terms.live(late));
        terms.fresh = true;
        assert!(terms.live(late));
    }

    #[test]
    fn a_list_of_an_earlier_session_begins_none() {
        let now = Instant::now();
        let mut terms = Terms::default();
        terms.open(now);
        terms.fresh = true;
        terms.open(now);
        terms.renew(now + FENCE, now).unwrap();
        assert!(!terms.live(now));
    }

    #[test]
    fn a_change_of_session_in_time_keeps_it() {
        let now = Instant::now();
        let mut terms = Terms {
            until: Some(now + FENCE),
            fresh: true,
        };
        terms.open(now + second(7));
        assert!(terms.live(now + second(7)));
    }
}
