//! The replicated state and how commands change it.
//!
//! Pure: `apply(state, entry) -> reply`, with no clock, randomness, I/O, task or hash-ordered
//! iteration, so that every manager computes the same state from the same log. Time comes from the
//! proposals and only ever grows. The state is a value with structural sharing: a clone costs a few
//! reference counts, so readers, planners and the snapshot writer each hold a version of it and
//! never block apply.
//!
//! Tables are the truth; indexes are derived from them, left out of snapshots and rebuilt on load.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod adopt;
mod agent;
mod answers;
mod assess;
mod breaker;
mod changes;
mod cluster;
mod config;
mod container;
mod cordon;
mod discovery;
mod engine;
mod enroll;
mod events;
pub mod fit;
mod invariants;
mod observe;
mod placement;
mod quota;
mod sections;
mod snapshot;
mod table;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use imbl::{OrdMap, OrdSet};

use self::{
    answers::Answers,
    events::Events,
    placement::{ByReplica, Placements},
};
use crate::{
    command::{Command, Outcome, Proposal, Rejection, Reply, RequestKey},
    model::{
        Agent, AgentId, Breaker, Config, Container, ContainerId, Desired, Engine, EngineId, Finding,
        JoinToken, JoinTokenId, ManagerId, Millis, Name, PlacementId, ReplicaId, Resources, Revision, Scan,
        ScanId, Token, TokenId,
    },
};

pub use self::invariants::Violation;
pub use self::quota::{
    MAX_AGENTS, MAX_CONFIG_TOTAL_BYTES, MAX_CONTAINERS, MAX_ENGINES, MAX_SPEC_TOTAL_BYTES, MAX_TOKENS,
};
pub use self::sections::SnapshotError;
pub use self::{
    changes::{Changes, Counts},
    discovery::{MAX_CANDIDATES, MAX_FINDINGS, MAX_SCANS_UNDER_WAY},
    placement::ReplicaStatus,
};

/// How far one entry may move log time.
const MAX_STEP: Duration = Duration::from_secs(3600);

/// Whatever apply decides for one command.
type Decision = Result<Outcome, Rejection>;

/// Everything the managers agree on.
#[derive(Debug, Clone, Default)]
pub struct State {
    revision: Revision,
    term: u64,
    /// See [`State::objects_revision`].
    objects: Revision,
    now: Millis,
    cluster_id: String,
    next_manager: ManagerId,
    allocated: OrdMap<ManagerId, u64>,
    configs: OrdMap<Name, Arc<Config>>,
    config_bytes: u64,
    containers: OrdMap<ContainerId, Arc<Container>>,
    agents: OrdMap<AgentId, Arc<Agent>>,
    placements: Placements,
    next_placement: PlacementId,
    engines: OrdMap<EngineId, Arc<Engine>>,
    tokens: OrdMap<TokenId, Arc<Token>>,
    join_tokens: OrdMap<JoinTokenId, Arc<JoinToken>>,
    answers: Answers,
    breaker: Breaker,
    scans: OrdMap<ScanId, Arc<Scan>>,
    findings: OrdMap<SocketAddr, Arc<Finding>>,
    events: Events,
    index: Index,
}

/// What can be computed from the tables, kept for speed.
#[derive(Debug, Clone, Default, PartialEq)]
struct Index {
    container_names: OrdMap<Name, ContainerId>,
    engine_containers: OrdMap<String, ContainerId>,
    agent_names: OrdMap<Name, AgentId>,
    /// The sum of what all specs take.
    spec_bytes: u64,
    placed: OrdMap<ContainerId, Placed>,
    by_replica: ByReplica,
    pending: OrdSet<ReplicaId>,
    engine_names: OrdMap<Name, EngineId>,
    /// Candidates of scans by their keys.
    fingerprints: OrdMap<String, ContainerId>,
    /// Approved ones, and those that a runner is brought into, by the token that lets it in.
    invitations: OrdMap<JoinTokenId, ContainerId>,
}

/// The placements in one container, and what they ask for together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Placed {
    /// The placements.
    pub placements: OrdSet<PlacementId>,
    /// The sum of their requested resources.
    pub used: Resources,
}

impl State {
    /// Applies the entry at `revision`, which a leader of `term` appended.
    pub fn apply(&mut self, revision: Revision, term: u64, proposal: &Proposal) -> Reply {
        self.advance(revision, term);
        self.pass_time(proposal.at);
        let Some(key) = &proposal.key else {
            return Reply {
                revision,
                replayed: false,
                result: self.decide(&proposal.command),
            };
        };
        self.answers.forget_old(self.now);
        if let Some(answer) = self.answers.find(key) {
            return match answer {
                Ok(first) => Reply {
                    replayed: true,
                    ..first
                },
                Err(reused) => Reply {
                    revision,
                    replayed: false,
                    result: Err(reused),
                },
            };
        }
        let reply = Reply {
            revision,
            replayed: false,
            result: self.decide(&proposal.command),
        };
        self.answers.remember(key, &reply, self.now);
        reply
    }

    /// Log time follows the leaders' clocks and never goes back. One entry moves it by [`MAX_STEP`] at
    /// most: a leader whose clock is a year ahead must not end every token and every kept answer at once.
    fn pass_time(&mut self, at: Millis) {
        planted!(LogTimeGoesBack => self.now = at; return;);
        let bound = if self.now == Millis::default() {
            at
        } else {
            self.now.after(MAX_STEP)
        };
        self.now = self.now.max(at.min(bound));
    }

    /// Notes an entry that carries no command: a leader's first, or a membership change.
    pub fn advance(&mut self, revision: Revision, term: u64) {
        self.revision = revision;
        self.term = term;
    }

    fn decide(&mut self, command: &Command) -> Decision {
        let before = (!matches!(command, Command::Config(_))).then(|| self.before());
        if before.is_some() {
            self.objects = self.revision;
        }
        let decision = match command {
            Command::Cluster(command) => self.decide_cluster(command),
            Command::Config(command) => self.decide_config(command),
            Command::Container(command) => self.decide_container(command),
            Command::Agent(command) => self.decide_agent(command),
            Command::Engine(command) => self.decide_engine(command),
            Command::Discovery(command) => self.decide_discovery(command),
        };
        if let Some(before) = before {
            self.tell(&before, command);
        }
        decision
    }

    /// The revision of the last entry.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The revision of the last command about anything but configs. Configs are written often and
    /// concern nobody but their readers; whoever follows all else need not wake for them.
    pub fn objects_revision(&self) -> Revision {
        self.objects
    }

    /// The term of the last entry.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The first answer to a request, while it is kept.
    pub fn answered(&self, key: &RequestKey) -> Option<Reply> {
        self.answers.find(key)?.ok()
    }

    /// Whether nothing that placements depend on differs between two states. Compares by identity:
    /// `false` may be wrong, `true` never is.
    pub fn same_placing(&self, other: &Self) -> bool {
        self.containers.ptr_eq(&other.containers)
            && self.index.pending.ptr_eq(&other.index.pending)
            && self.index.placed.ptr_eq(&other.index.placed)
    }

    /// Log time: the latest clock any proposer has shown.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// The cluster's id; `None` until it is bootstrapped.
    pub fn cluster_id(&self) -> Option<&str> {
        (!self.cluster_id.is_empty()).then_some(&self.cluster_id)
    }

    fn compute_index(&self) -> Index {
        let mut index = Index::default();
        for (id, container) in &self.containers {
            index.container_names.insert(container.name.clone(), *id);
            if let Some(theirs) = &container.engine_container {
                index.engine_containers.insert(theirs.clone(), *id);
            }
            index.note_candidate(container);
        }
        for (id, agent) in &self.agents {
            index.agent_names.insert(agent.spec.name.clone(), *id);
            index.spec_bytes += agent.spec.bytes();
        }
        for placement in self.placements.values() {
            index.note_placement(placement, self.asked(placement));
        }
        for agent in self.agents.values() {
            let acts = |id: &ReplicaId| placement::active(*id, &self.placements, &index.by_replica).is_some();
            if agent.desired == Desired::Running {
                let waiting: Vec<_> = agent.replica_ids().filter(|id| !acts(id)).collect();
                waiting.into_iter().for_each(|id| {
                    index.pending.insert(id);
                });
            }
        }
        for (id, engine) in &self.engines {
            index.engine_names.insert(engine.name.clone(), *id);
        }
        index
    }
}

#[cfg(test)]
pub(crate) mod bench;
#[cfg(test)]
mod tests;
