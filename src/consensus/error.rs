//! What can go wrong between a request and the log. Unknown is not failed.

use super::handle::MAX_PROPOSAL_BYTES;
use crate::model::{ManagerId, Revision};

/// Why a proposal has no reply.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    /// It certainly had no effect: no leader took it in time.
    #[error("no leader took the request: {0}; nothing was changed, try again")]
    NotTaken(String),
    /// It was handed to a leader and its fate is not known: it may take effect, now or later.
    #[error(
        "the request was handed on and its outcome is unknown: {0}; read before you try again, or repeat it with the same Idempotency-Key"
    )]
    Unknown(String),
    /// Too many proposals wait already. It had no effect.
    #[error("this manager has as many requests waiting as it holds; nothing was changed, try again")]
    Overloaded,
    /// This manager is stopping. It had no effect.
    #[error("this manager is stopping; nothing was changed, ask another one")]
    Stopping,
    /// It can't be replicated. It had no effect.
    #[error(
        "the change takes {bytes} bytes, and the log takes {MAX_PROPOSAL_BYTES} at most; nothing was changed, make it smaller"
    )]
    TooLarge {
        /// What it takes.
        bytes: usize,
    },
}

/// Why a read has no state to show.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// No leader confirmed by a quorum was reached in time.
    #[error("no quorum confirmed a leader: {0}; try again, or ask with ?consistency=stale")]
    NoQuorum(String),
    /// This manager has not applied the wanted revision in time.
    #[error("this manager has applied revision {applied}, not {wanted} yet; try again")]
    Behind {
        /// What was asked for.
        wanted: Revision,
        /// What there is.
        applied: Revision,
    },
    /// Too many reads wait already.
    #[error("this manager has as many requests waiting as it holds; try again")]
    Overloaded,
    /// This manager is stopping.
    #[error("this manager is stopping; ask another one")]
    Stopping,
}

/// Why a change of the managers was not made.
#[derive(Debug, Clone, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum MembershipError {
    /// There is no such manager.
    #[error("there is no manager {0}")]
    Unknown(ManagerId),
    /// The change would leave the cluster without a working quorum.
    #[error("{0}")]
    QuorumAtRisk(String),
    /// Another change is under way; one at a time.
    #[error("another change of the managers is under way; try again when it is done")]
    InProgress,
    /// There is no leader, or it did not answer; whether the change was made can be seen in the status.
    #[error(
        "the leader did not confirm the change: {0}; look at `quorate cluster managers` before you try again"
    )]
    Unconfirmed(String),
    /// No leader took it in time: nothing was changed.
    #[error("no leader took the change: {0}; nothing was changed, try again")]
    NotTaken(String),
    /// A state of the cluster is in the way, and the text says which. Nothing was changed.
    #[error("{0}")]
    Conflict(String),
    /// The request makes no sense for this manager, and the text says why.
    #[error("{0}")]
    Invalid(String),
}
