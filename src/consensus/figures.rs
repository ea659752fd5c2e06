//! Handles of the metrics recorded here, looked up once.

use std::{collections::BTreeMap, fmt};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::handle::{Consensus, Status};
use crate::{
    model::{AgentState, ContainerState},
    state::State,
    telemetry::{
        AGENTS, APPLIED_REVISION, BREAKER_OPEN, CONTAINERS, IS_LEADER, PROPOSAL_SECONDS, PROPOSALS,
        READ_ROUND_SECONDS, TERM,
    },
};

/// What the tasks behind the handle record.
pub(super) struct Figures {
    pub proposals: Counter,
    pub proposal_seconds: Histogram,
    pub round_seconds: Histogram,
    leads: Gauge,
    term: Gauge,
    applied: Gauge,
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            proposals: counter!(PROPOSALS),
            proposal_seconds: histogram!(PROPOSAL_SECONDS),
            round_seconds: histogram!(READ_ROUND_SECONDS),
            leads: gauge!(IS_LEADER),
            term: gauge!(TERM),
            applied: gauge!(APPLIED_REVISION),
        }
    }
}

impl Figures {
    /// Shows a status.
    #[allow(clippy::cast_precision_loss)] // gauges are floats; terms and revisions stay below 2^53
    pub fn show(&self, status: &Status) {
        self.leads.set(if status.leader == Some(status.id) {
            1.0
        } else {
            0.0
        });
        self.term.set(status.term as f64);
        self.applied.set(status.applied as f64);
    }
}

const CONTAINER_STATES: [(ContainerState, &str); 5] = [
    (ContainerState::Candidate, "candidate"),
    (ContainerState::Registered, "registered"),
    (ContainerState::Ready, "ready"),
    (ContainerState::Suspect, "suspect"),
    (ContainerState::Lost, "lost"),
];

const AGENT_STATES: [(AgentState, &str); 7] = [
    (AgentState::Pending, "pending"),
    (AgentState::Assigned, "assigned"),
    (AgentState::Starting, "starting"),
    (AgentState::Running, "running"),
    (AgentState::Stopping, "stopping"),
    (AgentState::Stopped, "stopped"),
    (AgentState::Failed, "failed"),
];

/// Counts objects by state. Walks over all of them, so it is done only after a change and seldom.
pub(super) async fn count_objects(consensus: Consensus) {
    let mut objects = consensus.watch_objects();
    while objects.changed().await.is_ok() {
        show_objects(&consensus.objects());
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    }
}

#[allow(clippy::cast_precision_loss)] // counts stay below 2^53
fn show_objects(state: &State) {
    gauge!(BREAKER_OPEN).set(f64::from(u8::from(state.breaker().open.is_some())));
    let mut containers = BTreeMap::new();
    for container in state.containers(None) {
        *containers.entry(container.state).or_insert(0_u64) += 1;
    }
    for (which, name) in CONTAINER_STATES {
        let count = containers.get(&which).copied().unwrap_or(0);
        gauge!(CONTAINERS, "state" => name).set(count as f64);
    }
    let mut agents = BTreeMap::new();
    for agent in state.agents(None) {
        for replica in state.replica_states(agent) {
            *agents.entry(replica).or_insert(0_u64) += 1;
        }
    }
    for (which, name) in AGENT_STATES {
        let count = agents.get(&which).copied().unwrap_or(0);
        gauge!(AGENTS, "state" => name).set(count as f64);
    }
}
