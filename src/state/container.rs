//! Containers: enrolment, sessions, liveness, what engines tell.
//!
//! The one rule that everything here serves: an exclusive agent leaves its container only when the
//! container is *fenced*, that is, proven unable to act. Silence alone never fences; a verdict by
//! the liveness clock or an engine's report of death does.

use std::{collections::BTreeSet, ops::Bound, sync::Arc};

use super::{
    Decision, Placed, State,
    quota::{MAX_CONTAINERS, room},
};
use crate::{
    command::{Condition, ContainerCommand, Kind, Outcome, Rejection},
    model::{
        Capabilities, Container, ContainerId, ContainerState, DisconnectPolicy, EngineId, EngineRef, Found,
        FoundState, JoinRole, JoinTokenId, Labels, Name, Resources,
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
            ContainerCommand::Judge {
                id,
                boot,
                state,
                fenced,
                reason,
            } => {
                let container = self.known_container(*id)?;
                if container.boot != *boot {
                    return Err(Rejection::Busy(format!(
                        "{id} has a later session than the one judged"
                    )));
                }
                self.set_container(&container, *state, *fenced, reason);
                Ok(Outcome::Done)
            }
            ContainerCommand::Observe {
                engine,
                found,
                complete,
            } => self.observe(*engine, found, *complete),
            ContainerCommand::Remove { id, condition } => self.remove_container(*id, condition),
        }
    }

    /// A runner without a certificate takes a record: a new one, the one its engine reported, or the
    /// one of its name if that one is proven dead or was never alive.
    fn enroll(
        &mut self,
        fresh: ContainerId,
        token: JoinTokenId,
        name: &Name,
        theirs: Option<&str>,
    ) -> Decision {
        let known = theirs
            .and_then(|theirs| self.index.engine_containers.get(theirs))
            .or_else(|| self.index.container_names.get(name))
            .and_then(|id| self.containers.get(id))
            .cloned();
        let Some(known) = known else {
            room(self.containers.len(), MAX_CONTAINERS, "containers")?;
            if self.containers.contains_key(&fresh) {
                return Err(Rejection::Exists {
                    kind: Kind::Container,
                    name: fresh.to_string(),
                });
            }
            self.use_join_token(token, JoinRole::Runner)?;
            let reason = "enrolled; its session is not open yet";
            let mut container = self.blank_container(fresh, name.clone(), ContainerState::Registered, reason);
            container.engine_container = theirs.map(str::to_owned);
            self.insert_container(container);
            return Ok(Outcome::Enrolled(fresh));
        };
        let other_place = known.engine_container.is_some() && known.engine_container.as_deref() != theirs;
        let free = match known.state {
            ContainerState::Registered => true,
            ContainerState::Candidate => !other_place,
            ContainerState::Ready | ContainerState::Suspect | ContainerState::Lost => known.fenced,
        };
        if !free {
            return Err(Rejection::Busy(format!(
                "container `{}` is taken by a runner that is not proven stopped: use another name, or wait",
                known.name
            )));
        }
        self.use_join_token(token, JoinRole::Runner)?;
        let mut taken = (*known).clone();
        taken.state = ContainerState::Registered;
        taken.reason = "enrolled; its session is not open yet".into();
        if other_place {
            taken.engine = None;
        }
        taken.engine_container = theirs.map(str::to_owned).or(taken.engine_container);
        self.replace_container(&known, taken);
        Ok(Outcome::Enrolled(known.id))
    }

    fn connect(&mut self, command: &ContainerCommand) -> Decision {
        let ContainerCommand::Connect {
            id,
            boot,
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
        let restarted = known.boot != *boot;
        let mut open = (*known).clone();
        open.state = ContainerState::Ready;
        open.reason = "its session is open".into();
        open.fenced = false;
        open.boot = *boot;
        open.address = Some(address.clone());
        if engine_container.is_some() && open.engine_container != *engine_container {
            open.engine_container = engine_container.clone();
            open.engine = None;
        }
        open.labels = merge_labels(&open.labels, labels);
        open.capabilities = capabilities.clone();
        open.resources = *resources;
        self.replace_container(&known, open);
        if restarted {
            self.note_runner_restart(*id);
        }
        Ok(Outcome::Done)
    }

    /// Moves a container to a state; placements end as the state demands.
    fn set_container(&mut self, known: &Arc<Container>, state: ContainerState, fenced: bool, reason: &str) {
        if known.state == state && known.fenced == fenced {
            return;
        }
        let mut moved = (**known).clone();
        moved.state = state;
        moved.fenced = fenced;
        moved.reason = reason.to_owned();
        self.replace_container(known, moved);
        let why = format!("its container `{}` is gone: {reason}", known.name);
        if fenced {
            self.unplace_all(known.id, &why, |_| true);
        } else if state == ContainerState::Lost {
            self.unplace_all(known.id, &why, |spec| {
                spec.on_disconnect == DisconnectPolicy::AtLeastOnce
            });
        }
    }

    fn observe(&mut self, engine: EngineId, found: &[Found], complete: bool) -> Decision {
        if !self.engines.contains_key(&engine) {
            return Err(Rejection::NotFound {
                kind: Kind::Engine,
                name: engine.to_string(),
            });
        }
        for one in found {
            match self.index.engine_containers.get(&one.container).copied() {
                Some(id) => self.observe_known(id, engine, one),
                None if one.state == FoundState::Dead => {}
                None => self.observe_new(engine, one)?,
            }
        }
        if complete {
            let told: BTreeSet<&str> = found.iter().map(|f| f.container.as_str()).collect();
            let of_engine = |c: &&Arc<Container>| {
                c.engine
                    .as_ref()
                    .is_some_and(|e| e.engine == engine && !told.contains(e.container.as_str()))
            };
            let missing: Vec<_> = self.containers.values().filter(of_engine).cloned().collect();
            for container in missing {
                self.bury(&container, "its engine no longer has it");
            }
        }
        Ok(Outcome::Done)
    }

    fn observe_known(&mut self, id: ContainerId, engine: EngineId, one: &Found) {
        let Some(known) = self.containers.get(&id).cloned() else {
            return;
        };
        let place = Some(EngineRef {
            engine,
            container: one.container.clone(),
        });
        let mut met = (*known).clone();
        met.engine = place;
        met.image = Some(one.image.clone());
        met.labels = merge_labels(&one.labels, &known.labels);
        let known = if met == *known {
            known
        } else {
            self.replace_container(&known, met)
        };
        match one.state {
            FoundState::Dead => self.bury(&known, &format!("its engine reports it {}", one.detail)),
            FoundState::Paused if known.state == ContainerState::Ready => {
                self.set_container(
                    &known,
                    ContainerState::Suspect,
                    false,
                    "its engine reports it paused",
                );
            }
            FoundState::Paused | FoundState::Running => {}
        }
    }

    fn observe_new(&mut self, engine: EngineId, one: &Found) -> Result<(), Rejection> {
        room(self.containers.len(), MAX_CONTAINERS, "containers")?;
        let named = self
            .index
            .container_names
            .get(&one.name)
            .and_then(|id| self.containers.get(id))
            .cloned();
        // Recreated under its old name: the record goes on, if the old container is proven dead.
        if let Some(old) = named
            .as_ref()
            .filter(|c| c.fenced || c.state == ContainerState::Registered)
        {
            let mut again = (**old).clone();
            again.state = ContainerState::Candidate;
            again.fenced = false;
            again.reason = "found on its engine again; its runner has not joined yet".into();
            again.engine = Some(EngineRef {
                engine,
                container: one.container.clone(),
            });
            again.engine_container = Some(one.container.clone());
            again.image = Some(one.image.clone());
            self.replace_container(old, again);
            return Ok(());
        }
        let name = if named.is_some() {
            distinct(&one.name, &one.container)
        } else {
            one.name.clone()
        };
        if self.containers.contains_key(&one.id) || self.index.container_names.contains_key(&name) {
            // Both can only meet by chance; the next resync brings another id.
            return Ok(());
        }
        let reason = "found on an engine; its runner has not joined yet";
        let mut container = self.blank_container(one.id, name, ContainerState::Candidate, reason);
        container.engine = Some(EngineRef {
            engine,
            container: one.container.clone(),
        });
        container.engine_container = Some(one.container.clone());
        container.image = Some(one.image.clone());
        container.labels = one.labels.clone();
        self.insert_container(container);
        Ok(())
    }

    /// Proof of death: what was never trusted is forgotten, the rest is lost and fenced at once.
    fn bury(&mut self, known: &Arc<Container>, reason: &str) {
        if known.state == ContainerState::Candidate {
            self.drop_container(known);
        } else {
            self.set_container(known, ContainerState::Lost, true, reason);
        }
    }

    /// After an engine was removed: its candidates go, its containers no longer belong to it.
    pub(super) fn forget_candidates(&mut self, engine: EngineId) {
        let of_engine = |c: &&Arc<Container>| c.engine.as_ref().is_some_and(|e| e.engine == engine);
        let members: Vec<_> = self.containers.values().filter(of_engine).cloned().collect();
        for known in members {
            if known.state == ContainerState::Candidate {
                self.drop_container(&known);
            } else {
                let mut left = (*known).clone();
                left.engine = None;
                self.replace_container(&known, left);
            }
        }
    }

    fn remove_container(&mut self, id: ContainerId, condition: &Condition) -> Decision {
        let known = self.known_container(id)?;
        condition.check(Some(known.version))?;
        let agents = self.placed(id).map_or(0, |p| p.agents.len());
        if agents > 0 {
            return Err(Rejection::Busy(format!(
                "container `{}` still has {agents} agents: stop or delete them first",
                known.name
            )));
        }
        self.drop_container(&known);
        Ok(Outcome::Done)
    }

    fn blank_container(&self, id: ContainerId, name: Name, state: ContainerState, reason: &str) -> Container {
        Container {
            id,
            name,
            state,
            reason: reason.to_owned(),
            fenced: false,
            engine: None,
            engine_container: None,
            address: None,
            image: None,
            labels: Labels::default(),
            capabilities: Capabilities::default(),
            resources: Resources::default(),
            boot: 0,
            version: self.revision,
            registered_at: self.now,
        }
    }

    fn known_container(&self, id: ContainerId) -> Result<Arc<Container>, Rejection> {
        self.containers
            .get(&id)
            .cloned()
            .ok_or_else(|| Rejection::NotFound {
                kind: Kind::Container,
                name: id.to_string(),
            })
    }

    fn insert_container(&mut self, mut container: Container) -> Arc<Container> {
        container.version = self.revision;
        self.index
            .container_names
            .insert(container.name.clone(), container.id);
        if let Some(theirs) = &container.engine_container {
            self.index.engine_containers.insert(theirs.clone(), container.id);
        }
        let container = Arc::new(container);
        self.containers.insert(container.id, container.clone());
        container
    }

    fn replace_container(&mut self, old: &Arc<Container>, new: Container) -> Arc<Container> {
        self.unindex_container(old);
        self.insert_container(new)
    }

    fn drop_container(&mut self, old: &Arc<Container>) {
        self.unindex_container(old);
        self.containers.remove(&old.id);
    }

    fn unindex_container(&mut self, old: &Arc<Container>) {
        self.index.container_names.remove(&old.name);
        if let Some(theirs) = &old.engine_container {
            self.index.engine_containers.remove(theirs);
        }
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

    /// The agents placed on a container, if there are any.
    pub fn placed(&self, id: ContainerId) -> Option<&Placed> {
        self.index.placed.get(&id)
    }
}

/// `first`, with what `second` says winning.
fn merge_labels(first: &Labels, second: &Labels) -> Labels {
    let own = |labels: &Labels| {
        labels
            .iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect::<Vec<_>>()
    };
    let merged: std::collections::BTreeMap<_, _> = own(first).into_iter().chain(own(second)).collect();
    Labels::lenient(merged)
}

/// A name that another container has, told apart by the engine's id of this one.
fn distinct(name: &Name, theirs: &str) -> Name {
    let tail: String = theirs.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    let head: String = name.chars().take(50).collect();
    format!("{head}-{}", tail.to_ascii_lowercase())
        .parse()
        .unwrap_or_else(|_| name.clone())
}
