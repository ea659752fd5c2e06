//! The cluster itself: identity, managers' ids, tokens. The breaker is in `breaker`.

use std::sync::Arc;

use super::{
    Decision, State,
    quota::{MAX_TOKENS, room},
};
use crate::{
    command::{ClusterCommand, Kind, Outcome, Rejection},
    model::{JoinRole, JoinToken, JoinTokenId, ManagerId, Token, TokenId},
};

impl State {
    pub(super) fn decide_cluster(&mut self, command: &ClusterCommand) -> Decision {
        match command {
            ClusterCommand::Bootstrap {
                cluster_id,
                admin,
                join,
                next_manager,
            } => {
                if let Some(id) = self.cluster_id() {
                    return Err(Rejection::Exists {
                        kind: Kind::Cluster,
                        name: id.to_owned(),
                    });
                }
                self.cluster_id = cluster_id.clone();
                self.next_manager = *next_manager;
                self.insert_token(admin);
                self.insert_join_token(join);
                Ok(Outcome::Done)
            }
            ClusterCommand::AllocateManager { token, incarnation } => {
                self.use_join_token(*token, JoinRole::Manager)?;
                let id = self.next_manager;
                self.next_manager += 1;
                self.allocated.insert(id, *incarnation);
                Ok(Outcome::ManagerAllocated(id))
            }
            ClusterCommand::RetireManager(id) => {
                self.allocated.remove(id);
                planted!(IdReusedOnRejoin => self.next_manager = self.next_manager.min(*id););
                Ok(Outcome::Done)
            }
            ClusterCommand::CreateToken(token) => {
                room(self.tokens.len(), MAX_TOKENS, "API tokens")?;
                let taken = self.tokens.contains_key(&token.id)
                    || self.tokens.values().any(|other| other.name == token.name);
                if taken {
                    return Err(Rejection::Exists {
                        kind: Kind::Token,
                        name: token.name.to_string(),
                    });
                }
                self.insert_token(token);
                Ok(Outcome::TokenCreated(token.id))
            }
            ClusterCommand::RevokeToken(id) => self.revoke_token(*id),
            ClusterCommand::CreateJoinToken(token) => {
                room(self.join_tokens.len(), MAX_TOKENS, "join tokens")?;
                if self.join_tokens.contains_key(&token.id) {
                    return Err(Rejection::Exists {
                        kind: Kind::JoinToken,
                        name: token.id.to_string(),
                    });
                }
                self.insert_join_token(token);
                Ok(Outcome::JoinTokenCreated(token.id))
            }
            ClusterCommand::RevokeJoinToken(id) => match self.join_tokens.remove(id) {
                Some(_) => Ok(Outcome::Done),
                None => Err(Rejection::NotFound {
                    kind: Kind::JoinToken,
                    name: id.to_string(),
                }),
            },
            ClusterCommand::OpenBreaker { .. } => self.open_breaker(command),
            ClusterCommand::CloseBreaker { term, version } => self.close_breaker(*term, *version),
            ClusterCommand::LiftBreaker { condition } => self.lift_breaker(condition),
        }
    }

    fn insert_token(&mut self, token: &Token) {
        let token = Token {
            version: self.revision,
            ..token.clone()
        };
        self.tokens.insert(token.id, Arc::new(token));
    }

    pub(super) fn insert_join_token(&mut self, token: &JoinToken) {
        let token = JoinToken {
            version: self.revision,
            ..token.clone()
        };
        self.join_tokens.insert(token.id, Arc::new(token));
    }

    /// The last admin token stays: without one nobody could make another.
    fn revoke_token(&mut self, id: TokenId) -> Decision {
        let token = self.tokens.get(&id).ok_or_else(|| Rejection::NotFound {
            kind: Kind::Token,
            name: id.to_string(),
        })?;
        let admin = crate::model::Role::Admin;
        let others = self
            .tokens
            .values()
            .any(|t| t.id != id && t.role == admin && t.expires_at.is_none());
        if token.role == admin && !others {
            return Err(Rejection::Busy(format!(
                "{id} is the last admin token without an expiry: create another one first"
            )));
        }
        self.tokens.remove(&id);
        Ok(Outcome::Done)
    }

    /// Spends one use of a join token.
    pub(super) fn use_join_token(&mut self, id: JoinTokenId, role: JoinRole) -> Result<(), Rejection> {
        let refused = |why: &str| Rejection::Refused(format!("join token {id} {why}"));
        let token = self
            .join_tokens
            .get(&id)
            .ok_or_else(|| refused("is unknown or revoked"))?;
        if token.role != role {
            return Err(refused("is for another role"));
        }
        if token.expires_at.is_some_and(|at| at <= self.now) {
            return Err(refused("has expired"));
        }
        match token.uses_left {
            None => return Ok(()),
            Some(0) => return Err(refused("is used up")),
            Some(left) => {
                let spent = JoinToken {
                    uses_left: Some(left - 1),
                    version: self.revision,
                    ..(**token).clone()
                };
                self.join_tokens.insert(id, Arc::new(spent));
            }
        }
        Ok(())
    }

    /// An API token by its public half.
    pub fn token(&self, id: TokenId) -> Option<&Arc<Token>> {
        self.tokens.get(&id)
    }

    /// All API tokens.
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.tokens.values()
    }

    /// A join token by its public half.
    pub fn join_token(&self, id: JoinTokenId) -> Option<&Arc<JoinToken>> {
        self.join_tokens.get(&id)
    }

    /// All join tokens.
    pub fn join_tokens(&self) -> impl Iterator<Item = &Arc<JoinToken>> {
        self.join_tokens.values()
    }

    /// Whether a manager may join under this id with this data directory.
    pub fn may_join(&self, id: ManagerId, incarnation: u64) -> bool {
        self.allocated.get(&id) == Some(&incarnation)
    }

    /// The id the next manager gets.
    pub fn next_manager(&self) -> ManagerId {
        self.next_manager
    }
}
