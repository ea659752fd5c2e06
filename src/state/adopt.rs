//! Bringing runners into containers that have none: what the leader tells of it.
//!
//! The join token of an adoption lives and dies with what is noted here: a new attempt takes the last
//! one's away, a runner that has joined needs none, and a record that goes takes it along. However often
//! attempts fail and leaders change, there is at most one such token a container. It is good for that record
//! and in that container alone: what else runs there may read it.

use std::sync::Arc;

use super::{
    Decision, State,
    quota::{MAX_TOKENS, bounded, room},
};
use crate::{
    command::{ContainerCommand, Kind, Outcome, Rejection},
    model::{Adoption, Container, ContainerState, EngineId, JoinRole},
};

impl State {
    pub(super) fn adopt(&mut self, command: &ContainerCommand) -> Decision {
        let ContainerCommand::Adopt {
            id,
            term,
            engine_container,
            token,
            adopted,
            reason,
        } = command
        else {
            return Ok(Outcome::Done);
        };
        let known = self.known_container(*id)?;
        let busy = |why: &str| Err(Rejection::Busy(format!("container `{}` {why}", known.name)));
        if *term != self.term {
            return busy("was tried by the leader of a term that is over");
        }
        let place = known.engine.as_ref();
        if place.is_none_or(|place| place.container != *engine_container) {
            return busy("is not the one on its engine that this is about");
        }
        if known.state == ContainerState::Ready {
            return busy("has a runner");
        }
        let before = known.adoption.as_ref().and_then(|adoption| adoption.token);
        if let Some(token) = token {
            let bound = token.expires_at.is_some() && token.uses_left == Some(1);
            if token.role != JoinRole::Runner || !bound {
                return Err(Rejection::Refused(
                    "the token of an adoption is for one runner and a limited time".into(),
                ));
            }
            if self.join_tokens.contains_key(&token.id) {
                return Err(Rejection::Exists {
                    kind: Kind::JoinToken,
                    name: token.id.to_string(),
                });
            }
            room(self.join_tokens.len(), MAX_TOKENS, "join tokens")?;
        }
        let mut told = (*known).clone();
        told.adoption = Some(Adoption {
            adopted: *adopted,
            reason: bounded(reason),
            token: token
                .as_ref()
                .map(|token| token.id)
                .or(before.filter(|_| *adopted)),
        });
        if matches!(
            known.state,
            ContainerState::Candidate | ContainerState::Registered
        ) {
            told.reason = bounded(reason);
        }
        if told != *known {
            self.replace_container(&known, told);
        }
        if let Some(token) = token {
            self.insert_join_token(token);
        }
        Ok(Outcome::Done)
    }

    /// The record of an engine's container, if that is where the engine is known to have it.
    pub fn engine_container(&self, engine: EngineId, theirs: &str) -> Option<&Arc<Container>> {
        let id = self.index.engine_containers.get(theirs)?;
        let here =
            |known: &&Arc<Container>| known.engine.as_ref().is_some_and(|place| place.engine == engine);
        self.containers.get(id).filter(here)
    }

    /// Takes the token of `old` away, unless `kept` still needs it.
    pub(super) fn drop_adoption_token(&mut self, old: &Container, kept: Option<&Adoption>) {
        let of = |adoption: Option<&Adoption>| adoption.and_then(|adoption| adoption.token);
        let token = of(old.adoption.as_ref());
        if token != of(kept)
            && let Some(token) = token
        {
            self.join_tokens.remove(&token);
        }
    }
}

/// A runner has a certificate now.
pub(super) fn joined(container: &mut Container) {
    if let Some(adoption) = &mut container.adoption {
        adoption.token = None;
    }
}

/// A runner is there. If nobody brought it, it came by itself, whatever was tried before.
pub(super) fn connected(container: &mut Container) {
    joined(container);
    container.adoption = container.adoption.take().filter(|adoption| adoption.adopted);
    if let Some(adoption) = &mut container.adoption {
        adoption.reason = "a manager has brought its runner in".into();
    }
}
