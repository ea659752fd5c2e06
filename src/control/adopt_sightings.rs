//! What engines have told this leader of containers that run, for whoever decides which of them to adopt.
//!
//! A container's labels count as its engine tells them: those in its record may be older, or a runner's own
//! words. How many are kept of one engine is bounded; one that tells of more is not believed the rest.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use crate::{
    model::{EngineId, Found, FoundState, Labels},
    state::State,
};

/// Running containers kept of one engine: more than one machine runs.
const MOST: usize = 4_096;

/// A container that runs.
#[derive(Debug)]
pub(super) struct Sighting {
    /// Since when it is known to.
    pub since: Instant,
    /// What labels its engine told last.
    pub labels: Labels,
}

/// Those that run, by the engine and by its own ids of them.
pub(super) type Running = BTreeMap<EngineId, BTreeMap<String, Sighting>>;

/// What engines have told of their containers to this leader.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    running: Mutex<Running>,
}

impl Sightings {
    /// Notes what an engine told.
    pub(super) fn note(&self, engine: EngineId, found: &[Found]) {
        let mut all = self.lock();
        let running = all.entry(engine).or_default();
        for one in found {
            if one.state != FoundState::Running {
                running.remove(&one.container);
            } else if let Some(known) = running.get_mut(&one.container) {
                if known.labels != one.labels {
                    known.labels.clone_from(&one.labels);
                }
            } else if running.len() < MOST {
                let seen = Sighting {
                    since: Instant::now(),
                    labels: one.labels.clone(),
                };
                running.insert(one.container.clone(), seen);
            }
        }
    }

    /// Forgets what an engine has no longer, be it known here or not.
    pub(super) fn keep(&self, engine: EngineId, has: impl Fn(&str) -> bool) {
        if let Some(running) = self.lock().get_mut(&engine) {
            running.retain(|theirs, _| has(theirs));
        }
    }

    /// Those that run now; those of engines that are no longer watched are forgotten.
    pub(super) fn running(&self, state: &State) -> MutexGuard<'_, Running> {
        let mut running = self.lock();
        running.retain(|engine, _| state.engine(*engine).is_some());
        running
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContainerId;

    const ENGINE: EngineId = EngineId(1);

    fn found(container: &str, state: FoundState, zone: &str) -> Found {
        Found {
            id: ContainerId(1),
            container: container.into(),
            name: "c".parse().unwrap(),
            image: String::new(),
            labels: Labels::lenient([("zone".to_owned(), zone.to_owned())]),
            networks: None,
            health: None,
            state,
            detail: String::new(),
        }
    }

    fn zone(sightings: &Sightings, container: &str) -> Option<String> {
        let running = sightings.lock();
        let seen = running.get(&ENGINE)?.get(container)?;
        seen.labels.get("zone").map(str::to_owned)
    }

    #[test]
    fn the_latest_word_counts_and_what_does_not_run_is_not_kept() {
        let sightings = Sightings::default();
        sightings.note(ENGINE, &[found("a", FoundState::Running, "1")]);
        assert_eq!(zone(&sightings, "a").as_deref(), Some("1"));
        sightings.note(ENGINE, &[found("a", FoundState::Running, "2")]);
        assert_eq!(zone(&sightings, "a").as_deref(), Some("2"));
        for state in [FoundState::Paused, FoundState::Dead] {
            sightings.note(ENGINE, &[found("a", FoundState::Running, "1")]);
            sightings.note(ENGINE, &[found("a", state, "1")]);
            assert_eq!(zone(&sightings, "a"), None);
        }
    }

    #[test]
    fn an_engine_that_tells_without_end_fills_no_memory() {
        let sightings = Sightings::default();
        let many: Vec<_> = (0..MOST + 100)
            .map(|at| found(&format!("{at}"), FoundState::Running, "1"))
            .collect();
        sightings.note(ENGINE, &many);
        assert_eq!(sightings.lock()[&ENGINE].len(), MOST);
        // Those that are kept still go when they end, and leave room.
        sightings.note(ENGINE, &[found("0", FoundState::Dead, "1")]);
        sightings.note(ENGINE, &many[MOST..=MOST]);
        assert_eq!(sightings.lock()[&ENGINE].len(), MOST);
        assert!(zone(&sightings, "0").is_none());
        // Nobody watches it any more.
        assert!(sightings.running(&State::default()).is_empty());
    }
}
