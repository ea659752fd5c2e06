//! Tokens as they are kept: never the secret, only its hash.

use serde::{Deserialize, Serialize};

use super::{JoinTokenId, Millis, Name, Revision, TokenId, named::named};

/// SHA-256 of a token's secret half.
pub type SecretHash = [u8; 32];

/// What the holder of an API token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything, membership and tokens included.
    Admin,
    /// Everything about containers, agents, configs and engines.
    Operator,
    /// Reads only.
    Viewer,
    /// What an agent may do from inside its container.
    Agent,
}

/// An API token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Token {
    /// The public half.
    pub id: TokenId,
    /// What people call it.
    pub name: Name,
    /// What its holder may do.
    pub role: Role,
    /// The secret half, hashed.
    pub hash: SecretHash,
    /// Log time after which it is refused.
    pub expires_at: Option<Millis>,
    /// The revision of its creation.
    pub version: Revision,
}

named!(Token, omit & ["expires_at"]);

/// What may join with a join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinRole {
    /// A container's runner.
    Runner,
    /// A further manager.
    Manager,
}

/// A join token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct JoinToken {
    /// The public half.
    pub id: JoinTokenId,
    /// What may join with it.
    pub role: JoinRole,
    /// The secret half, hashed.
    pub hash: SecretHash,
    /// Log time after which it is refused.
    pub expires_at: Option<Millis>,
    /// How often it may still be used; `None` is without limit.
    pub uses_left: Option<u32>,
    /// The revision of its last change.
    pub version: Revision,
}

named!(JoinToken, omit & ["expires_at", "uses_left"]);
