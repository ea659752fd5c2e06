//! Bringing a runner into a container that has none.

use serde::{Deserialize, Serialize};

use super::{JoinTokenId, named::named};

/// The label of containers that no runner is brought into when it is `false`.
pub const MAY_ADOPT: &str = "quorate.adopt";

/// How far managers have come with bringing a runner into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Adoption {
    /// Whether its runner, if it has one, is theirs.
    pub adopted: bool,
    /// What was done, or why it can't be done, for a person to act on.
    #[serde(default)]
    pub reason: String,
    /// What that runner may join with, until it has: it goes with this record.
    pub token: Option<JoinTokenId>,
}

named!(Adoption, omit & ["reason", "token"]);
