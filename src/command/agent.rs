//! Commands about agents and their placements.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Condition;
use crate::model::{
    AgentId, AgentSpec, ContainerId, Desired, Generation, ReplicaId, Revision, session::PlacementReport,
};

/// A change of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AgentCommand {
    /// Accepts a new agent.
    Deploy {
        /// The id it gets.
        id: AgentId,
        /// What to run. Shared: nobody who proposes, replicates or applies it copies it.
        spec: Arc<AgentSpec>,
    },
    /// Sets what the operator wants.
    SetDesired {
        /// Which agent.
        id: AgentId,
        /// Running, stopped or removed.
        desired: Desired,
        /// What must hold before.
        condition: Condition,
    },
    /// Places replicas, as planned on an earlier state.
    Place(Vec<Binding>),
    /// A runner tells what it observed.
    Report {
        /// Where.
        container: ContainerId,
        /// Which start of the runner tells it.
        boot: u64,
        /// What.
        reports: Vec<PlacementReport>,
    },
}

/// One decision of a plan: which container a replica gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Which replica.
    pub replica: ReplicaId,
    /// The replica's epoch that the plan saw; a later one refuses the binding.
    pub after: Revision,
    /// The generation that the plan saw; another one refuses the binding.
    pub generation: Generation,
    /// Where to.
    pub container: ContainerId,
}
