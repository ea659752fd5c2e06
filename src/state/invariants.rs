//! What must hold of every state, after any commands in any order.

use super::{MAX_CANDIDATES, MAX_FINDINGS, MAX_SCANS_UNDER_WAY, State};
use crate::model::{AgentState, Container, ContainerState, Desired};

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
        for agent in self.agents.values() {
            let name = &agent.spec.name;
            holds(agent.version <= self.revision, &|| {
                format!("agent {name} is from the future")
            })?;
            holds(agent.epoch <= agent.version, &|| {
                format!("agent {name} has an epoch after its version")
            })?;
            if let Some(id) = agent.container {
                let hosts = self.containers.get(&id).is_some_and(|c| c.boot != 0 && !c.fenced);
                holds(hosts, &|| {
                    format!("agent {name} is placed in {id}, which is absent, fenced or without a runner")
                })?;
                holds(agent.epoch > 0, &|| {
                    format!("agent {name} is placed without an epoch")
                })?;
                holds(agent.state != AgentState::Pending, &|| {
                    format!("agent {name} is placed and pending")
                })?;
            } else {
                holds(agent.desired != Desired::Removed, &|| {
                    format!("agent {name} was to be forgotten")
                })?;
                let waits = agent.desired == Desired::Running;
                holds(waits == (agent.state == AgentState::Pending), &|| {
                    format!(
                        "agent {name} is unplaced, {:?} wanted and {:?} seen",
                        agent.desired, agent.state
                    )
                })?;
            }
        }
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
