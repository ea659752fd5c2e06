//! How fast engines answer the leader, which watches them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::model::EngineId;

/// The last round trip to each engine that is watched from here.
#[derive(Debug, Default)]
pub struct EngineTrips(Mutex<BTreeMap<EngineId, Duration>>);

impl EngineTrips {
    /// All that are known.
    pub fn all(&self) -> BTreeMap<EngineId, Duration> {
        self.with(|trips| trips.clone())
    }

    pub(super) fn note(&self, engine: EngineId, took: Duration) {
        self.with(|trips| trips.insert(engine, took));
    }

    pub(super) fn forget(&self, engine: EngineId) {
        self.with(|trips| trips.remove(&engine));
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<EngineId, Duration>) -> T) -> T {
        // Nothing panics while it is held.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Notes one engine's round trips for as long as it is watched.
#[derive(Debug)]
pub(super) struct Noted {
    pub trips: std::sync::Arc<EngineTrips>,
    pub engine: EngineId,
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.trips.forget(self.engine);
    }
}
