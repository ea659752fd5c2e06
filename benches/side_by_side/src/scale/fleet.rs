//! All runners: what they are told, and what is seen of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    meter::Meter,
    runner::{Doors, Order, Runner},
    session::Failure,
};
use crate::{cluster::MEMBERS, progress::Progress};

/// Between two looks at all runners. What is measured is noted by the runners themselves, when it happens.
const LOOK: Duration = Duration::from_millis(50);

/// Attempts of one runner to join.
const TRIES: u32 = 20;

/// What is seen of one runner.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// With which member its session is open.
    pub manager: Option<usize>,
    /// Sessions that it opened so far.
    pub sessions: u32,
    /// When it opened the last one, and when the first heartbeat of that was counted.
    pub opened: Option<Instant>,
    pub confirmed: Option<Instant>,
    /// When the last heartbeat was sent that was counted.
    counted: Option<Instant>,
    /// The longest from the sending of a counted heartbeat to the counting of the next.
    longest: Duration,
}

impl Seen {
    /// Whether it has a session opened after `before`, in which a heartbeat was counted.
    pub fn is_back_since(&self, before: &Self) -> bool {
        self.manager.is_some() && self.sessions > before.sessions && self.confirmed.is_some()
    }
}

/// One runner's place on the board.
pub struct Slot(Arc<Mutex<Seen>>);

impl Slot {
    /// A session was opened with a member.
    pub fn opened(&self, manager: Option<usize>) {
        let mut seen = lock(&self.0);
        seen.manager = manager;
        seen.sessions += 1;
        seen.opened = Some(Instant::now());
        seen.confirmed = None;
    }

    /// A heartbeat that was sent at `sent` was acknowledged.
    pub fn counted(&self, sent: Instant) {
        let now = Instant::now();
        let mut seen = lock(&self.0);
        seen.confirmed.get_or_insert(now);
        if let Some(before) = seen.counted.replace(sent) {
            seen.longest = seen.longest.max(now - before);
        }
    }

    /// The session is over.
    pub fn over(&self) {
        lock(&self.0).manager = None;
    }
}

/// Nothing panics while one of these is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sessions that were not opened or broke off, by kind; and the first of them in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Failures {
    pub kinds: BTreeMap<&'static str, u64>,
    pub first: Option<String>,
}

/// Where all runners are seen.
#[derive(Debug, Default)]
pub struct Board {
    /// By name, and so by number.
    slots: Mutex<BTreeMap<String, Arc<Mutex<Seen>>>>,
    failures: Mutex<Failures>,
}

impl Board {
    /// The place of the runner with this name.
    pub fn slot(&self, name: String) -> Slot {
        Slot(lock(&self.slots).entry(name).or_default().clone())
    }

    /// A session was not opened, or broke off.
    pub fn failed(&self, failure: &Failure) {
        let mut failures = lock(&self.failures);
        *failures.kinds.entry(failure.kind()).or_default() += 1;
        failures.first.get_or_insert_with(|| failure.to_string());
    }
}

/// The runners of one process. Dropping it ends them.
pub struct Fleet {
    board: Arc<Board>,
    orders: Vec<watch::Sender<Order>>,
    tasks: JoinSet<()>,
    meter: Arc<Meter>,
    /// The number of the last order to live.
    visit: u32,
}

impl Fleet {
    /// Runners `0..count` join, `ramp` at a time; those that `chosen` picks will say so in their labels.
    ///
    /// # Errors
    /// One is refused for good, or failed too often.
    pub async fn join(
        doors: &Arc<Doors>,
        count: usize,
        ramp: usize,
        chosen: impl Fn(usize) -> bool,
        progress: &Progress,
    ) -> Result<Vec<Runner>> {
        let gate = Arc::new(Semaphore::new(ramp));
        let mut joining = JoinSet::new();
        for number in 0..count {
            let (doors, gate, chosen) = (doors.clone(), gate.clone(), chosen(number));
            joining.spawn(async move {
                // The semaphore is never closed.
                let _room = gate.acquire().await;
                Runner::join(doors, number, chosen, TRIES).await
            });
        }
        let mut runners = Vec::with_capacity(count);
        while let Some(joined) = joining.join_next().await {
            match joined.context("a runner panicked")? {
                Ok(runner) => runners.push(runner),
                Err(failure) => bail!("a runner could not join: {failure}"),
            }
            progress.counting("joined", runners.len(), count);
        }
        // In the order of their numbers, so that orders reach whom they are for.
        runners.sort_by(|one, other| one.name().cmp(other.name()));
        Ok(runners)
    }

    /// They begin to open their sessions, `ramp` at a time.
    pub fn start(runners: Vec<Runner>, ramp: usize, meter: Arc<Meter>) -> Self {
        let (board, gate) = (Arc::new(Board::default()), Arc::new(Semaphore::new(ramp)));
        let (mut orders, mut tasks) = (Vec::with_capacity(runners.len()), JoinSet::new());
        for runner in runners {
            board.slot(runner.name().to_owned());
            let (sender, receiver) = watch::channel(Order::Live(0));
            orders.push(sender);
            tasks.spawn(runner.live(receiver, board.clone(), gate.clone()));
        }
        Self {
            board,
            orders,
            tasks,
            meter,
            visit: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.orders.len()
    }

    /// The bytes and frames of all of them.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// All of them, by number.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.board.slots).values().map(|slot| *lock(slot)).collect()
    }

    /// How many sessions each member has.
    pub fn spread(&self) -> [usize; MEMBERS] {
        let mut spread = [0; MEMBERS];
        for manager in self.seen().iter().filter_map(|seen| seen.manager) {
            spread[manager] += 1;
        }
        spread
    }

    /// Tells runners something.
    pub fn tell(&self, whom: impl IntoIterator<Item = usize>, order: Order) {
        for number in whom {
            self.orders[number].send_replace(order);
        }
    }

    /// An order to live, as they have it now.
    pub fn live(&self) -> Order {
        Order::Live(self.visit)
    }

    /// All close their sessions and open others, each beginning at any manager.
    pub fn reopen(&mut self) {
        self.visit += 1;
        self.tell(0..self.len(), self.live());
    }

    /// Begins to count failures and to look for the longest time without a counted heartbeat.
    pub fn forget(&self) {
        *lock(&self.board.failures) = Failures::default();
        for slot in lock(&self.board.slots).values() {
            lock(slot).longest = Duration::ZERO;
        }
    }

    /// What failed since [`Self::forget`].
    pub fn failures(&self) -> Failures {
        lock(&self.board.failures).clone()
    }

    /// The longest that each runner went without a counted heartbeat since [`Self::forget`], those among them that
    /// go without one now.
    pub fn longest(&self) -> Vec<Duration> {
        let now = Instant::now();
        let open = |seen: &Seen| seen.counted.map_or(Duration::ZERO, |counted| now - counted);
        self.seen()
            .iter()
            .map(|seen| seen.longest.max(open(seen)))
            .collect()
    }

    /// Waits until `all` of something are counted by `count`.
    ///
    /// # Errors
    /// A runner's task has ended, which it never should, or it takes longer than `patience`.
    pub async fn until(
        &mut self,
        what: &str,
        all: usize,
        count: impl Fn(&[Seen]) -> usize,
        patience: Duration,
        progress: &Progress,
    ) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let done = count(&self.seen());
            progress.counting(what, done, all);
            if done >= all {
                return Ok(());
            }
            if let Some(ended) = self.tasks.try_join_next() {
                bail!("a runner's task has ended: {ended:?}");
            }
            if Instant::now() > deadline {
                let Failures { kinds, first } = self.failures();
                let first = first.unwrap_or_else(|| "nothing".to_owned());
                bail!("{what}: {done} of {all} within {patience:?}; failed: {kinds:?}, the first: {first}");
            }
            sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_counts_once_a_heartbeat_was_counted_in_it() {
        let board = Board::default();
        let slot = board.slot("box-00000".to_owned());
        slot.opened(Some(2));
        let before = *lock(&slot.0);
        slot.counted(Instant::now());
        slot.over();
        slot.opened(Some(0));
        assert!(!lock(&slot.0).is_back_since(&before));
        slot.counted(Instant::now());
        let now = *lock(&slot.0);
        assert!(now.is_back_since(&before) && now.manager == Some(0));
    }

    #[test]
    fn the_longest_lease_goes_over_sessions() {
        let board = Board::default();
        let slot = board.slot("box-00000".to_owned());
        let lease = Duration::from_secs(4);
        slot.counted(Instant::now() - lease);
        slot.over();
        slot.opened(Some(1));
        slot.counted(Instant::now());
        let longest = lock(&slot.0).longest;
        assert!((lease..lease * 2).contains(&longest), "{longest:?}");
    }

    #[test]
    fn failures_are_counted_by_kind_and_the_first_is_kept() {
        let board = Board::default();
        for what in ["slow to connect", "slow to answer", "slow to connect"] {
            board.failed(&Failure::Slow(what));
        }
        let failures = lock(&board.failures).clone();
        assert_eq!(
            failures.kinds,
            [("slow to answer", 1), ("slow to connect", 2)].into()
        );
        assert_eq!(failures.first.as_deref(), Some("slow to connect"));
    }
}
