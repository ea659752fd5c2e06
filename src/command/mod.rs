//! What can be asked of the replicated state: commands, their outcomes and rejections.
//!
//! A [`Proposal`] is what goes into the log. Whatever apply must not invent (ids, time, random
//! secrets) is fixed in it by the proposer, so that apply is a pure function of state and entry. A
//! [`Rejection`] is a result like any other: it is decided in apply, in log order, and is the same
//! on every manager.

mod agent;
mod cluster;
mod condition;
mod config;
mod container;
mod discovery;
mod engine;
mod principal;

use serde::{Deserialize, Serialize};

pub use agent::{AgentCommand, Binding};
pub use cluster::ClusterCommand;
pub use condition::Condition;
pub use config::ConfigCommand;
pub use container::ContainerCommand;
pub use discovery::DiscoveryCommand;
pub use engine::EngineCommand;
pub use principal::{Loop, Principal};

use crate::model::{
    AgentId, ContainerId, EngineId, JoinTokenId, ManagerId, Millis, Revision, ScanId, TokenId,
};

/// One change, as it stands in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The proposer's clock; apply makes it monotonic.
    pub at: Millis,
    /// Who is behind it, and from where.
    pub by: Principal,
    /// Makes a retry of the same request have one effect and one answer.
    pub key: Option<RequestKey>,
    /// What to do.
    pub command: Command,
}

impl Proposal {
    /// How many bytes it takes in the log and between managers. Admission and batches go by it.
    pub fn bytes(&self) -> usize {
        // What has no form can't be proposed either.
        postcard::experimental::serialized_size(self).unwrap_or(usize::MAX)
    }
}

impl std::fmt::Display for Proposal {
    /// For logs: the family and who asked, never the content, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = match &self.command {
            Command::Cluster(_) => "cluster",
            Command::Config(_) => "config",
            Command::Container(_) => "container",
            Command::Agent(_) => "agent",
            Command::Engine(_) => "engine",
            Command::Discovery(_) => "discovery",
        };
        write!(f, "{family} command of {}", self.by)
    }
}

/// An idempotency key with the scope and content it was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestKey {
    /// Keys of different principals never meet.
    pub principal: TokenId,
    /// The `Idempotency-Key` header, at most 128 bytes.
    pub key: String,
    /// The first 8 bytes of a hash over what was asked: the same key with other content is refused.
    pub fingerprint: u64,
}

/// A change, by family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// The cluster itself: identity, managers' ids, tokens, the breaker.
    Cluster(ClusterCommand),
    /// Configs.
    Config(ConfigCommand),
    /// Containers.
    Container(ContainerCommand),
    /// Agents and placements.
    Agent(AgentCommand),
    /// Engines.
    Engine(EngineCommand),
    /// Network scans.
    Discovery(DiscoveryCommand),
}

/// The answer to a proposal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The revision of the entry that had the effect: for a repeated request, the first one's.
    pub revision: Revision,
    /// Whether this repeats an earlier answer to the same idempotency key.
    pub replayed: bool,
    /// What came of it.
    pub result: Result<Outcome, Rejection>,
}

/// What an accepted command did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing more to say; also the answer to entries that carry no command.
    Done,
    /// A config was written at the reply's revision.
    ConfigPut {
        /// Whether it did not exist before.
        created: bool,
    },
    /// A manager's id was allocated.
    ManagerAllocated(ManagerId),
    /// The runner may have a certificate for this container.
    Enrolled(ContainerId),
    /// An agent was accepted.
    AgentDeployed(AgentId),
    /// Placements: how many were made, and how many no longer fitted the state.
    Placed {
        /// Made at the reply's revision, which is their epoch.
        made: u32,
        /// Refused because the agent or container had changed since the plan.
        refused: u32,
    },
    /// An engine was added.
    EngineAdded(EngineId),
    /// An API token was made. A repeat derives its secret again from this id.
    TokenCreated(TokenId),
    /// A join token was made. A repeat derives its secret again from this id.
    JoinTokenCreated(JoinTokenId),
    /// A scan was asked for.
    ScanAsked(ScanId),
}

/// What kind of object a rejection speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A config.
    Config,
    /// A container.
    Container,
    /// An agent.
    Agent,
    /// An engine.
    Engine,
    /// An API token.
    Token,
    /// A join token.
    JoinToken,
    /// The cluster.
    Cluster,
    /// A network scan.
    Scan,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Config => "config",
            Self::Container => "container",
            Self::Agent => "agent",
            Self::Engine => "engine",
            Self::Token => "token",
            Self::JoinToken => "join token",
            Self::Cluster => "cluster",
            Self::Scan => "scan",
        })
    }
}

/// Why a command had no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// There is no such object.
    #[error("there is no {kind} `{name}`")]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// By which name or id.
        name: String,
    },
    /// The name or id is taken.
    #[error("{kind} `{name}` exists already")]
    Exists {
        /// What exists.
        kind: Kind,
        /// Under which name or id.
        name: String,
    },
    /// The object is not at the version the request expects.
    #[error("the object is {}, not what the request expects", .current.map_or("absent".into(), |v| format!("at version {v}")))]
    Condition {
        /// Its version now; `None` when there is none.
        current: Option<Revision>,
    },
    /// The object is in the way of the request; the text says of which and what helps.
    #[error("{0}")]
    Busy(String),
    /// The token is unknown, used up, expired, or for something else.
    #[error("{0}")]
    Refused(String),
    /// A bound of the cluster would be exceeded.
    #[error("{0}")]
    Quota(String),
    /// The idempotency key was used for a different request.
    #[error("this idempotency key was used for a different request: use a new key")]
    KeyReused,
}
