//! Commands about agents and their placements.

use serde::{Deserialize, Serialize};

use super::Condition;
use crate::model::{AgentId, AgentSpec, ContainerId, Desired, Revision, session::AgentReport};

/// A change of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AgentCommand {
    /// Accepts a new agent.
    Deploy {
        /// The id it gets.
        id: AgentId,
        /// What to run.
        spec: AgentSpec,
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
    /// Places agents, as planned on an earlier state.
    Place(Vec<Placement>),
    /// A runner tells what it observed.
    Report {
        /// Where.
        container: ContainerId,
        /// Which start of the runner tells it.
        boot: u64,
        /// What.
        reports: Vec<AgentReport>,
    },
}

/// One decision of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Which agent.
    pub agent: AgentId,
    /// The agent's version the plan was made on; another one refuses the placement.
    pub version: Revision,
    /// Where to.
    pub container: ContainerId,
}
