//! Watches the engines and proposes what they tell.
//!
//! One task an engine, so that one that hangs holds up no other. Only what changes the state is
//! proposed: a resync of an unchanged engine writes nothing to the log.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{EngineTrips, Replica, adopt_sightings::Sightings, engine_trips::Noted};
use crate::{
    command::{Command, ContainerCommand, EngineCommand, Loop},
    engine::{self, Endpoint, EngineAccess, EngineNews},
    model::{Container, Engine, EngineId, EngineState, Found, FoundState, HealthStatus, Networks, Revision},
};

/// The set of engines is looked at this often at most, and at least.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Containers told of in one entry: keeps an entry well below the log's row size.
const BATCH: usize = 12;

/// Entries of one list on their way at once.
const AT_ONCE: usize = 4;

/// How much later than its cause an event may arrive and still end the right start of a runner.
/// What connected within this time is settled by the next list instead.
const EVENT_SLACK: Duration = Duration::from_secs(1);

/// The longest reason, in characters.
const REASON: usize = 500;

/// How often the revision is noted, and doubts are looked into.
const TICK: Duration = Duration::from_millis(500);

/// Revisions noted for looking back: more than a list may take.
const NOTES: usize = 64;

pub(super) async fn run<R: Replica>(
    replica: R,
    trips: Arc<EngineTrips>,
    access: EngineAccess,
    sightings: Arc<Sightings>,
) {
    let mut applied = replica.watch_applied();
    let mut watchers: BTreeMap<EngineId, (Endpoint, JoinSet<()>)> = BTreeMap::new();
    loop {
        applied.mark_unchanged();
        let state = replica.state();
        // Dropping a watcher's set aborts it.
        watchers.retain(|id, (endpoint, task)| {
            let engine = state.engine(*id);
            engine.is_some_and(|engine| access.to(engine) == *endpoint) && task.try_join_next().is_none()
        });
        for engine in state.engines() {
            watchers.entry(engine.id).or_insert_with(|| {
                let (mut task, endpoint) = (JoinSet::new(), access.to(engine));
                let trips = Noted {
                    trips: trips.clone(),
                    engine: engine.id,
                };
                task.spawn(watch(replica.clone(), endpoint.clone(), trips, sightings.clone()));
                (endpoint, task)
            });
        }
        sleep(LOOK.0).await;
        // The sender lives as long as the replica, which this loop holds; a time-out is the period.
        let _ = timeout(LOOK.1, applied.changed()).await;
    }
}

/// Proposes what one engine tells, until its watcher ends.
async fn watch<R: Replica>(replica: R, endpoint: Endpoint, trips: Noted, sightings: Arc<Sightings>) {
    let (tell, mut news) = mpsc::channel(256);
    let resync = Arc::new(Notify::new());
    let mut watcher = JoinSet::new();
    watcher.spawn(engine::watch(endpoint, tell, resync.clone()));
    let mut scribe = Scribe {
        replica,
        engine: trips.engine,
        trips,
        revisions: Revisions::default(),
        doubt: None,
        sightings,
    };
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            next = news.recv() => match next {
                Some(next) => scribe.take(next).await,
                None => return,
            },
            _ = tick.tick() => {
                scribe.revisions.note(Instant::now(), scribe.replica.state().revision());
                // Not at once: by then the revision noted before the list covers what was too young.
                if scribe.doubt.is_some_and(|since| since.elapsed() > 2 * TICK) {
                    scribe.doubt = None;
                    resync.notify_one();
                }
            }
        }
    }
}

/// Which revision was applied here at a moment past.
#[derive(Debug, Default)]
struct Revisions {
    notes: VecDeque<(Instant, Revision)>,
}

impl Revisions {
    fn note(&mut self, now: Instant, revision: Revision) {
        self.notes.push_back((now, revision));
        if self.notes.len() > NOTES {
            self.notes.pop_front();
        }
    }

    /// A revision that was applied at `moment`; zero when none is known.
    fn at(&self, moment: Instant) -> Revision {
        let before = self.notes.iter().rev().find(|(noted, _)| *noted <= moment);
        before.map_or(0, |(_, revision)| *revision)
    }
}

/// Writes one engine's news down.
struct Scribe<R> {
    replica: R,
    engine: EngineId,
    trips: Noted,
    revisions: Revisions,
    /// Since when a death was told that is not in effect: the runner was too young for the news, or
    /// the proposal failed. Another list settles it.
    doubt: Option<Instant>,
    sightings: Arc<Sightings>,
}

impl<R: Replica> Scribe<R> {
    async fn take(&mut self, news: EngineNews) {
        match news {
            EngineNews::Told { at, found } => {
                let as_of = self.revisions.at(at.checked_sub(EVENT_SLACK).unwrap_or(at));
                self.observe(as_of, vec![found]).await;
            }
            EngineNews::Listed {
                asked_at,
                round_trip,
                mut found,
                newer,
            } => {
                self.trips.trips.note(self.engine, round_trip);
                let as_of = self.revisions.at(asked_at);
                let told: BTreeSet<&str> = found.iter().map(|one| one.container.as_str()).collect();
                self.sightings.keep(self.engine, |theirs| {
                    told.contains(theirs) || newer.contains(theirs)
                });
                found.extend(self.gone(&found, &newer));
                self.observe(as_of, found).await;
                self.set_state(EngineState::Connected, "it answers and its events arrive")
                    .await;
            }
            EngineNews::Unreachable { reason } => {
                self.trips.trips.forget(self.engine);
                self.set_state(EngineState::Unreachable, &reason).await;
            }
        }
    }

    /// Reports of death for what the engine no longer has.
    fn gone(&self, found: &[Found], newer: &BTreeSet<String>) -> Vec<Found> {
        let told: BTreeSet<&str> = found.iter().map(|one| one.container.as_str()).collect();
        let gone = |container: &Arc<Container>| {
            let place = container.engine.as_ref()?;
            let here = place.engine == self.engine;
            let known = told.contains(place.container.as_str()) || newer.contains(&place.container);
            (here && !known).then(|| Found {
                id: container.id,
                container: place.container.clone(),
                name: container.name.clone(),
                image: container.image.clone().unwrap_or_default(),
                labels: container.labels.clone(),
                networks: Some(Networks::default()),
                health: Some(HealthStatus::Unchecked),
                state: FoundState::Dead,
                detail: "gone".into(),
            })
        };
        self.replica.state().containers(None).filter_map(gone).collect()
    }

    async fn observe(&mut self, as_of: Revision, found: Vec<Found>) {
        self.sightings.note(self.engine, &found);
        let (replica, engine) = (&self.replica, self.engine);
        let state = replica.state();
        let mut news: Vec<&Found> = found
            .iter()
            .filter(|one| state.observation_matters(engine, as_of, one))
            .collect();
        // Deaths first: somebody waits for them.
        news.sort_by_key(|one| one.state != FoundState::Dead);
        for one in &news {
            tracing::info!(%engine, name = %one.name, state = ?one.state, detail = %one.detail, "an engine tells");
        }
        let entries = news.chunks(BATCH).map(|chunk| ContainerCommand::Observe {
            engine,
            as_of,
            found: chunk.iter().map(|one| (*one).clone()).collect(),
        });
        futures::stream::iter(entries)
            .for_each_concurrent(AT_ONCE, |entry| report(replica, Command::Container(entry)))
            .await;
        let after = replica.state();
        let untold = |one: &Found| {
            one.state == FoundState::Dead && after.observation_matters(engine, Revision::MAX, one)
        };
        if found.iter().any(untold) {
            self.doubt.get_or_insert_with(Instant::now);
        }
    }

    async fn set_state(&self, state: EngineState, reason: &str) {
        // Shortened here, so that it can be compared with what is known.
        let reason: String = reason.chars().take(REASON).collect();
        let now = self.replica.state();
        let told = |engine: &Arc<Engine>| engine.state == state && engine.reason == reason;
        if now.engine(self.engine).is_none_or(told) {
            return;
        }
        tracing::info!(engine = %self.engine, ?state, reason, "an engine changed");
        let command = EngineCommand::SetState {
            id: self.engine,
            state,
            reason,
        };
        report(&self.replica, Command::Engine(command)).await;
    }
}

async fn report<R: Replica>(replica: &R, command: Command) {
    match replica.propose(Loop::Discover, command).await {
        Ok(reply) => {
            if let Err(rejection) = reply.result {
                tracing::debug!(%rejection, "an engine's news were refused");
            }
        }
        Err(error) => tracing::warn!(%error, "an engine's news were not confirmed"),
    }
}

#[cfg(test)]
#[path = "discover_tests.rs"]
mod tests;
