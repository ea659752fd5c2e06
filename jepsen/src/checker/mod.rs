//! What must hold of a history.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a checker found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Validity {
    /// It holds.
    Valid,
    /// It does not.
    Invalid,
    /// Undecided, or nothing was there to judge: no pass.
    Unknown,
}

/// A checker's verdict on a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verdict {
    /// Which checker, such as `register: linearizable`.
    pub checker: String,
    pub validity: Validity,
    /// One sentence for people.
    pub detail: String,
    /// The evidence: counts, the operations that contradict each other.
    #[serde(default)]
    pub data: Value,
}

impl Verdict {
    /// Whether the run passes as far as this checker goes.
    pub fn passes(&self) -> bool {
        self.validity == Validity::Valid
    }
}
