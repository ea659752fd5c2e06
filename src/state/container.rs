//! Containers: sessions, liveness.
//!
//! The one rule that everything here serves: an exclusive agent leaves its container only when the
//! container is *fenced*, that is, proven unable to act. Silence alone never fences; a verdict by
//! the liveness clock, the runner's own goodbye or an engine's report of death does.

use std::{ops::Bound, sync::Arc};

use super::{
    Decision, Placed, State, adopt,
    observe::merge_labels,
    quota::{MAX_CONTAINERS, bounded, room},
};
use crate::{
    command::{Condition, ContainerCommand, Kind, Outcome, Rejection},
    model::{
        Capabilities, Container, ContainerId, ContainerState, DisconnectPolicy, HealthStatus, Labels, Name,
        Networks, Resources,
    },
};

impl State {
    pub(super) fn decide_container(&mut self, command: &ContainerCommand) -> Decision {
        match command {
            ContainerCommand::Enroll {
                id,
                token,
                name,
                engine_container,
            } => self.enroll(*id, *token, name, engine_container.as_deref()),
            ContainerCommand::Register { id, name, labels } => {
                room(self.containers.len(), MAX_CONTAINERS, "containers")?;
                if self.index.container_names.contains_key(name) || self.containers.contains_key(id) {
                    return Err(Rejection::Exists {
                        kind: Kind::Container,
                        name: name.to_string(),
                    });
                }
                let reason = "registered; its runner has not joined yet";
                let mut container =
                    self.blank_container(*id, name.clone(), ContainerState::Registered, reason);
                container.labels = labels.clone();
                self.insert_container(container);
                Ok(Outcome::Enrolled(*id))
            }
            ContainerCommand::Connect { .. } => self.connect(command),
            ContainerCommand::Judge { .. } => self.judge(command),
            ContainerCommand::Leave { id, boot } => {
                let known = self.known_container(*id)?;
                if known.boot == 0 || known.boot != *boot {
                    return Err(Rejection::Busy(format!("{id} has no runner of this start")));
                }
                self.bury(&known, "its runner left");
                Ok(Outcome::Done)
            }
            ContainerCommand::Observe { engine, as_of, found } => self.observe(*engine, *as_of, found),
            ContainerCommand::Remove { id, condition } => self.remove_container(*id, condition),
            ContainerCommand::Cordon {
                id,
                reason,
                condition,
            } => self.cordon(*id, Some(reason), condition),
            ContainerCommand::Uncordon { id, condition } => self.cordon(*id, None, condition),
            ContainerCommand::Assess { id, boot, assessment } => self.assess(*id, *boot, assessment),
            ContainerCommand::Approve { .. } => self.approve(command),
            ContainerCommand::Adopt { .. } => self.adopt(command),
        }
    }

    fn connect(&mut self, command: &ContainerCommand) -> Decision {
        let ContainerCommand::Connect {
            id,
            boot,
            manager,
            address,
            engine_container,
            labels,
            capabilities,
            resources,
        } = command
        else {
            return Ok(Outcome::Done);
        };
        let known = self.known_container(*id)?;
        if *boot == 0 {
            return Err(Rejection::Refused(
                "a runner's start is never numbered zero".into(),
            ));
        }
        let restarted = known.boot != *boot;
        let mut open = (*known).clone();
        open.state = ContainerState::Ready;
        open.reason = "its session is open".into();
        open.fenced = false;
        open.silent_since = 0;
        if restarted {
            open.boot = *boot;
            open.started = self.revision;
            open.assessment = None;
        }
        open.connected = self.revision;
        open.manager = Some(*manager);
        open.enrolled = true;
        open.fingerprint = None;
        if let Some(token) = open.invited.take() {
            self.join_tokens.remove(&token);
        }
        open.address = Some(bounded(address));
        if let Some(theirs) = engine_container {
            self.claim(&mut open, theirs);
        }
        open.labels = merge_labels(&open.labels, labels);
        open.capabilities = Capabilities {
            platform: bounded(&capabilities.platform),
            runner: bounded(&capabilities.runner),
        };
        open.resources = *resources;
        adopt::connected(&mut open);
        self.replace_container(&known, open);
        if restarted {
            self.note_runner_restart(*id);
        }
        Ok(Outcome::Done)
    }

    /// A runner says which of an engine's containers it is in. Its word moves it away from another
    /// one and onto a candidate; it takes nothing from a container that has a runner of its own.
    fn claim(&mut self, open: &mut Container, theirs: &str) {
        if open.engine_container.as_deref() == Some(theirs) {
            return;
        }
        let holder = self.index.engine_containers.get(theirs);
        let holder = holder.and_then(|id| self.containers.get(id)).cloned();
        match holder {
            Some(other) if other.state != ContainerState::Candidate => return,
            Some(candidate) => {
                self.drop_container(&candidate);
                open.engine = candidate.engine.clone();
                open.image = candidate.image.clone();
                open.networks = candidate.networks.clone();
                open.health = candidate.health;
                open.labels = merge_labels(&candidate.labels, &open.labels);
                open.cordoned = open.cordoned.take().or_else(|| candidate.cordoned.clone());
            }
            None => open.leave_engine(),
        }
        open.engine_container = Some(theirs.to_owned());
    }

    /// Takes a verdict of the liveness clock in, if it still is about the container as it is now and
    /// comes from the leader that appended it.
    fn judge(&mut self, command: &ContainerCommand) -> Decision {
        let ContainerCommand::Judge {
            id,
            version,
            term,
            state,
            fenced,
            reason,
        } = command
        else {
            return Ok(Outcome::Done);
        };
        use ContainerState::{Lost, Ready, Suspect};
        let known = self.known_container(*id)?;
        let busy = |why: String| Err(Rejection::Busy(why));
        if *term != self.term {
            return busy(format!("{id} was judged in term {term}, which is over"));
        }
        if known.version != *version {
            return busy(format!("{id} has changed since it was judged"));
        }
        let follows = match (known.state, state, fenced) {
            (Ready, Suspect, false) | (Ready | Suspect, Lost, _) | (Lost, Lost, true) => true,
            (Suspect | Lost, Ready, false) => known.boot != 0,
            _ => false,
        };
        if !follows {
            return busy(format!("{id} can't go from {:?} to {state:?}", known.state));
        }
        if *state == Lost && self.breaker.open.is_some() && !planted!(BreakerIgnored) {
            return busy(format!(
                "{id} may be cut off with many others: the breaker is open"
            ));
        }
        let reason = self.reason_while_open(*state, bounded(reason));
        self.set_container(&known, *state, *fenced, &reason);
        Ok(Outcome::Done)
    }

    /// Moves a container to a state; placements end as the state demands.
    pub(super) fn set_container(
        &mut self,
        known: &Arc<Container>,
        state: ContainerState,
        fenced: bool,
        reason: &str,
    ) {
        if known.state == state && known.fenced == fenced {
            return;
        }
        let mut moved = (**known).clone();
        moved.state = state;
        moved.fenced = fenced;
        moved.reason = reason.to_owned();
        if state == ContainerState::Ready {
            moved.silent_since = 0;
            adopt::connected(&mut moved);
        } else if known.state == ContainerState::Ready {
            moved.silent_since = self.revision;
        }
        self.replace_container(known, moved);
        let why = format!("its container `{}` is gone: {reason}", known.name);
        if fenced {
            self.end_placements(known.id, &why, |_| true);
        } else if state == ContainerState::Lost {
            self.end_placements(known.id, &why, |spec| {
                spec.on_disconnect == DisconnectPolicy::AtLeastOnce || planted!(FenceNotAwaited)
            });
        }
    }

    /// Proof of death: what was never trusted is forgotten, the rest is lost and fenced at once, and
    /// no late heartbeat of the dead start counts any more.
    pub(super) fn bury(&mut self, known: &Arc<Container>, reason: &str) {
        if known.state == ContainerState::Candidate {
            return self.drop_container(known);
        }
        self.set_container(known, ContainerState::Lost, true, reason);
        let Some(dead) = self.containers.get(&known.id).filter(|c| c.boot != 0).cloned() else {
            return;
        };
        let silent = Container {
            boot: 0,
            started: 0,
            connected: 0,
            manager: None,
            silent_since: 0,
            ..(*dead).clone()
        };
        self.replace_container(&dead, silent);
    }

    fn remove_container(&mut self, id: ContainerId, condition: &Condition) -> Decision {
        let known = self.known_container(id)?;
        condition.check(Some(known.version))?;
        let agents = self.placed(id).map_or(0, |p| p.placements.len());
        if agents > 0 {
            return Err(Rejection::Busy(format!(
                "container `{}` still has {agents} agents: stop or delete them first",
                known.name
            )));
        }
        self.drop_container(&known);
        Ok(Outcome::Done)
    }

    pub(super) fn blank_container(
        &self,
        id: ContainerId,
        name: Name,
        state: ContainerState,
        reason: &str,
    ) -> Container {
        Container {
            id,
            name,
            state,
            reason: reason.to_owned(),
            fenced: false,
            cordoned: None,
            silent_since: 0,
            engine: None,
            engine_container: None,
            address: None,
            fingerprint: None,
            invited: None,
            image: None,
            networks: Networks::default(),
            health: HealthStatus::Unchecked,
            labels: Labels::default(),
            capabilities: Capabilities::default(),
            resources: Resources::default(),
            assessment: None,
            adoption: None,
            enrolled: false,
            boot: 0,
            started: 0,
            connected: 0,
            manager: None,
            version: self.revision,
            registered_at: self.now,
        }
    }

    pub(super) fn known_container(&self, id: ContainerId) -> Result<Arc<Container>, Rejection> {
        self.containers
            .get(&id)
            .cloned()
            .ok_or_else(|| Rejection::NotFound {
                kind: Kind::Container,
                name: id.to_string(),
            })
    }

    pub(super) fn insert_container(&mut self, mut container: Container) -> Arc<Container> {
        container.version = self.revision;
        self.index
            .container_names
            .insert(container.name.clone(), container.id);
        if let Some(theirs) = &container.engine_container {
            self.index.engine_containers.insert(theirs.clone(), container.id);
        }
        self.index.note_candidate(&container);
        let container = Arc::new(container);
        self.containers.insert(container.id, container.clone());
        container
    }

    pub(super) fn replace_container(&mut self, old: &Arc<Container>, new: Container) -> Arc<Container> {
        self.unindex_container(old);
        self.drop_adoption_token(old, new.adoption.as_ref());
        self.insert_container(new)
    }

    pub(super) fn drop_container(&mut self, old: &Arc<Container>) {
        self.unindex_container(old);
        // Without its record the token would be good for any name.
        if let Some(token) = old.invited {
            self.join_tokens.remove(&token);
        }
        self.drop_adoption_token(old, None);
        self.containers.remove(&old.id);
    }

    fn unindex_container(&mut self, old: &Arc<Container>) {
        self.index.container_names.remove(&old.name);
        if let Some(theirs) = &old.engine_container {
            self.index.engine_containers.remove(theirs);
        }
        self.index.forget_candidate(old);
    }

    /// A container by id.
    pub fn container(&self, id: ContainerId) -> Option<&Arc<Container>> {
        self.containers.get(&id)
    }

    /// A container by name or id.
    pub fn find_container(&self, name_or_id: &str) -> Option<&Arc<Container>> {
        let id = match self.index.container_names.get(name_or_id) {
            Some(id) => *id,
            None => name_or_id.parse().ok()?,
        };
        self.containers.get(&id)
    }

    /// Containers by id, from after `after` on.
    pub fn containers(&self, after: Option<ContainerId>) -> impl Iterator<Item = &Arc<Container>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.containers
            .range((from, Bound::Unbounded))
            .map(|(_, container)| container)
    }

    /// The placements in a container, if there are any.
    pub fn placed(&self, id: ContainerId) -> Option<&Placed> {
        self.index.placed.get(&id)
    }
}

/// The record without a runner, in a state that waits for one.
pub(super) fn vacant(known: &Container, state: ContainerState, reason: &str) -> Container {
    Container {
        state,
        reason: reason.to_owned(),
        fenced: false,
        boot: 0,
        started: 0,
        connected: 0,
        manager: None,
        silent_since: 0,
        assessment: None,
        ..known.clone()
    }
}
