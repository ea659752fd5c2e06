//! The sessions of this manager, and one look at the state for all of them.
//!
//! Cost: while nothing about containers and placements changes, a look is three pointer comparisons,
//! whatever the number of sessions. Otherwise it finds each session's container and placed agents
//! in the state: two searches in a tree, two pointer comparisons (1.3 µs unoptimised, measured with
//! 5,000 sessions). It then rests nine times as long as it took, so that looks take a tenth of one
//! core at most. Only sessions that see a difference are woken and read their agents.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use imbl::{OrdMap, OrdSet};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::streams::{OpenError, Slot};
use crate::{
    consensus::Consensus,
    model::{Container, ContainerId, PlacementId, RoundTrip},
    state::State,
    telemetry,
    wire::streams::Mux,
};

/// Between looks at least.
const REST: Duration = Duration::from_millis(5);

/// A rest is this many times as long as the look before it.
const REST_SHARE: u32 = 9;

/// A session as the rest of this manager sees it.
#[derive(Debug)]
pub(super) struct Handle {
    pub container: ContainerId,
    /// Which start of the runner speaks.
    pub boot: u64,
    wake: Notify,
    /// The latest heartbeat that was counted.
    counted: AtomicU64,
    /// How long the last echo took, in microseconds; zero before the first.
    trip: AtomicU64,
    changed: AtomicBool,
    replaced: AtomicBool,
    seen: Mutex<Option<Seen>>,
    /// Its second connection.
    pub streams: Slot,
}

/// What was last seen of a session's container. Holding on to it keeps its pointers from being given
/// to something else.
#[derive(Debug)]
struct Seen {
    container: Option<Arc<Container>>,
    placements: Option<OrdSet<PlacementId>>,
}

impl Seen {
    fn of(state: &State, id: ContainerId) -> Self {
        Self {
            container: state.container(id).cloned(),
            placements: state.placed(id).map(|placed| placed.placements.clone()),
        }
    }

    /// Whether nothing changed. The set of a container's placements becomes another one with each
    /// change of any of them, so its identity stands for all of them.
    fn holds(&self, state: &State, id: ContainerId) -> bool {
        let container = match (&self.container, state.container(id)) {
            (Some(seen), Some(now)) => Arc::ptr_eq(seen, now),
            (None, None) => true,
            _ => false,
        };
        let placements = match (&self.placements, state.placed(id)) {
            (Some(seen), Some(now)) => seen.ptr_eq(&now.placements),
            (None, None) => true,
            _ => false,
        };
        container && placements
    }
}

impl Handle {
    pub(super) fn new(container: ContainerId, boot: u64) -> Self {
        Self {
            container,
            boot,
            wake: Notify::new(),
            counted: AtomicU64::new(0),
            trip: AtomicU64::new(0),
            // The first list is always due.
            changed: AtomicBool::new(true),
            replaced: AtomicBool::new(false),
            seen: Mutex::new(None),
            streams: Slot::default(),
        }
    }

    /// The connection for streams, which the runner is asked for if there is none.
    pub(super) async fn streams(&self) -> Result<Arc<Mux>, OpenError> {
        self.streams.get(|| self.wake.notify_one()).await
    }

    /// Waits until there is something to look at.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// A heartbeat was counted by a confirmed leader.
    pub(super) fn acknowledge(&self, seq: u64) {
        self.counted.fetch_max(seq, Ordering::AcqRel);
        self.wake.notify_one();
    }

    pub(super) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Acquire)
    }

    /// An echo came back.
    pub(super) fn echoed(&self, trip: RoundTrip) {
        self.trip.store(trip.0.max(1), Ordering::Relaxed);
    }

    fn round_trip(&self) -> Option<RoundTrip> {
        match self.trip.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(RoundTrip(micros)),
        }
    }

    /// Whether what the state says of the container may have changed since the last call.
    pub(super) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    pub(super) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    fn replace(&self) {
        self.replaced.store(true, Ordering::Release);
        self.streams.end();
        self.wake.notify_one();
    }

    /// Wakes the session if the state is not what was seen before.
    fn look(&self, state: &State) {
        // Held for a comparison only, by one task.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.as_ref().is_some_and(|s| s.holds(state, self.container)) {
            *seen = Some(Seen::of(state, self.container));
            self.changed.store(true, Ordering::Release);
            self.wake.notify_one();
        }
    }
}

/// All sessions, by container.
pub struct Roster {
    sessions: Mutex<OrdMap<ContainerId, Arc<Handle>>>,
    gauge: metrics::Gauge,
}

impl Default for Roster {
    fn default() -> Self {
        Self {
            sessions: Mutex::default(),
            gauge: metrics::gauge!(telemetry::SESSIONS),
        }
    }
}

impl std::fmt::Debug for Roster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roster").finish_non_exhaustive()
    }
}

/// A session's place in the roster, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    roster: &'a Roster,
    handle: Arc<Handle>,
}

impl Roster {
    /// The containers whose sessions are open here, with the round trip to each runner that is known.
    pub fn open(&self) -> Vec<(ContainerId, Option<RoundTrip>)> {
        let sessions = self.with(|sessions| sessions.clone());
        sessions
            .iter()
            .map(|(id, handle)| (*id, handle.round_trip()))
            .collect()
    }

    /// The session of a container, if it is open here.
    pub(super) fn session(&self, container: ContainerId) -> Option<Arc<Handle>> {
        self.with(|sessions| sessions.get(&container).cloned())
    }

    /// Notes a session. An earlier one of the same container is told to end.
    pub(super) fn enter(&self, handle: Arc<Handle>) -> Place<'_> {
        let former = self.with(|sessions| sessions.insert(handle.container, handle.clone()));
        if let Some(former) = former {
            former.replace();
        }
        self.gauge.increment(1.0);
        Place { roster: self, handle }
    }

    /// Looks at the state after each change, for all sessions, for ever.
    pub(super) async fn fan_out(&self, consensus: &Consensus) {
        let mut applied = consensus.watch_objects();
        let mut last = Arc::clone(&consensus.objects());
        while applied.changed().await.is_ok() {
            let began = Instant::now();
            let state = Arc::clone(&consensus.objects());
            if !state.same_placing(&last) {
                self.look(&state);
            }
            last = state;
            sleep(REST.max(began.elapsed() * REST_SHARE)).await;
        }
    }

    fn look(&self, state: &State) {
        let sessions = self.with(|sessions| sessions.clone());
        sessions.values().for_each(|handle| handle.look(state));
    }

    fn with<T>(&self, act: impl FnOnce(&mut OrdMap<ContainerId, Arc<Handle>>) -> T) -> T {
        // Nothing panics while it is held.
        act(&mut self.sessions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.handle.streams.end();
        self.roster.gauge.decrement(1.0);
        self.roster.with(|sessions| {
            let mine = sessions.get(&self.handle.container);
            if mine.is_some_and(|known| Arc::ptr_eq(known, &self.handle)) {
                sessions.remove(&self.handle.container);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::{
        model::{AgentState, Desired},
        state::bench::StateBench,
    };

    const ONE: ContainerId = ContainerId(1);
    const TWO: ContainerId = ContainerId(2);

    fn woken(handle: &Handle) -> bool {
        let woken = handle.woken().now_or_never().is_some();
        assert_eq!(handle.take_changed(), woken);
        woken
    }

    #[test]
    fn a_look_wakes_only_sessions_whose_container_or_agents_changed() {
        let mut bench = StateBench::with_containers(2);
        let roster = Roster::default();
        let handles = [ONE, TWO].map(|id| Arc::new(Handle::new(id, 1)));
        let _places = handles.clone().map(|handle| roster.enter(handle));
        let look = |bench: &StateBench| {
            roster.look(&bench.state);
            handles.each_ref().map(|handle| woken(handle))
        };
        assert_eq!(look(&bench), [true, true], "the first look");
        assert_eq!(look(&bench), [false, false]);
        bench.waiting(7, "", 0);
        assert_eq!(look(&bench), [false, false]);
        assert!(bench.place(7, 1));
        assert_eq!(look(&bench), [true, false]);
        bench.desire(7, Desired::Stopped).unwrap();
        assert_eq!(
            look(&bench),
            [true, false],
            "the set of agents is the same, one agent is not"
        );
        bench.waiting(8, "", 0);
        assert!(bench.place(8, 2));
        assert_eq!(look(&bench), [false, true]);
        bench.report(1, 7, AgentState::Stopped).unwrap();
        assert_eq!(look(&bench), [true, false]);
        bench.remove(1).unwrap();
        assert_eq!(look(&bench), [true, false]);
    }

    #[test]
    fn a_container_that_went_before_the_first_look_wakes_its_session() {
        let mut bench = StateBench::with_containers(1);
        let roster = Roster::default();
        let handle = Arc::new(Handle::new(ONE, 1));
        let _place = roster.enter(handle.clone());
        assert!(handle.take_changed());
        bench.remove(1).unwrap();
        roster.look(&bench.state);
        assert!(woken(&handle));
    }

    #[test]
    fn an_earlier_session_that_ends_late_leaves_the_later_ones_place() {
        let roster = Roster::default();
        let [first, second] = [1, 1].map(|boot| Arc::new(Handle::new(ONE, boot)));
        let place = roster.enter(first.clone());
        let later = roster.enter(second.clone());
        assert!(first.is_replaced() && !second.is_replaced());
        drop(place);
        assert!(Arc::ptr_eq(&roster.with(|s| s[&ONE].clone()), &second));
        drop(later);
        assert!(roster.with(|s| s.is_empty()));
    }
}
