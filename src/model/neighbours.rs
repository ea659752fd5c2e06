//! What one manager sees of its neighbours at a moment. Never in the log.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ContainerId, EngineId, ManagerId};

/// How long a question and its answer took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoundTrip(pub u64);

impl From<Duration> for RoundTrip {
    fn from(took: Duration) -> Self {
        Self(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
    }
}

/// What a manager reaches, and how fast. What is not known yet has no round trip.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbours {
    /// Other managers.
    pub managers: Vec<(ManagerId, Option<RoundTrip>)>,
    /// Engines it watches; only a leader does.
    pub engines: Vec<(EngineId, RoundTrip)>,
    /// Containers whose sessions it holds.
    pub sessions: Vec<(ContainerId, Option<RoundTrip>)>,
}
