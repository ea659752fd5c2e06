//! Placements: bind, observe, end; and the indexes over them.
//!
//! A replica's epoch lives in its agent and outlives placements, so that it only grows. Each change of a
//! placement gives its agent a new version: who watches agents, or holds one to a version, misses none.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::{
    Index, State,
    fit::{self, Needs},
    quota::bounded,
};
use crate::{
    command::Binding,
    model::{
        Agent, AgentId, AgentSpec, AgentState, ContainerId, Desired, Placement, PlacementId, PlacementRole,
        Replica, ReplicaId, Resources, Revision, session::PlacementReport,
    },
};

/// All placements.
pub(super) type Placements = OrdMap<PlacementId, Arc<Placement>>;

/// The placements of each replica.
pub(super) type ByReplica = OrdSet<(ReplicaId, PlacementId)>;

/// What is to be said of a replica now, by its active placement or for want of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Which replica.
    pub id: ReplicaId,
    /// The epoch of its last active placement.
    pub epoch: Revision,
    /// What was last observed.
    pub state: AgentState,
    /// Why, for a person to act on.
    pub reason: Arc<str>,
    /// Its active placement.
    pub active: Option<Arc<Placement>>,
}

impl ReplicaStatus {
    /// Where it is.
    pub fn container(&self) -> Option<ContainerId> {
        self.active.as_ref().map(|placement| placement.container)
    }

    /// How often its process was started again in its placement.
    pub fn restarts(&self) -> u32 {
        self.active.as_ref().map_or(0, |placement| placement.restarts)
    }
}

impl State {
    /// Makes one placement if the state still is as the plan saw it.
    pub(super) fn bind(&mut self, binding: &Binding) -> bool {
        let id = binding.replica;
        let Some(agent) = self.agents.get(&id.agent) else {
            return false;
        };
        let Some(container) = self.containers.get(&binding.container) else {
            return false;
        };
        let as_planned = agent.generation == binding.generation
            && agent
                .replica(id.ordinal)
                .is_some_and(|r| r.epoch == binding.after)
            && self.index.pending.contains(&id);
        if !as_planned || fit::check(Needs::of(&agent.spec), self.offer(container)).is_err() {
            return false;
        }
        let reason = format!("placed in container `{}`", container.name);
        let placement = Placement {
            id: self.next_placement,
            replica: id,
            container: container.id,
            epoch: self.revision,
            generation: agent.generation,
            role: PlacementRole::Active,
            state: AgentState::Assigned,
            reason,
            restarts: 0,
            version: self.revision,
        };
        self.next_placement.0 += 1;
        let epoch = self.revision;
        self.put_placement(placement);
        self.change_replica(id, |replica| *replica = Replica { epoch, reason: None });
        true
    }

    /// Takes a report in, unless it speaks of a placement that has ended.
    pub(super) fn report(&mut self, container: ContainerId, report: &PlacementReport) {
        let named = self.placements.get(&report.placement).cloned();
        let meant =
            named.or_else(|| planted!(StaleEpochAccepted).then(|| self.active(report.replica).cloned())?);
        let Some(known) = meant.filter(|known| known.container == container) else {
            return;
        };
        // A runner holds no replica that waits for a container; whoever says so says nothing.
        let nonsense = report.state == AgentState::Pending;
        let current = (known.epoch, known.generation) == (report.epoch, report.generation);
        if nonsense || !(current || planted!(StaleEpochAccepted)) {
            return;
        }
        let wanted = self.desired(known.replica.agent);
        if report.state.is_over() && wanted != Desired::Running {
            return self.end_placement(&known, Some(bounded(&report.reason).into()));
        }
        // What an operator asked for is not undone by a report that was on its way.
        let stopping = wanted != Desired::Running;
        let mut seen = (*known).clone();
        seen.restarts = report.restarts;
        if stopping {
            seen.state = AgentState::Stopping;
        } else {
            seen.state = report.state;
            seen.reason = bounded(&report.reason);
        }
        if seen != *known {
            self.replace_placement(&known, seen);
        }
    }

    fn desired(&self, agent: AgentId) -> Desired {
        self.agents
            .get(&agent)
            .map_or(Desired::Removed, |agent| agent.desired)
    }

    /// Says of a placement what is to become of it.
    pub(super) fn tell_placement(&mut self, known: &Arc<Placement>, state: AgentState, reason: &str) {
        let told = Placement {
            state,
            reason: reason.to_owned(),
            ..(**known).clone()
        };
        self.replace_placement(known, told);
    }

    /// Ends a placement. Its replica's epoch stays, so that the next one is greater. The last one of an agent
    /// that is to be forgotten takes it along.
    pub(super) fn end_placement(&mut self, known: &Arc<Placement>, reason: Option<Arc<str>>) {
        self.index.forget_placement(known, self.asked(known));
        self.placements.remove(&known.id);
        let agent = known.replica.agent;
        let forgotten = self.desired(agent) == Desired::Removed && self.placements_of(agent).next().is_none();
        if forgotten {
            return self.drop_agent(agent);
        }
        let was_active = known.role == PlacementRole::Active;
        self.change_replica(known.replica, |replica| {
            if was_active {
                replica.reason = reason;
            }
        });
    }

    /// Ends the placements in a container whose agents `which` picks.
    pub(super) fn end_placements(
        &mut self,
        id: ContainerId,
        reason: &str,
        which: impl Fn(&AgentSpec) -> bool,
    ) {
        let reason: Arc<str> = reason.into();
        for placement in self.placements_in(id).cloned().collect::<Vec<_>>() {
            let agent = self.agents.get(&placement.replica.agent);
            if agent.is_some_and(|agent| which(&agent.spec)) {
                self.end_placement(&placement, Some(reason.clone()));
            }
        }
    }

    /// After a runner's restart: processes ended with it and are started again under the same epoch, except
    /// those that had ended for good.
    pub(super) fn note_runner_restart(&mut self, id: ContainerId) {
        for known in self.placements_in(id).cloned().collect::<Vec<_>>() {
            if self.desired(known.replica.agent) == Desired::Running && !known.is_over() {
                self.tell_placement(&known, AgentState::Assigned, "its runner restarted");
            }
        }
    }

    pub(super) fn put_placement(&mut self, placement: Placement) {
        let placement = Arc::new(placement);
        self.index.note_placement(&placement, self.asked(&placement));
        self.placements.insert(placement.id, placement);
    }

    fn replace_placement(&mut self, old: &Arc<Placement>, mut new: Placement) {
        new.version = self.revision;
        self.index.forget_placement(old, self.asked(old));
        self.put_placement(new);
        self.change_replica(old.replica, |_| {});
    }

    /// Changes what outlives placements, and gives the agent a new version.
    fn change_replica(&mut self, id: ReplicaId, change: impl FnOnce(&mut Replica)) {
        let Some(mut agent) = self.agents.get(&id.agent).map(|known| (**known).clone()) else {
            return;
        };
        if let Some(replica) = agent.replica_mut(id.ordinal) {
            change(replica);
        }
        agent.version = self.revision;
        self.agents.insert(agent.id, Arc::new(agent));
        self.note_pending(id);
    }

    /// Whether a replica waits for a container.
    fn waits(&self, id: ReplicaId) -> bool {
        let agent = self.agents.get(&id.agent);
        agent.is_some_and(|agent| agent.desired == Desired::Running && agent.replica(id.ordinal).is_some())
            && self.active(id).is_none()
    }

    /// Keeps the index of those that wait in step. Touches it only where it changes: its identity is compared.
    pub(super) fn note_pending(&mut self, id: ReplicaId) {
        match (self.waits(id), self.index.pending.contains(&id)) {
            (true, false) => {
                self.index.pending.insert(id);
            }
            (false, true) => {
                self.index.pending.remove(&id);
            }
            _ => {}
        }
    }

    /// What a placement takes of its container.
    pub(super) fn asked(&self, placement: &Placement) -> Resources {
        let agent = self.agents.get(&placement.replica.agent);
        agent.map(|agent| agent.spec.resources).unwrap_or_default()
    }

    /// A placement by id.
    pub fn placement(&self, id: PlacementId) -> Option<&Arc<Placement>> {
        self.placements.get(&id)
    }

    /// The placements of an agent, by ordinal.
    pub fn placements_of(&self, agent: AgentId) -> impl Iterator<Item = &Arc<Placement>> {
        let at = |ordinal, id| (ReplicaId { agent, ordinal }, PlacementId(id));
        self.index
            .by_replica
            .range(at(0, 0)..=at(u32::MAX, u64::MAX))
            .filter_map(|(_, id)| self.placements.get(id))
    }

    /// The placement under which a replica acts.
    pub fn active(&self, replica: ReplicaId) -> Option<&Arc<Placement>> {
        active(replica, &self.placements, &self.index.by_replica)
    }

    /// The placements in a container, by id.
    pub fn placements_in(&self, id: ContainerId) -> impl Iterator<Item = &Arc<Placement>> {
        let placed = self.index.placed.get(&id).into_iter();
        placed
            .flat_map(|placed| placed.placements.iter())
            .filter_map(|id| self.placements.get(id))
    }

    /// Replicas that wait for a container, by agent and ordinal, with their agents.
    pub fn pending(&self) -> impl Iterator<Item = (ReplicaId, &Arc<Agent>)> {
        let ids = self.index.pending.iter();
        ids.filter_map(|id| Some((*id, self.agents.get(&id.agent)?)))
    }

    /// What is to be said of one replica now.
    pub fn replica(&self, id: ReplicaId) -> Option<ReplicaStatus> {
        let agent = self.agents.get(&id.agent)?;
        let replica = agent.replica(id.ordinal)?;
        let active = self.active(id).cloned();
        Some(status(agent.desired, id, replica, active))
    }

    /// The states of an agent's replicas now, in order.
    pub fn replica_states(&self, agent: &Agent) -> impl Iterator<Item = AgentState> {
        let desired = agent.desired;
        agent
            .replica_ids()
            .map(move |id| state_of(desired, self.active(id).map(|placement| &**placement)))
    }

    /// What is to be said of an agent's replicas now, in order.
    pub fn replicas(&self, agent: &Agent) -> Vec<ReplicaStatus> {
        statuses(agent, &self.placements, &self.index.by_replica)
    }
}

/// The placements of a replica, by id.
pub(super) fn of_replica<'a>(
    replica: ReplicaId,
    placements: &'a Placements,
    by_replica: &'a ByReplica,
) -> impl Iterator<Item = &'a Arc<Placement>> {
    let all = (replica, PlacementId(0))..=(replica, PlacementId(u64::MAX));
    let ids = by_replica.range(all);
    ids.filter_map(|(_, id)| placements.get(id))
}

/// The placement under which a replica acts.
pub(super) fn active<'a>(
    replica: ReplicaId,
    placements: &'a Placements,
    by_replica: &'a ByReplica,
) -> Option<&'a Arc<Placement>> {
    of_replica(replica, placements, by_replica).find(|placement| placement.role == PlacementRole::Active)
}

/// What is to be said of an agent's replicas, in order.
pub(super) fn statuses(agent: &Agent, placements: &Placements, by_replica: &ByReplica) -> Vec<ReplicaStatus> {
    let replicas = agent.replica_ids().zip(agent.replicas.iter());
    replicas
        .map(|(id, replica)| {
            status(
                agent.desired,
                id,
                replica,
                active(id, placements, by_replica).cloned(),
            )
        })
        .collect()
}

fn status(
    desired: Desired,
    id: ReplicaId,
    replica: &Replica,
    active: Option<Arc<Placement>>,
) -> ReplicaStatus {
    let state = state_of(desired, active.as_deref());
    let reason = match (&active, &replica.reason) {
        (Some(placement), _) => placement.reason.as_str().into(),
        (None, Some(reason)) => reason.clone(),
        (None, None) if desired == Desired::Running => "waits for a container".into(),
        (None, None) => "stopped by an operator".into(),
    };
    ReplicaStatus {
        id,
        epoch: replica.epoch,
        state,
        reason,
        active,
    }
}

fn state_of(desired: Desired, active: Option<&Placement>) -> AgentState {
    match (active, desired) {
        (Some(placement), _) => placement.state,
        (None, Desired::Running) => AgentState::Pending,
        (None, Desired::Stopped | Desired::Removed) => AgentState::Stopped,
    }
}

impl Index {
    pub(super) fn note_placement(&mut self, placement: &Placement, asked: Resources) {
        self.by_replica.insert((placement.replica, placement.id));
        let placed = self.placed.entry(placement.container).or_default();
        placed.placements.insert(placement.id);
        placed.used = placed.used.plus(asked);
    }

    pub(super) fn forget_placement(&mut self, placement: &Placement, asked: Resources) {
        self.by_replica.remove(&(placement.replica, placement.id));
        let Some(mut placed) = self.placed.get(&placement.container).cloned() else {
            return;
        };
        placed.placements.remove(&placement.id);
        placed.used = placed.used.minus(asked);
        if placed.placements.is_empty() {
            self.placed.remove(&placement.container);
        } else {
            self.placed.insert(placement.container, placed);
        }
    }
}
