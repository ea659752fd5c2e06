//! What must hold of every state, after any commands in any order.

use super::{MAX_CANDIDATES, MAX_FINDINGS, MAX_SCANS_UNDER_WAY, State, placement::of_replica};
use crate::model::{Agent, AgentState, Container, ContainerState, Desired, Placement, PlacementRole};

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the state at revision {revision} breaks an invariant: {what}")]
pub struct Violation {
    revision: u64,
    what: String,
}

impl State {
    /// Checks everything; costs a walk over the whole state, so it is for tests and inspection.
    ///
    /// # Errors
    /// The first [`Violation`] found.
    pub fn check(&self) -> Result<(), Violation> {
        let holds = |condition: bool, what: &dyn Fn() -> String| {
            if condition {
                Ok(())
            } else {
                Err(Violation {
                    revision: self.revision,
                    what: what(),
                })
            }
        };
        holds(self.index == self.compute_index(), &|| {
            "an index differs from its table".into()
        })?;
        let (by_key, by_age) = self.answers.len();
        holds(by_key == by_age, &|| {
            format!("{by_key} answers by key, {by_age} by age")
        })?;
        holds(self.config_bytes == self.config_bytes_counted(), &|| {
            "the bytes of configs are miscounted".into()
        })?;
        self.agents
            .values()
            .try_for_each(|agent| self.check_agent(agent))?;
        self.placements
            .values()
            .try_for_each(|placement| self.check_placement(placement))?;
        let breaker = &self.breaker;
        let begun = breaker.open.as_ref().map_or(breaker.settled, |open| open.since);
        let ordered = breaker.settled.max(begun) <= breaker.version && breaker.version <= self.revision;
        holds(ordered, &|| {
            format!("the breaker is from the future: {breaker:?}")
        })?;
        holds(self.events.are_sound(self.revision), &|| {
            "events are out of order or out of their bounds".into()
        })?;
        self.check_discovery()?;
        self.containers.values().try_for_each(|c| self.check_container(c))
    }

    fn check_agent(&self, agent: &Agent) -> Result<(), Violation> {
        let name = &agent.spec.name;
        let epochs = agent.replicas.iter().map(|replica| replica.epoch).max();
        let what = if agent.version > self.revision {
            "is from the future"
        } else if epochs.is_none_or(|last| last > agent.version) {
            "has no replica, or one with an epoch after its version"
        } else if agent.generation == 0 {
            "has no generation"
        } else if agent.desired == Desired::Removed && self.placements_of(agent.id).next().is_none() {
            "was to be forgotten"
        } else {
            return Ok(());
        };
        self.violated(format!("agent {name} {what}: {agent:?}"))
    }

    fn check_placement(&self, placement: &Placement) -> Result<(), Violation> {
        let id = placement.replica;
        let Some(agent) = self.agents.get(&id.agent) else {
            return self.violated(format!("a placement of no agent: {placement:?}"));
        };
        let Some(replica) = agent.replica(id.ordinal) else {
            return self.violated(format!("a placement of no replica: {placement:?}"));
        };
        let host = self.containers.get(&placement.container);
        let theirs = of_replica(id, &self.placements, &self.index.by_replica);
        let acting = theirs.filter(|other| other.role == PlacementRole::Active).count();
        let epoch = match placement.role {
            PlacementRole::Active => placement.epoch > 0 && placement.epoch == replica.epoch,
            PlacementRole::Incoming | PlacementRole::Outgoing => placement.epoch < replica.epoch,
        };
        let what = if placement.id >= self.next_placement {
            "has an id that was not given yet"
        } else if host.is_none_or(|host| host.boot == 0 || host.fenced) {
            "is in a container that is absent, fenced or without a runner"
        } else if acting > 1 {
            "is not the only active one of its replica"
        } else if !epoch {
            "is not of its role's epoch"
        } else if placement.version > agent.version || placement.epoch > placement.version {
            "has a version before its epoch, or after its agent's"
        } else if placement.generation == 0 || placement.generation > agent.generation {
            "is of no generation of its agent"
        } else if placement.state == AgentState::Pending {
            "is pending"
        } else {
            return Ok(());
        };
        self.violated(format!("a placement {what}: {placement:?} of {agent:?}"))
    }

    fn violated(&self, what: String) -> Result<(), Violation> {
        let revision = self.revision;
        Err(Violation { revision, what })
    }

    fn check_discovery(&self) -> Result<(), Violation> {
        let under_way = self.scans.values().filter(|scan| !scan.state.is_over()).count();
        let bounded = under_way <= MAX_SCANS_UNDER_WAY
            && self.findings.len() <= MAX_FINDINGS
            && self.candidates() <= MAX_CANDIDATES;
        let sound = self.scans.values().all(|scan| {
            let over = scan.state.is_over();
            scan.count.done <= scan.plan.total()
                && scan.version <= self.revision
                && over == scan.ended_at.is_some()
                && (scan.seen.is_empty() || !over)
        });
        if bounded && sound {
            return Ok(());
        }
        Err(Violation {
            revision: self.revision,
            what: format!("scans are out of their bounds: {:?}", self.scans),
        })
    }

    fn check_container(&self, container: &Container) -> Result<(), Violation> {
        let name = &container.name;
        let violated = |what: String| {
            Err(Violation {
                revision: self.revision,
                what,
            })
        };
        if let Some(place) = &container.engine {
            if !self.engines.contains_key(&place.engine) {
                return violated(format!("container {name} is on an unknown engine"));
            }
            if container.engine_container.as_ref() != Some(&place.container) {
                return violated(format!("container {name} has two ids on its engine"));
            }
        }
        if container.fenced && container.state != ContainerState::Lost {
            return violated(format!("container {name} is fenced and {:?}", container.state));
        }
        let newcomer = matches!(
            container.state,
            ContainerState::Candidate | ContainerState::Registered
        );
        if newcomer && container.boot != 0 {
            return violated(format!("container {name} has a runner that never connected"));
        }
        let (started, connected) = (container.started, container.connected);
        let ordered = started <= connected && connected <= container.version;
        let silent = container.boot == 0;
        if silent != (started == 0) || silent != (connected == 0) || !ordered {
            return violated(format!(
                "container {name} does not know when its runner connected"
            ));
        }
        if silent != container.manager.is_none() {
            return violated(format!(
                "container {name} does not know with which manager its runner connected"
            ));
        }
        let waits = matches!(container.state, ContainerState::Suspect | ContainerState::Lost);
        let known = container.silent_since != 0;
        if known != (waits && container.boot != 0) || container.silent_since > container.version {
            return violated(format!(
                "container {name} does not know since when it is not ready"
            ));
        }
        if let Some(found) = &container.assessment
            && (found.number == 0 || (**found).clone().bounded().0 != **found)
        {
            return violated(format!("container {name} keeps an assessment beyond all bounds"));
        }
        let found = container.fingerprint.is_some();
        if found && container.state != ContainerState::Candidate || container.invited.is_some() && !found {
            return violated(format!(
                "{name} is no candidate of a scan and has what belongs to one"
            ));
        }
        let brought = container.adoption.as_ref();
        if container.state == ContainerState::Ready && brought.is_some_and(|it| it.token.is_some()) {
            return violated(format!("{name} has a runner and a token for another one"));
        }
        if container.state == ContainerState::Candidate && container.enrolled {
            return violated(format!("{name} has a certificate and is called a candidate"));
        }
        Ok(())
    }
}
