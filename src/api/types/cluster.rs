//! The cluster and its managers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{ManagerId, Revision};

/// The cluster as one manager sees it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ClusterStatus {
    /// The cluster's id; null until it is bootstrapped.
    pub cluster_id: Option<String>,
    /// The manager that answers.
    pub answered_by: ManagerId,
    /// Who leads, as far as the answering manager knows.
    pub leader: Option<ManagerId>,
    /// The term.
    pub term: u64,
    /// What the answering manager has applied.
    pub revision: Revision,
    /// All managers.
    pub managers: Vec<ManagerView>,
}

/// One manager as another one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManagerView {
    /// Its id, never given out twice.
    pub id: ManagerId,
    /// Where its API is, `host:port`.
    pub api: String,
    /// Where other managers reach it.
    pub peer: String,
    /// Where runners reach it.
    pub session: String,
    /// Whether it votes; a learner only copies the log.
    pub voter: bool,
    /// Whether the leader heard from it lately. A follower only knows this of itself and the leader.
    pub healthy: bool,
    /// The log index it is known to hold.
    pub applied: Option<Revision>,
}

/// Whether all is well, check by check.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Whether every check is.
    pub healthy: bool,
    /// The checks.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What is checked.
    pub name: String,
    /// Whether it is well.
    pub healthy: bool,
    /// What was found, and what to do where it is not well.
    pub detail: String,
}

/// Asks for another leader.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferRequest {
    /// Who shall lead; the voter that is furthest ahead when absent.
    #[serde(default)]
    pub to: Option<ManagerId>,
}
