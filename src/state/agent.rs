//! Agents: deploy, desired state, and what runners report.

use std::{ops::Bound, sync::Arc};

use super::{
    Decision, State,
    quota::{MAX_AGENTS, room},
};
use crate::{
    command::{AgentCommand, Condition, Kind, Outcome, Rejection},
    model::{Agent, AgentId, AgentSpec, AgentState, Desired, MAX_REPLICAS, Name, Replica},
};

impl State {
    pub(super) fn decide_agent(&mut self, command: &AgentCommand) -> Decision {
        match command {
            AgentCommand::Deploy { id, spec } => self.deploy(*id, spec),
            AgentCommand::SetDesired {
                id,
                desired,
                condition,
            } => self.set_desired(*id, *desired, condition),
            AgentCommand::Place(bindings) => {
                let made = bindings.iter().filter(|binding| self.bind(binding)).count();
                // A plan has at most some thousands of bindings, far below u32::MAX.
                Ok(Outcome::Placed {
                    made: made as u32,
                    refused: (bindings.len() - made) as u32,
                })
            }
            AgentCommand::Report {
                container,
                boot,
                reports,
            } => {
                let known = self.containers.get(container);
                if known.is_none_or(|c| c.boot != *boot) {
                    return Err(Rejection::Busy(format!(
                        "{container} has no session of this start"
                    )));
                }
                reports.iter().for_each(|report| self.report(*container, report));
                Ok(Outcome::Done)
            }
        }
    }

    fn deploy(&mut self, id: AgentId, spec: &Arc<AgentSpec>) -> Decision {
        room(self.agents.len(), MAX_AGENTS, "agents")?;
        if self.index.agent_names.contains_key(&spec.name) || self.agents.contains_key(&id) {
            return Err(Rejection::Exists {
                kind: Kind::Agent,
                name: spec.name.to_string(),
            });
        }
        if !(1..=MAX_REPLICAS).contains(&spec.replicas) {
            return Err(Rejection::Quota(format!(
                "an agent has 1 to {MAX_REPLICAS} replicas, not {}",
                spec.replicas
            )));
        }
        self.room_for_spec(0, spec.bytes())?;
        let replicas = (0..spec.replicas).map(|_| Replica::default()).collect();
        self.put_agent(Agent {
            id,
            spec: Arc::clone(spec),
            generation: 1,
            desired: Desired::Running,
            replicas,
            version: self.revision,
            deployed_at: self.now,
        });
        Ok(Outcome::AgentDeployed(id))
    }

    fn set_desired(&mut self, id: AgentId, desired: Desired, condition: &Condition) -> Decision {
        let known = self.agents.get(&id).cloned();
        let known = known.ok_or_else(|| Rejection::NotFound {
            kind: Kind::Agent,
            name: id.to_string(),
        })?;
        condition.check(Some(known.version))?;
        if known.desired == Desired::Removed && desired != Desired::Removed {
            return Err(Rejection::Busy(format!(
                "agent `{}` is being deleted",
                known.spec.name
            )));
        }
        let placements: Vec<_> = self.placements_of(id).cloned().collect();
        let runs = desired == Desired::Running;
        if runs && known.desired == Desired::Stopped && !placements.is_empty() {
            let name = &known.spec.name;
            return Err(Rejection::Busy(format!(
                "agent `{name}` is still stopping: start it once it has stopped"
            )));
        }
        if desired == Desired::Removed && placements.is_empty() {
            self.drop_agent(id);
            return Ok(Outcome::Done);
        }
        if known.desired != desired {
            let mut changed = (*known).clone();
            changed.desired = desired;
            // Why it waited, or had stopped, is told no more.
            changed
                .replicas
                .iter_mut()
                .for_each(|replica| replica.reason = None);
            self.put_agent(changed);
        }
        for placement in placements {
            match (runs, placement.is_over()) {
                // Its process ended for good: a start gives it a new placement, and so a new epoch; and there
                // is nothing left to stop.
                (_, true) => self.end_placement(&placement, None),
                // What is stopping already needs no other word.
                (false, false) if known.desired == Desired::Running => {
                    self.tell_placement(&placement, AgentState::Stopping, "its runner is asked to stop it");
                }
                (_, false) => {}
            }
        }
        Ok(Outcome::Done)
    }

    fn put_agent(&mut self, mut agent: Agent) {
        agent.version = self.revision;
        self.index.agent_names.insert(agent.spec.name.clone(), agent.id);
        let replicas = agent.replica_ids();
        self.index.spec_bytes += agent.spec.bytes();
        let old = self.agents.insert(agent.id, Arc::new(agent));
        self.index.spec_bytes -= old.map_or(0, |old| old.spec.bytes());
        replicas.for_each(|id| self.note_pending(id));
    }

    /// Forgets an agent that has no placement.
    pub(super) fn drop_agent(&mut self, id: AgentId) {
        let Some(old) = self.agents.remove(&id) else {
            return;
        };
        self.index.agent_names.remove(&old.spec.name);
        self.index.spec_bytes -= old.spec.bytes();
        old.replica_ids().for_each(|id| self.note_pending(id));
    }

    /// An agent by id.
    pub fn agent(&self, id: AgentId) -> Option<&Arc<Agent>> {
        self.agents.get(&id)
    }

    /// An agent by name or id.
    pub fn find_agent(&self, name_or_id: &str) -> Option<&Arc<Agent>> {
        let id = match self.index.agent_names.get(name_or_id) {
            Some(id) => *id,
            None => name_or_id.parse().ok()?,
        };
        self.agents.get(&id)
    }

    /// Agents by name, from after `after` on.
    pub fn agents<'a>(&'a self, after: Option<&Name>) -> impl Iterator<Item = &'a Arc<Agent>> + use<'a> {
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
        self.index
            .agent_names
            .range((from, Bound::Unbounded))
            .filter_map(|(_, id)| self.agents.get(id))
    }
}
