//! The cluster as a graph.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{
    AgentId, AgentState, ContainerId, ContainerState, EngineId, EngineState, EngineUrl, ManagerId, Name,
    Revision, RoundTrip,
};

/// Managers, engines, networks, containers and agents, and how they reach each other. What is registered is of one
/// revision; round trips and sessions are what managers see just now. Of a manager that does not answer, the sessions
/// are those that are registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Topology {
    /// The revision of what is registered.
    pub revision: Revision,
    /// Who leads, as far as the manager that was asked knows.
    #[schema(value_type = Option<u64>)]
    pub leader: Option<ManagerId>,
    /// The managers.
    pub managers: Vec<ManagerNode>,
    /// The engines that are watched.
    pub engines: Vec<EngineNode>,
    /// The containers.
    pub containers: Vec<ContainerNode>,
    /// The managers that did not answer in time. Their round trips are missing.
    #[schema(value_type = Vec<u64>)]
    pub unanswered: Vec<ManagerId>,
}

/// A manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManagerNode {
    /// Its id.
    #[schema(value_type = u64)]
    pub id: ManagerId,
    /// Where its API is.
    pub api: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether the leader hears it.
    pub healthy: bool,
    /// How long each other manager takes to answer it.
    pub reaches: Vec<ManagerEdge>,
}

/// The way from one manager to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManagerEdge {
    /// The other one.
    #[schema(value_type = u64)]
    pub manager: ManagerId,
    /// The last answer took so many microseconds; null when it did not answer.
    #[schema(value_type = Option<u64>)]
    pub round_trip_micros: Option<RoundTrip>,
}

/// An engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EngineNode {
    /// Its id.
    #[schema(value_type = String)]
    pub id: EngineId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// Where it is reached.
    #[schema(value_type = String)]
    pub url: EngineUrl,
    /// `unknown`, `connected` or `unreachable`.
    #[schema(value_type = String)]
    pub state: EngineState,
    /// The manager that watches it: the leader.
    #[schema(value_type = Option<u64>)]
    pub watched_by: Option<ManagerId>,
    /// How long it took to answer that manager, in microseconds.
    #[schema(value_type = Option<u64>)]
    pub round_trip_micros: Option<RoundTrip>,
    /// Its networks that registered containers are connected to; all it has are at
    /// `/api/v1/engines/{name}/networks`.
    pub networks: Vec<NetworkNode>,
}

/// A network of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkNode {
    /// Its name, one of a kind on its engine.
    pub name: String,
    /// Who is connected to it.
    #[schema(value_type = Vec<String>)]
    pub containers: Vec<ContainerId>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerNode {
    /// Its id.
    #[schema(value_type = String)]
    pub id: ContainerId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// Where it stands in its life.
    #[schema(value_type = String)]
    pub state: ContainerState,
    /// The engine it is on.
    #[schema(value_type = Option<String>)]
    pub engine: Option<EngineId>,
    /// The manager that holds its runner's session.
    #[schema(value_type = Option<u64>)]
    pub session: Option<ManagerId>,
    /// How long its runner took to answer that manager, in microseconds; measured each 10 s.
    #[schema(value_type = Option<u64>)]
    pub round_trip_micros: Option<RoundTrip>,
    /// The agents that are placed in it.
    pub agents: Vec<AgentNode>,
}

/// An agent in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentNode {
    /// Its id.
    #[schema(value_type = String)]
    pub id: AgentId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// What was last observed.
    #[schema(value_type = String)]
    pub state: AgentState,
}
