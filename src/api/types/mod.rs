//! What the API says and takes, as JSON. The client reads the same types back.
//!
//! Times are milliseconds since the Unix epoch, versions and revisions are log indexes. Only
//! `model` is imported here, so that whoever uses the client drags nothing else in.

mod cluster;
mod config;
mod discovery;
mod echo;
mod event;
mod nearest;
mod network;
mod registry;
mod stats;
mod token;
mod topology;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{
    cluster::{
        BreakerView, CacheView, Check, ClusterStatus, Health, ManagerView, MassSilenceView, TransferRequest,
    },
    config::{ConfigPut, ConfigValue, ConfigView},
    discovery::{ApproveRequest, Approved, DiscoveryView, FindingView, ScanAsked, ScanRequest, ScanView},
    echo::{EchoRequest, EchoView, MAX_ECHO_BYTES},
    event::{Bookmark, EventView},
    nearest::{nearest, unknown_field},
    network::{NetworkChanged, NetworkConnect, NetworkDisconnect, NetworkRequest, NetworkView},
    registry::{
        AgentView, ContainerRequest, ContainerView, CordonRequest, EngineRequest, EngineView, Explained,
        PlacementView, ReplicaView,
    },
    stats::{ContainerStats, SampleView},
    token::{JoinTokenRequest, JoinTokenView, NewToken, TokenRequest, TokenView},
    topology::{AgentNode, ContainerNode, EngineNode, ManagerEdge, ManagerNode, NetworkNode, Topology},
};
use crate::model::{Name, Revision};

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// The objects of this page.
    pub items: Vec<T>,
    /// Give it as `?continue=` to get the next page; null on the last one. A page may hold fewer
    /// items than the limit, also none, and still not be the last.
    #[serde(rename = "continue")]
    pub next: Option<String>,
    /// The revision this page shows. Each page shows its own.
    pub revision: Revision,
}

/// The answer to a change that leaves nothing else to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// The revision of the change.
    pub revision: Revision,
}

/// A new object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Created {
    /// Its id.
    pub id: String,
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// Its version.
    pub version: Revision,
}
