//! The cluster and its managers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Breaker, ManagerId, MassSilence, Millis, Revision};

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
    /// Why no container is lost by silence just now; null while the breaker is closed.
    pub breaker: Option<MassSilenceView>,
    /// How the answering manager gets on with Redis; null where none is configured.
    #[serde(default)]
    pub cache: Option<CacheView>,
}

/// Redis as one manager sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheView {
    /// Whether cached reads of this manager go there.
    pub connected: bool,
    /// What this manager does about the projection: `following` another manager, which leads, or `connecting`,
    /// `filling`, `current` or `down`.
    pub projection: String,
    /// What Redis is known to show, on the leader.
    pub revision: Option<Revision>,
    /// Why the projection is not current; empty where it is.
    pub detail: String,
}

/// The breaker: whether so many containers are silent at once that silence means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BreakerView {
    /// Whether it is open, so that no container is lost by silence.
    pub open: bool,
    /// The revision of its last change, 0 if there was none; the ETag.
    pub version: Revision,
    /// The revision at which it was last closed or lifted, 0 if never.
    pub settled: Revision,
    /// What opened it; null while it is closed.
    pub silence: Option<MassSilenceView>,
    /// How many containers are suspect now.
    pub suspect: usize,
}

impl BreakerView {
    /// The breaker, with how many containers are suspect.
    pub fn new(breaker: &Breaker, suspect: usize) -> Self {
        Self {
            open: breaker.open.is_some(),
            version: breaker.version,
            settled: breaker.settled,
            silence: breaker.open.as_ref().map(MassSilenceView::from),
            suspect,
        }
    }
}

/// What opened the breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MassSilenceView {
    /// How many containers had fallen silent.
    pub silent: u32,
    /// Of how many.
    pub fleet: u32,
    /// Why it opened.
    pub reason: String,
    /// When it opened.
    #[schema(value_type = u64)]
    pub opened_at: Millis,
}

impl From<&MassSilence> for MassSilenceView {
    fn from(open: &MassSilence) -> Self {
        Self {
            silent: open.silent,
            fleet: open.fleet,
            reason: open.reason.clone(),
            opened_at: open.at,
        }
    }
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
