//! The nouns of Quorate as plain data.
//!
//! Everything here is inert: typed ids, names, labels and the objects of the registry. Nothing
//! reads a clock, a file or the network, and nothing imports any other module of ours, so that
//! every layer (and every outside tool) can speak in the same words.

mod adoption;
mod agent;
mod assessment;
mod breaker;
mod cidr;
mod config;
mod constraints;
mod container;
mod discovery;
mod engine;
mod event;
mod id;
mod label;
mod manager;
mod name;
pub mod named;
mod neighbours;
mod network;
mod placement;
mod sample;
pub mod session;
mod stream;
mod time;
mod token;
mod versions;

pub use adoption::{Adoption, MAY_ADOPT};
pub use agent::{
    Agent, AgentSpec, AgentState, Desired, DisconnectPolicy, MAX_REPLICAS, RestartPolicy, SpecError, Strategy,
};
pub use assessment::{Assessment, MAX_DECLARED};
pub use breaker::{Breaker, MassSilence};
pub use cidr::{Cidr, CidrError};
pub use config::{Config, MAX_CONFIG_BYTES, MAX_CONTENT_TYPE_BYTES};
pub use constraints::Constraints;
pub use container::{
    Capabilities, Container, ContainerState, EngineRef, Found, FoundState, HealthStatus, Resources,
};
pub use discovery::{
    Finding, FindingKind, MAX_SCAN_CIDRS, MAX_SCAN_PORTS, MAX_SCANNED, Met, OPEN_ENGINE_PORT, PROBE_PORT,
    Scan, ScanCount, ScanPlan, ScanPlanError, ScanState,
};
pub use engine::{Engine, EngineState, EngineUrl, EngineUrlError};
pub use event::{Event, EventId, EventIdError, EventKind, Happening, Subject};
pub use id::{AgentId, ContainerId, EngineId, IdError, JoinTokenId, PlacementId, ScanId, TokenId};
pub use label::{LabelError, Labels, Selector};
pub use manager::{ManagerId, Member, PeerInfo};
pub use name::{Name, NameError};
pub use neighbours::{Neighbours, RoundTrip};
pub use network::{NetworkName, NetworkNameError, Networks};
pub use placement::{Generation, Placement, PlacementRole, Replica, ReplicaId};
pub use sample::{Sample, SampleHistory, Sampled};
pub use stream::{StreamAnswer, StreamHeader, StreamService, StreamTicket};
pub use time::Millis;
pub use token::{JoinRole, JoinToken, Role, SecretHash, Token};
pub use versions::{Mismatch, Versions};

/// The log index of an entry: versions, epochs and event numbers are all revisions.
pub type Revision = u64;
