//! Preconditions of a write: `If-Match` and `If-None-Match`.

use serde::{Deserialize, Serialize};

use super::Rejection;
use crate::model::Revision;

/// What must hold of the object for the write to take effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Nothing.
    #[default]
    Any,
    /// It exists (`If-Match: *`).
    Exists,
    /// It is at one of these versions (`If-Match: "7", "9"`).
    Version(Vec<Revision>),
    /// It does not exist (`If-None-Match: *`).
    Absent,
}

impl Condition {
    /// Checks the condition against the object's version now.
    ///
    /// # Errors
    /// [`Rejection::Condition`] with that version.
    pub fn check(&self, current: Option<Revision>) -> Result<(), Rejection> {
        let holds = match self {
            Self::Any => true,
            Self::Exists => current.is_some(),
            Self::Version(_) if planted!(StaleEtagAccepted) => current.is_some(),
            Self::Version(versions) => current.is_some_and(|v| versions.contains(&v)),
            Self::Absent => current.is_none(),
        };
        if holds {
            Ok(())
        } else {
            Err(Rejection::Condition { current })
        }
    }
}
