//! A runner without a certificate joins with a token and takes a record.
//!
//! Which one: the record that its token is for, if it is for one alone; else the one that its engine reported,
//! or the one of its name, if that one is proven dead or was never alive; else a new one.

use std::sync::Arc;

use super::{
    Decision, State, adopt,
    container::vacant,
    quota::{MAX_CONTAINERS, room},
};
use crate::{
    command::{Kind, Outcome, Rejection},
    model::{Container, ContainerId, ContainerState, JoinRole, JoinTokenId, Name},
};

impl State {
    pub(super) fn enroll(
        &mut self,
        fresh: ContainerId,
        token: JoinTokenId,
        name: &Name,
        theirs: Option<&str>,
    ) -> Decision {
        // Who was approved by its key, or was brought in, becomes that record and no other, whatever it
        // calls itself.
        let invited = self.index.invitations.get(&token);
        let known = invited
            .or_else(|| theirs.and_then(|theirs| self.index.engine_containers.get(theirs)))
            .or_else(|| self.index.container_names.get(name))
            .and_then(|id| self.containers.get(id))
            .cloned();
        match known {
            Some(known) => self.take_over(&known, fresh, token, theirs),
            None => self.enroll_new(fresh, token, name, theirs),
        }
    }

    fn enroll_new(
        &mut self,
        fresh: ContainerId,
        token: JoinTokenId,
        name: &Name,
        theirs: Option<&str>,
    ) -> Decision {
        room(self.containers.len(), MAX_CONTAINERS, "containers")?;
        self.unused(fresh)?;
        self.use_join_token(token, JoinRole::Runner)?;
        let reason = "enrolled; its session is not open yet";
        let mut container = self.blank_container(fresh, name.clone(), ContainerState::Registered, reason);
        container.engine_container = theirs.map(str::to_owned);
        container.enrolled = true;
        self.insert_container(container);
        Ok(Outcome::Enrolled(fresh))
    }

    fn take_over(
        &mut self,
        known: &Arc<Container>,
        fresh: ContainerId,
        token: JoinTokenId,
        theirs: Option<&str>,
    ) -> Decision {
        let approved = known.invited == Some(token);
        let brought_in = !approved && known.tokens().any(|it| it == token);
        // What else runs in the container may read the token of who is brought in, and take it elsewhere.
        if brought_in && theirs != known.engine_container.as_deref() {
            return Err(Rejection::Refused(format!(
                "join token {token} is good in the container of `{}` alone",
                known.name
            )));
        }
        let free = match known.state {
            ContainerState::Candidate | ContainerState::Registered => true,
            ContainerState::Ready | ContainerState::Suspect | ContainerState::Lost => known.fenced,
        };
        if !free {
            return Err(Rejection::Busy(format!(
                "container `{}` is taken by a runner that is not proven stopped: use another name, or wait",
                known.name
            )));
        }
        // Another runner may hold a certificate for the old id, and may yet come back with it.
        let id = if known.enrolled { fresh } else { known.id };
        if id != known.id {
            self.unused(id)?;
        }
        self.use_join_token(token, JoinRole::Runner)?;
        let mut taken = Container {
            id,
            enrolled: true,
            fingerprint: None,
            invited: None,
            ..vacant(
                known,
                ContainerState::Registered,
                "enrolled; its session is not open yet",
            )
        };
        // A runner that does not say where it is must not live and die with a container it may not be in.
        // Who was approved will say it again in its session, and take an engine's candidate over.
        let theirs = theirs.filter(|_| !approved);
        if taken.engine_container.as_deref() != theirs {
            taken.leave_engine();
            taken.engine_container = theirs.map(str::to_owned);
            taken.adoption = None;
        }
        adopt::joined(&mut taken);
        self.drop_container(known);
        self.insert_container(taken);
        Ok(Outcome::Enrolled(id))
    }

    fn unused(&self, id: ContainerId) -> Result<(), Rejection> {
        if self.containers.contains_key(&id) {
            return Err(Rejection::Exists {
                kind: Kind::Container,
                name: id.to_string(),
            });
        }
        Ok(())
    }
}
