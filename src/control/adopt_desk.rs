//! Which containers a runner is to be brought into now, and what has come of it before.
//!
//! Whoever has waited longest is next: in any fixed order, those that fail first would keep the slots of
//! their engine from the others.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use super::{adopt::Adopter, adopt_sightings::Sightings};
use crate::{
    engine::{Endpoint, EngineAccess, adopt::is_meant},
    model::{Container, ContainerId, ContainerState, Engine, EngineId, EngineState},
    state::State,
};

/// Pauses between attempts at one container: they double from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long a runner that was started may take to join before it is looked at again.
pub(super) const JOINING: Duration = Duration::from_secs(10);

/// How long a container must have had a runner until its failures are forgotten.
const SETTLED: Duration = Duration::from_secs(60);

/// What was tried in one container.
#[derive(Debug)]
pub(super) struct Tried {
    engine: EngineId,
    under_way: bool,
    failures: u32,
    pub(super) not_before: Instant,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// There was nothing to do.
    Idle,
    /// A runner is in it, and has to join.
    Runs,
    /// None is in it, or nobody knows: the next attempt comes later than this one did.
    Failed,
}

/// A container to try, and since when it is its turn.
struct Due {
    since: Instant,
    engine: EngineId,
    container: Arc<Container>,
}

/// The attempts that are under way, and what came of the others.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) tried: BTreeMap<ContainerId, Tried>,
    pub(super) work: JoinSet<(ContainerId, End)>,
}

impl Desk {
    /// Containers that are gone or have had a runner for long enough begin anew.
    pub(super) fn forget(&mut self, state: &State) {
        let now = Instant::now();
        self.tried.retain(|id, tried| {
            let settled = |container: &Arc<Container>| {
                container.state == ContainerState::Ready && now > tried.not_before + SETTLED
            };
            tried.under_way || state.container(*id).is_some_and(|known| !settled(known))
        });
    }

    /// The containers to try now.
    pub(super) fn choose(
        &mut self,
        state: &State,
        sightings: &Sightings,
        access: &EngineAccess,
        adopter: &Adopter,
    ) -> Vec<(Arc<Container>, Endpoint)> {
        let now = Instant::now();
        let mut due = self.due(now, state, sightings, adopter);
        due.sort_by_key(|due| due.since);
        let mut busy: BTreeMap<EngineId, usize> = BTreeMap::new();
        for tried in self.tried.values().filter(|tried| tried.under_way) {
            *busy.entry(tried.engine).or_default() += 1;
        }
        let mut chosen = Vec::new();
        for Due {
            engine, container, ..
        } in due
        {
            let Some(watched) = state.engine(engine) else {
                continue;
            };
            let there = busy.entry(engine).or_default();
            if *there >= adopter.at_once {
                continue;
            }
            *there += 1;
            let tried = self.tried.entry(container.id).or_insert(Tried {
                engine,
                under_way: true,
                failures: 0,
                not_before: now,
            });
            tried.under_way = true;
            tried.engine = engine;
            chosen.push((container, access.to(watched)));
        }
        chosen
    }

    /// All whose turn it would be, if there were room.
    fn due(&self, now: Instant, state: &State, sightings: &Sightings, adopter: &Adopter) -> Vec<Due> {
        let running = sightings.running(state);
        let mut due = Vec::new();
        for (engine, containers) in running.iter() {
            let answers = |engine: &Arc<Engine>| engine.state != EngineState::Unreachable;
            if !state.engine(*engine).is_some_and(answers) {
                continue;
            }
            for (theirs, seen) in containers {
                let known = state.engine_container(*engine, theirs);
                let Some(container) = known.filter(|known| lacks_runner(known)) else {
                    continue;
                };
                let tried = self.tried.get(&container.id);
                let under_way = tried.is_some_and(|tried| tried.under_way);
                if under_way || !is_meant(&adopter.selector, |key| seen.labels.get(key)) {
                    continue;
                }
                let graced = seen.since + adopter.grace;
                let since = tried.map_or(graced, |tried| graced.max(tried.not_before));
                if since <= now {
                    due.push(Due {
                        since,
                        engine: *engine,
                        container: container.clone(),
                    });
                }
            }
        }
        due
    }

    /// Takes note of an attempt's end.
    pub(super) fn ended(&mut self, id: ContainerId, end: End) {
        let Some(tried) = self.tried.get_mut(&id) else {
            return;
        };
        tried.under_way = false;
        let pause = RETRY
            .0
            .saturating_mul(2u32.saturating_pow(tried.failures))
            .min(RETRY.1);
        let pause = match end {
            // The engine tells when the container goes on; this is for news that were lost.
            End::Idle => RETRY.0,
            End::Runs => pause.max(JOINING),
            End::Failed => pause,
        };
        if end != End::Idle {
            tried.failures = tried.failures.saturating_add(1);
        }
        tried.not_before = Instant::now() + pause;
    }
}

/// Whether a runner may have to be brought in, if the container runs.
fn lacks_runner(container: &Container) -> bool {
    match container.state {
        ContainerState::Candidate | ContainerState::Registered => true,
        ContainerState::Ready => false,
        // A runner that came by itself may come again by itself.
        ContainerState::Suspect | ContainerState::Lost => container.adoption.is_some(),
    }
}
