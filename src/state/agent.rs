//! Agents: deploy, desired state, placement, reports.

use std::{ops::Bound, sync::Arc};

use super::{
    Decision, Index, State,
    fit::{self, Needs},
    quota::{MAX_AGENTS, bounded, room},
};
use crate::{
    command::{AgentCommand, Condition, Kind, Outcome, Placement, Rejection},
    model::{Agent, AgentId, AgentSpec, AgentState, ContainerId, Desired, Name, session::AgentReport},
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
            AgentCommand::Place(placements) => {
                let made = placements.iter().filter(|p| self.place(p)).count();
                // A plan has at most some thousands of placements, far below u32::MAX.
                Ok(Outcome::Placed {
                    made: made as u32,
                    refused: (placements.len() - made) as u32,
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

    fn deploy(&mut self, id: AgentId, spec: &AgentSpec) -> Decision {
        room(self.agents.len(), MAX_AGENTS, "agents")?;
        if self.index.agent_names.contains_key(&spec.name) || self.agents.contains_key(&id) {
            return Err(Rejection::Exists {
                kind: Kind::Agent,
                name: spec.name.to_string(),
            });
        }
        self.put_agent(Agent {
            id,
            spec: spec.clone(),
            desired: Desired::Running,
            state: AgentState::Pending,
            reason: "waits for a container".into(),
            container: None,
            epoch: 0,
            restarts: 0,
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
        let mut changed = (*known).clone();
        changed.desired = desired;
        match (desired, known.container) {
            (Desired::Removed, None) => {
                self.drop_agent(&known);
                return Ok(Outcome::Done);
            }
            (Desired::Stopped, None) => {
                changed.state = AgentState::Stopped;
                changed.reason = "stopped by an operator".into();
            }
            // Its process ended for good under this placement: there is nothing left to stop.
            (Desired::Stopped | Desired::Removed, Some(_))
                if matches!(known.state, AgentState::Stopped | AgentState::Failed) =>
            {
                self.unplace(&Arc::new(changed), "stopped by an operator");
                return Ok(Outcome::Done);
            }
            (Desired::Stopped | Desired::Removed, Some(_)) => {
                changed.state = AgentState::Stopping;
                changed.reason = "its runner is asked to stop it".into();
            }
            (Desired::Running, _) if known.desired == Desired::Stopped && known.container.is_some() => {
                let name = &known.spec.name;
                return Err(Rejection::Busy(format!(
                    "agent `{name}` is still stopping: start it once it has stopped"
                )));
            }
            // Its process ended for good: a start gives it a new placement, and so a new epoch.
            (Desired::Running, _) if matches!(known.state, AgentState::Stopped | AgentState::Failed) => {
                changed.state = AgentState::Pending;
                changed.reason = "waits for a container".into();
                changed.container = None;
            }
            (Desired::Running, _) => {}
        }
        if changed != *known {
            self.replace_agent(&known, changed);
        }
        Ok(Outcome::Done)
    }

    /// Makes one placement if the state still is as the plan saw it.
    fn place(&mut self, placement: &Placement) -> bool {
        let Some(known) = self.agents.get(&placement.agent).cloned() else {
            return false;
        };
        let Some(container) = self.containers.get(&placement.container) else {
            return false;
        };
        let waits = known.version == placement.version && self.index.pending.contains(&known.id);
        if !waits || fit::check(Needs::of(&known.spec), self.offer(container)).is_err() {
            return false;
        }
        let mut placed = (*known).clone();
        placed.state = AgentState::Assigned;
        placed.reason = format!("placed in container `{}`", container.name);
        placed.container = Some(placement.container);
        placed.epoch = self.revision;
        placed.restarts = 0;
        self.replace_agent(&known, placed);
        true
    }

    /// Takes a report in, unless it speaks of a placement that has ended.
    fn report(&mut self, container: ContainerId, report: &AgentReport) {
        let Some(known) = self.agents.get(&report.agent).cloned() else {
            return;
        };
        // A runner holds no agent that waits for a container; whoever says so says nothing.
        let nonsense = report.state == AgentState::Pending;
        let stale = known.epoch != report.epoch && !planted!(StaleEpochAccepted);
        if nonsense || known.container != Some(container) || stale {
            return;
        }
        let ended = matches!(report.state, AgentState::Stopped | AgentState::Failed);
        if ended && known.desired != Desired::Running {
            self.unplace(&known, &bounded(&report.reason));
            return;
        }
        // What an operator asked for is not undone by a report that was on its way.
        let stopping = known.desired != Desired::Running;
        let mut seen = (*known).clone();
        seen.state = if stopping {
            AgentState::Stopping
        } else {
            report.state
        };
        seen.restarts = report.restarts;
        if !stopping {
            seen.reason = bounded(&report.reason);
        }
        if seen != *known {
            self.replace_agent(&known, seen);
        }
    }

    /// Ends a placement. The epoch stays, so that the next one is greater.
    fn unplace(&mut self, known: &Arc<Agent>, reason: &str) {
        let mut free = (**known).clone();
        free.container = None;
        free.reason = reason.to_owned();
        match known.desired {
            Desired::Running => free.state = AgentState::Pending,
            Desired::Stopped => free.state = AgentState::Stopped,
            Desired::Removed => return self.drop_agent(known),
        }
        self.replace_agent(known, free);
    }

    /// Ends the placements of a container's agents that `which` picks.
    pub(super) fn unplace_all(&mut self, id: ContainerId, reason: &str, which: impl Fn(&AgentSpec) -> bool) {
        for agent in self.agents_of(id).collect::<Vec<_>>() {
            if which(&agent.spec) {
                self.unplace(&agent, reason);
            }
        }
    }

    /// After a runner's restart: its agents ended with it and are started again under the same epoch,
    /// except those whose process had ended for good.
    pub(super) fn note_runner_restart(&mut self, id: ContainerId) {
        for known in self.agents_of(id).collect::<Vec<_>>() {
            let over = matches!(known.state, AgentState::Stopped | AgentState::Failed);
            if known.desired == Desired::Running && !over {
                let mut again = (*known).clone();
                again.state = AgentState::Assigned;
                again.reason = "its runner restarted".into();
                self.replace_agent(&known, again);
            }
        }
    }

    fn put_agent(&mut self, mut agent: Agent) {
        agent.version = self.revision;
        self.index.agent_names.insert(agent.spec.name.clone(), agent.id);
        self.index.note_agent(agent.id, &agent);
        self.agents.insert(agent.id, Arc::new(agent));
    }

    fn replace_agent(&mut self, old: &Arc<Agent>, new: Agent) {
        self.index.forget_agent(old.id, old);
        self.put_agent(new);
    }

    fn drop_agent(&mut self, old: &Arc<Agent>) {
        self.index.forget_agent(old.id, old);
        self.index.agent_names.remove(&old.spec.name);
        self.agents.remove(&old.id);
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

    /// The agents placed in a container, by id.
    pub fn agents_of(&self, id: ContainerId) -> impl Iterator<Item = Arc<Agent>> {
        let ids = self
            .index
            .placed
            .get(&id)
            .into_iter()
            .flat_map(|placed| placed.agents.iter());
        ids.filter_map(|id| self.agents.get(id).cloned())
    }

    /// Agents that wait for a container, by id.
    pub fn pending(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.index.pending.iter().filter_map(|id| self.agents.get(id))
    }
}

impl Index {
    pub(super) fn note_agent(&mut self, id: AgentId, agent: &Agent) {
        match agent.container {
            Some(container) => {
                let placed = self.placed.entry(container).or_default();
                placed.agents.insert(id);
                placed.used = placed.used.plus(agent.spec.resources);
            }
            None if agent.desired == Desired::Running => {
                self.pending.insert(id);
            }
            None => {}
        }
    }

    pub(super) fn forget_agent(&mut self, id: AgentId, agent: &Agent) {
        self.pending.remove(&id);
        let Some(container) = agent.container else { return };
        let Some(mut placed) = self.placed.get(&container).cloned() else {
            return;
        };
        placed.agents.remove(&id);
        placed.used = placed.used.minus(agent.spec.resources);
        if placed.agents.is_empty() {
            self.placed.remove(&container);
        } else {
            self.placed.insert(container, placed);
        }
    }
}
