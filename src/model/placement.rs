//! Replicas and placements: the numbered copies of an agent, and where they are.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{AgentId, AgentState, ContainerId, PlacementId, Revision, named::named};

/// Counts the changes of an agent's spec, from 1.
pub type Generation = u64;

/// One of an agent's numbered copies: `1` to the number of its replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId {
    /// The agent.
    pub agent: AgentId,
    /// Which of its copies.
    pub ordinal: u32,
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.agent, self.ordinal)
    }
}

/// What of a replica outlives its placements.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Replica {
    /// The revision of the entry that made its last active placement the active one: the fencing token.
    /// Zero before the first. It only grows.
    #[serde(default)]
    pub epoch: Revision,
    /// Why it has no active placement, where more is to be said than that it waits or was stopped.
    pub reason: Option<Arc<str>>,
}

named!(Replica, omit & ["epoch", "reason"]);

/// What a placement is to its replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacementRole {
    /// It acts, under the replica's epoch. A replica has one such placement at most.
    Active,
    /// It is prepared to become the active one.
    Incoming,
    /// It was the active one.
    Outgoing,
}

/// A replica in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Placement {
    /// The placement's id; none is given twice.
    pub id: PlacementId,
    /// Which replica.
    pub replica: ReplicaId,
    /// Where.
    pub container: ContainerId,
    /// The revision of the entry that made it the active one; zero before.
    #[serde(default)]
    pub epoch: Revision,
    /// Which generation of the agent's spec it runs.
    pub generation: Generation,
    /// What it is to its replica.
    pub role: PlacementRole,
    /// What was last observed; never pending.
    pub state: AgentState,
    /// Why it is in this state, for a person to act on.
    #[serde(default)]
    pub reason: String,
    /// How often its process was started again.
    #[serde(default)]
    pub restarts: u32,
    /// The revision of its last change.
    pub version: Revision,
}

named!(Placement, omit & ["epoch", "reason", "restarts"]);

impl Placement {
    /// Whether its process ended for good: it is not started again in this placement.
    pub fn is_over(&self) -> bool {
        self.state.is_over()
    }
}
