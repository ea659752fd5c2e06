//! API tokens and join tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{JoinRole, JoinToken, JoinTokenId, Millis, Name, Revision, Role, Token, TokenId};

/// Makes an API token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Its name, unique among tokens.
    #[schema(value_type = String)]
    pub name: Name,
    /// `admin`, `operator`, `viewer` or `agent`.
    #[schema(value_type = String)]
    pub role: Role,
    /// Seconds until it is refused; never when absent.
    #[serde(default)]
    pub expires_in_seconds: Option<u64>,
}

/// An API token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Its id, the public half.
    #[schema(value_type = String)]
    pub id: TokenId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// What its holder may do.
    #[schema(value_type = String)]
    pub role: Role,
    /// When it is refused from.
    #[schema(value_type = Option<u64>)]
    pub expires_at: Option<Millis>,
    /// The revision of its creation.
    pub version: Revision,
}

impl From<&Token> for TokenView {
    fn from(token: &Token) -> Self {
        Self {
            id: token.id,
            name: token.name.clone(),
            role: token.role,
            expires_at: token.expires_at,
            version: token.version,
        }
    }
}

/// A new token of either kind. The text is shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    /// Its id, the public half.
    pub id: String,
    /// The token as its holder needs it.
    pub token: String,
    /// The revision of its creation.
    pub version: Revision,
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Makes a join token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinTokenRequest {
    /// What may join with it: `runner` or `manager`.
    #[schema(value_type = String)]
    pub role: JoinRole,
    /// Seconds until it is refused; never when absent.
    #[serde(default)]
    pub expires_in_seconds: Option<u64>,
    /// How often it may be used; without limit when absent.
    #[serde(default)]
    pub uses: Option<u32>,
}

/// A join token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinTokenView {
    /// Its id, the public half.
    #[schema(value_type = String)]
    pub id: JoinTokenId,
    /// What may join with it.
    #[schema(value_type = String)]
    pub role: JoinRole,
    /// When it is refused from.
    #[schema(value_type = Option<u64>)]
    pub expires_at: Option<Millis>,
    /// How often it may still be used; null is without limit.
    pub uses_left: Option<u32>,
    /// The revision of its last change.
    pub version: Revision,
}

impl From<&JoinToken> for JoinTokenView {
    fn from(token: &JoinToken) -> Self {
        Self {
            id: token.id,
            role: token.role,
            expires_at: token.expires_at,
            uses_left: token.uses_left,
            version: token.version,
        }
    }
}
