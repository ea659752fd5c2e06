//! Containers, agents and engines.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    model::{
        Agent, AgentId, AgentSpec, AgentState, Assessment, Capabilities, Container, ContainerId,
        ContainerState, Desired, Engine, EngineId, EngineState, EngineUrl, Generation, HealthStatus, Labels,
        ManagerId, Millis, Name, Networks, PlacementId, Resources, Revision,
    },
    state::{ReplicaStatus, State},
};

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerView {
    /// Its id; it stays the same across addresses, sessions and restarts.
    #[schema(value_type = String)]
    pub id: ContainerId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// The revision of its last change; the ETag.
    pub version: Revision,
    /// `candidate`, `registered`, `ready`, `suspect` or `lost`.
    #[schema(value_type = String)]
    pub state: ContainerState,
    /// Why it is in this state.
    pub reason: String,
    /// Whether its agents are proven unable to act.
    pub fenced: bool,
    /// Why an operator wants no new agents in it, perhaps empty; null unless it is cordoned.
    pub cordoned: Option<String>,
    /// The engine it was found on.
    #[schema(value_type = Option<String>)]
    pub engine: Option<EngineId>,
    /// The engine's own id of it.
    pub engine_container: Option<String>,
    /// Where its runner was last seen.
    pub address: Option<String>,
    /// The manager that holds its runner's session; null while there is none.
    #[schema(value_type = Option<u64>)]
    pub manager: Option<ManagerId>,
    /// The key of a candidate that a scan found, which is what is approved: 64 hexadecimal digits.
    pub fingerprint: Option<String>,
    /// The image it was started from.
    pub image: Option<String>,
    /// The networks of its engine that it is connected to; at most 16 are noted.
    #[schema(value_type = Vec<String>)]
    pub networks: Networks,
    /// What the engine's health check says: `unchecked`, `starting`, `healthy` or `unhealthy`. One that is
    /// unhealthy keeps its agents and gets no new ones.
    #[schema(value_type = String)]
    pub health: HealthStatus,
    /// Its labels.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub labels: Labels,
    /// Whether its runner was brought in by a manager, not started by the container itself.
    pub adopted: bool,
    /// What was last done to bring a runner in, or why that can't be done; null where none was missing.
    pub adoption: Option<String>,
    /// What its runner found out.
    #[schema(value_type = Object)]
    pub capabilities: Capabilities,
    /// What its runner found when it looked at it: processors, limits, disk, GPUs, interpreters, and what
    /// its configuration declares. Null until it has looked.
    #[schema(value_type = Option<Object>)]
    pub assessment: Option<Arc<Assessment>>,
    /// What it can host in all.
    #[schema(value_type = Object)]
    pub resources: Resources,
    /// What the agents placed on it ask for together.
    #[schema(value_type = Object)]
    pub used: Resources,
    /// How many agents are placed on it.
    pub agents: usize,
    /// When it was registered.
    #[schema(value_type = u64)]
    pub registered_at: Millis,
}

impl ContainerView {
    /// A container with what is placed on it.
    pub fn new(container: &Container, used: Resources, agents: usize) -> Self {
        Self {
            id: container.id,
            name: container.name.clone(),
            version: container.version,
            state: container.state,
            reason: container.reason.clone(),
            fenced: container.fenced,
            cordoned: container.cordoned.clone(),
            engine: container.engine.as_ref().map(|place| place.engine),
            engine_container: container.engine_container.clone(),
            address: container.address.clone(),
            manager: container.holder(),
            fingerprint: container.fingerprint.clone(),
            image: container.image.clone(),
            networks: container.networks.clone(),
            health: container.health,
            labels: container.labels.clone(),
            adopted: container.adoption.as_ref().is_some_and(|known| known.adopted),
            adoption: container.adoption.as_ref().map(|known| known.reason.clone()),
            capabilities: container.capabilities.clone(),
            assessment: container.assessment.clone(),
            resources: container.resources,
            used,
            agents,
            registered_at: container.registered_at,
        }
    }
}

/// Registers a container before its runner comes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerRequest {
    /// Its name; the runner joins under the same.
    #[schema(value_type = String)]
    pub name: Name,
    /// Its labels.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub labels: Labels,
}

/// Cordons a container.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CordonRequest {
    /// Why, for a person to read; at most 512 characters are kept.
    #[serde(default)]
    pub reason: String,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: AgentId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// The revision of its last change; the ETag.
    pub version: Revision,
    /// What was last observed of its first replica: `pending`, `assigned`, `starting`, `running`, `stopping`,
    /// `stopped` or `failed`.
    #[schema(value_type = String)]
    pub state: AgentState,
    /// Why it is in this state.
    pub reason: String,
    /// What the operator wants: `running`, `stopped` or `removed`.
    #[schema(value_type = String)]
    pub desired: Desired,
    /// Counts the changes of its spec, from 1.
    pub generation: Generation,
    /// Where its first replica is placed.
    #[schema(value_type = Option<String>)]
    pub container: Option<ContainerId>,
    /// The name of that container.
    #[schema(value_type = Option<String>)]
    pub container_name: Option<Name>,
    /// The revision that placed its first replica: the fencing token.
    pub epoch: Revision,
    /// How often that one's process was started again in its placement.
    pub restarts: u32,
    /// Its replicas, in order.
    pub replicas: Vec<ReplicaView>,
    /// When it was deployed.
    #[schema(value_type = u64)]
    pub deployed_at: Millis,
    /// What to run.
    #[schema(value_type = Object)]
    pub spec: Arc<AgentSpec>,
}

impl AgentView {
    /// An agent with where its replicas are.
    pub fn new(agent: &Agent, state: &State) -> Self {
        let replicas: Vec<_> = state
            .replicas(agent)
            .into_iter()
            .map(|status| ReplicaView::new(status, state))
            .collect();
        // An agent has at least one; without, it would be one that waits.
        let first = replicas.first();
        Self {
            id: agent.id,
            name: agent.spec.name.clone(),
            version: agent.version,
            state: first.map_or(AgentState::Pending, |first| first.state),
            reason: first.map(|first| first.reason.clone()).unwrap_or_default(),
            desired: agent.desired,
            generation: agent.generation,
            container: first.and_then(|first| first.container),
            container_name: first.and_then(|first| first.container_name.clone()),
            epoch: first.map_or(0, |first| first.epoch),
            restarts: first.map_or(0, |first| first.restarts),
            replicas,
            deployed_at: agent.deployed_at,
            spec: agent.spec.clone(),
        }
    }
}

/// One of an agent's numbered copies, and its placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaView {
    /// Which copy, from 1.
    pub ordinal: u32,
    /// The id of its placement; null where it has none.
    #[schema(value_type = Option<String>)]
    pub placement: Option<PlacementId>,
    /// Where it is placed.
    #[schema(value_type = Option<String>)]
    pub container: Option<ContainerId>,
    /// The name of that container.
    #[schema(value_type = Option<String>)]
    pub container_name: Option<Name>,
    /// The revision of its last placement: the fencing token.
    pub epoch: Revision,
    /// Which generation of the spec its placement runs; null where it has none.
    pub generation: Option<Generation>,
    /// What was last observed.
    #[schema(value_type = String)]
    pub state: AgentState,
    /// Why it is in this state.
    pub reason: String,
    /// How often its process was started again in this placement.
    pub restarts: u32,
}

impl ReplicaView {
    fn new(status: ReplicaStatus, state: &State) -> Self {
        let container = status.container();
        let active = status.active.as_ref();
        Self {
            ordinal: status.id.ordinal,
            placement: active.map(|placement| placement.id),
            container,
            container_name: container
                .and_then(|id| state.container(id))
                .map(|container| container.name.clone()),
            epoch: status.epoch,
            generation: active.map(|placement| placement.generation),
            state: status.state,
            reason: status.reason.to_string(),
            restarts: status.restarts(),
        }
    }
}

/// Where an agent is placed, as the cache has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementView {
    /// The agent.
    pub agent: AgentId,
    /// Its name.
    pub agent_name: Name,
    /// Where it is placed.
    pub container: ContainerId,
    /// The name of that container.
    pub container_name: Option<Name>,
    /// The revision that placed it: the fencing token.
    pub epoch: Revision,
}

/// Why a container would or would not get an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explained {
    /// The container.
    #[schema(value_type = String)]
    pub container: ContainerId,
    /// Its name.
    #[schema(value_type = Option<String>)]
    pub container_name: Option<Name>,
    /// Whether it has the agent, or could take it now.
    pub fits: bool,
    /// Why, for a person to act on.
    pub verdict: String,
    /// The same for programs: `verdict` is `here`, `fits`, `not_ready`, `cordoned`, `unhealthy`, `mismatch` or
    /// `no_room`; beside it stands what was looked at.
    #[schema(value_type = Object)]
    pub why: serde_json::Value,
}

/// Adds an engine to watch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineRequest {
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// `unix:///path/to/docker.sock`, `tls://host:port` or `tcp://host:port`.
    #[schema(value_type = String)]
    pub url: EngineUrl,
}

/// An engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EngineView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: EngineId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// The revision of its last change; the ETag.
    pub version: Revision,
    /// Where it is reached.
    #[schema(value_type = String)]
    pub url: EngineUrl,
    /// `unknown`, `connected` or `unreachable`.
    #[schema(value_type = String)]
    pub state: EngineState,
    /// Why it is in this state.
    pub reason: String,
    /// What speaks against its address, such as that anyone may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// When it was added.
    #[schema(value_type = u64)]
    pub added_at: Millis,
}

impl From<&Engine> for EngineView {
    fn from(engine: &Engine) -> Self {
        Self {
            id: engine.id,
            name: engine.name.clone(),
            version: engine.version,
            url: engine.url.clone(),
            state: engine.state,
            reason: engine.reason.clone(),
            warning: engine.url.warning().map(str::to_owned),
            added_at: engine.added_at,
        }
    }
}
