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
    /// The API refused the request. Below 500, and with 503, it had no effect.
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
        match self {
            Self::Unknown(_) | Self::Answer(_) => false,
            // A server that failed may have failed after it did what it was asked for.
            Self::Refused(problem) => problem.status < 500 || problem.status == 503,
            Self::Setup(_) | Self::Unavailable(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_did_nothing_had_no_effect() {
        for (status, nothing) in [
            (400, true),
            (409, true),
            (429, true),
            (500, false),
            (502, false),
            (503, true),
        ] {
            let problem = Problem {
                status,
                code: "x".into(),
                detail: "x".into(),
                more: Map::new(),
            };
            assert_eq!(
                ClientError::Refused(Box::new(problem)).had_no_effect(),
                nothing,
                "{status}"
            );
        }
        assert!(!ClientError::Unknown("x".into()).had_no_effect());
        assert!(ClientError::Unavailable("x".into()).had_no_effect());
    }
}
