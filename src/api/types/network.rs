//! Networks of engines.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Labels, Name, NetworkName};

/// A network of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkView {
    /// The engine's own id of it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What makes it: `bridge`, `overlay`, …
    pub driver: String,
    /// `local`, or `swarm` for one that spans machines.
    pub scope: String,
    /// Whether it leads nowhere outside.
    pub internal: bool,
    /// Its labels.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub labels: Labels,
    /// The containers of the registry that are connected to it.
    #[schema(value_type = Vec<String>)]
    pub containers: Vec<Name>,
}

/// Makes a network.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkRequest {
    /// Its name.
    #[schema(value_type = String)]
    pub name: NetworkName,
    /// What makes it; by default the engine's own choice, `bridge`.
    #[serde(default)]
    pub driver: Option<String>,
    /// Whether it leads nowhere outside.
    #[serde(default)]
    pub internal: bool,
    /// Its labels.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub labels: Labels,
}

/// Connects a container to a network.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkConnect {
    /// Its name or id.
    #[schema(value_type = String)]
    pub container: Name,
    /// Names besides its own under which others on the network reach it; at most 16.
    #[serde(default)]
    pub aliases: Vec<String>,
}

/// Disconnects a container from a network.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkDisconnect {
    /// Its name or id.
    #[schema(value_type = String)]
    pub container: Name,
    /// Even if the engine can't make the container let go.
    #[serde(default)]
    pub force: bool,
}

/// A network was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkChanged {
    /// On which engine.
    #[schema(value_type = String)]
    pub engine: Name,
    /// Which network.
    pub network: String,
    /// Which container was connected or disconnected.
    #[schema(value_type = Option<String>)]
    pub container: Option<Name>,
}
