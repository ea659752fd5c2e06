//! Commands about containers.

use serde::{Deserialize, Serialize};

use super::Condition;
use crate::model::{
    Capabilities, ContainerId, ContainerState, EngineId, Found, JoinTokenId, Labels, Name, Resources,
};

/// A change of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ContainerCommand {
    /// A runner showed a join token and wants to be this container.
    Enroll {
        /// The id a new record gets.
        id: ContainerId,
        /// The join token that was shown.
        token: JoinTokenId,
        /// The name it asks for.
        name: Name,
        /// The engine's own id of its container.
        engine_container: Option<String>,
    },
    /// An operator registers a container before its runner comes.
    Register {
        /// The id the record gets.
        id: ContainerId,
        /// Its name.
        name: Name,
        /// Its labels.
        labels: Labels,
    },
    /// A runner with a certificate opened a session.
    Connect {
        /// Which container.
        id: ContainerId,
        /// Changes with each start of the runner.
        boot: u64,
        /// Where the session came from.
        address: String,
        /// The engine's own id of its container.
        engine_container: Option<String>,
        /// Labels of the runner's configuration.
        labels: Labels,
        /// What the runner found out.
        capabilities: Capabilities,
        /// What it can host.
        resources: Resources,
    },
    /// What the liveness of a container's runner says now.
    Judge {
        /// Which container.
        id: ContainerId,
        /// The start of the runner that is judged; a later one is left alone.
        boot: u64,
        /// `Ready`, `Suspect` or `Lost`.
        state: ContainerState,
        /// Whether its exclusive agents are proven unable to act.
        fenced: bool,
        /// Why.
        reason: String,
    },
    /// An engine told about its containers.
    Observe {
        /// Which engine.
        engine: EngineId,
        /// What it told.
        found: Vec<Found>,
        /// Whether `found` is all it has: what is missing is gone.
        complete: bool,
    },
    /// Forgets a container.
    Remove {
        /// Which.
        id: ContainerId,
        /// What must hold before.
        condition: Condition,
    },
}
