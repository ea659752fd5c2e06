//! Commands about the cluster itself: its identity, managers' ids, tokens, the breaker.

use serde::{Deserialize, Serialize};

use super::Condition;
use crate::model::{JoinToken, JoinTokenId, ManagerId, Revision, Token, TokenId};

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
    /// So many containers fell silent at once that silence means nothing. Never forwarded to a later
    /// leader, whose clock begins anew.
    OpenBreaker {
        /// The term of the leader that judges; an entry of another term refuses it.
        term: u64,
        /// The breaker's version this was judged on; another one refuses it.
        version: Revision,
        /// How many fell silent.
        silent: u32,
        /// Of how many.
        fleet: u32,
        /// The first revision at which one of them stopped being ready; what is in the future stands for
        /// this entry's.
        since: Revision,
        /// Why, for a person to read.
        reason: String,
    },
    /// Few enough have been silent for long enough.
    CloseBreaker {
        /// The term of the leader that judges; an entry of another term refuses it.
        term: u64,
        /// The breaker's version this was judged on; another one refuses it.
        version: Revision,
    },
    /// An operator has it that those who are silent are gone: they are judged as usual.
    LiftBreaker {
        /// What must hold before.
        condition: Condition,
    },
}
