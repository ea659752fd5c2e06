//! Commands about the cluster itself: its identity, managers' ids, tokens.

use serde::{Deserialize, Serialize};

use crate::model::{JoinToken, JoinTokenId, ManagerId, Token, TokenId};

/// A change of the cluster itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ClusterCommand {
    /// The first command of a cluster; a second one is refused.
    Bootstrap {
        /// The cluster's random id.
        cluster_id: String,
        /// The first admin's token.
        admin: Token,
        /// The first join token, for runners.
        join: JoinToken,
        /// The first id that is free for a further manager.
        next_manager: ManagerId,
    },
    /// Takes the next free manager id, for ever.
    AllocateManager {
        /// The join token that was shown.
        token: JoinTokenId,
        /// The data directory the id belongs to, for ever.
        incarnation: u64,
    },
    /// Ends a manager's id: nothing may join under it any more.
    RetireManager(ManagerId),
    /// Adds an API token.
    CreateToken(Token),
    /// Removes an API token.
    RevokeToken(TokenId),
    /// Adds a join token.
    CreateJoinToken(JoinToken),
    /// Removes a join token.
    RevokeJoinToken(JoinTokenId),
}
