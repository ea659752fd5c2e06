//! What must hold of every state, after any commands in any order.

use super::State;
use crate::model::{AgentState, Desired};

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
                let fenced = self.containers.get(&id).map(|c| c.fenced);
                holds(fenced == Some(false), &|| {
                    format!("agent {name} is placed in {id}, which is fenced or absent")
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
        for container in self.containers.values() {
            let known = container
                .engine
                .as_ref()
                .is_none_or(|e| self.engines.contains_key(&e.engine));
            holds(known, &|| {
                format!("container {} is on an unknown engine", container.name)
            })?;
        }
        Ok(())
    }
}
