//! What a request can come to, other than its answer.

use serde::Deserialize;
use serde_json::{Map, Value};

/// An error answer of the API.
#[derive(Debug, Clone, Deserialize)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What went wrong, as programs may rely on it.
    pub code: String,
    /// What went wrong, for people, and what to do.
    pub detail: String,
    /// Everything else the API told, such as `current`.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client was set up with something unusable.
    #[error("{0}")]
    Setup(String),
    /// The API refused the request. It had no effect.
    #[error("{} ({})", .0.detail, .0.code)]
    Refused(Box<Problem>),
    /// No manager took the request: it had no effect.
    #[error("no manager could take the request: {0}")]
    Unavailable(String),
    /// What became of the request is not known: it may take effect, now or later.
    #[error("the outcome of the request is unknown: {0}")]
    Unknown(String),
    /// An answer came, and is not what this call answers.
    #[error("the answer was not understood: {0}")]
    Answer(String),
}

impl ClientError {
    /// The stable code, where the API gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// The HTTP status, where the API gave one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(problem) => Some(problem.status),
            _ => None,
        }
    }

    /// Whether it is certain that the request had no effect.
    pub fn had_no_effect(&self) -> bool {
        !matches!(self, Self::Unknown(_) | Self::Answer(_))
    }
}
