//! Placing the agents that wait.
//!
//! Agents that ask for the same (constraints and resources) form a class. A class filters the
//! containers once and keeps those that qualify in a heap by load; a container whose load has grown
//! since it was pushed is pushed again when it comes up, and one that has no room for the class
//! leaves its heap for good, because loads only grow within a plan. So an agent costs about one heap
//! operation, however many containers there are.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    fmt,
    sync::Arc,
};

use super::load::{Load, Usage};
use crate::{
    command::Placement,
    model::{Agent, AgentId, Container, ContainerState, Resources, Selector},
    state::State,
};

/// What a state's waiting agents should get.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Decisions, each made on the agent's version.
    pub placements: Vec<Placement>,
    /// The agents that were looked at and fit nowhere.
    pub waiting: Vec<Waiting>,
}

/// An agent that fits nowhere now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which agent.
    pub agent: AgentId,
    /// Why, for a person to act on; shared by all agents that ask for the same.
    pub reason: Arc<str>,
}

/// Plans at most `limit` placements for the agents that wait, in the order of their ids.
pub fn place(state: &State, limit: usize) -> Plan {
    let mut plan = Plan::default();
    let mut waiting = state.pending().peekable();
    if waiting.peek().is_none() || limit == 0 {
        return plan;
    }
    let mut fleet = Fleet::of(state);
    let mut classes: BTreeMap<(&str, Asked), Class> = BTreeMap::new();
    for agent in waiting {
        if plan.placements.len() == limit {
            break;
        }
        let needs = agent.spec.resources;
        let class = classes
            .entry((&agent.spec.constraints, (needs.cpu_millis, needs.memory_bytes)))
            .or_insert_with(|| Class::of(agent, &fleet));
        match class.choose(&mut fleet) {
            Ok(at) => plan.placements.push(Placement {
                agent: agent.id,
                version: agent.version,
                container: fleet.containers[at].0.id,
            }),
            Err(reason) => plan.waiting.push(Waiting {
                agent: agent.id,
                reason,
            }),
        }
    }
    plan
}

/// CPU and memory asked for, as a key.
type Asked = (u64, u64);

/// The containers that may get agents, by id, with what this plan has put into them.
struct Fleet<'a> {
    containers: Vec<(&'a Container, Usage)>,
    not_ready: usize,
    /// Those that are ready, and would be asked if an operator had not cordoned them.
    cordoned: usize,
    /// As those, but for the engine's health check.
    unhealthy: usize,
}

impl<'a> Fleet<'a> {
    fn of(state: &'a State) -> Self {
        let mut fleet = Self {
            containers: Vec::new(),
            not_ready: 0,
            cordoned: 0,
            unhealthy: 0,
        };
        for container in state.containers(None) {
            if container.state != ContainerState::Ready {
                fleet.not_ready += 1;
            } else if container.cordoned.is_some() {
                fleet.cordoned += 1;
            } else if !container.takes_agents() {
                fleet.unhealthy += 1;
            } else {
                fleet.containers.push((container, Usage::of(state, container)));
            }
        }
        fleet
    }

    /// How many are left out before anything is asked of them, and why.
    fn left_out(&self) -> Vec<String> {
        let mut parts = Vec::new();
        if self.not_ready > 0 {
            parts.push(counted(self.not_ready, "is not ready", "are not ready"));
        }
        if self.cordoned > 0 {
            parts.push(counted(self.cordoned, "is cordoned", "are cordoned"));
        }
        if self.unhealthy > 0 {
            parts.push(counted(self.unhealthy, "is unhealthy", "are unhealthy"));
        }
        parts
    }
}

/// Agents that ask for the same.
struct Class {
    needs: Resources,
    selector: Result<Selector, String>,
    /// Smallest load first, then smallest id.
    heap: BinaryHeap<Reverse<(Load, usize)>>,
    hopeless: Option<Arc<str>>,
}

impl Class {
    fn of(agent: &Agent, fleet: &Fleet) -> Self {
        let selector = agent
            .spec
            .constraints
            .parse::<Selector>()
            .map_err(|error| error.to_string());
        let heap = match &selector {
            Err(_) => BinaryHeap::new(),
            Ok(selector) => fleet
                .containers
                .iter()
                .enumerate()
                .filter(|(_, (container, _))| container.meets(selector))
                .map(|(at, (_, usage))| Reverse((usage.load(), at)))
                .collect(),
        };
        Self {
            needs: agent.spec.resources,
            selector,
            heap,
            hopeless: None,
        }
    }

    /// Takes room in the least loaded container that qualifies.
    fn choose(&mut self, fleet: &mut Fleet) -> Result<usize, Arc<str>> {
        while let Some(mut top) = self.heap.peek_mut() {
            let Reverse((seen, at)) = *top;
            let usage = &mut fleet.containers[at].1;
            if !self.needs.fits(usage.free()) {
                std::collections::binary_heap::PeekMut::pop(top);
                continue;
            }
            if seen == usage.load() {
                usage.take(self.needs);
                *top = Reverse((usage.load(), at));
                return Ok(at);
            }
            *top = Reverse((usage.load(), at));
        }
        let reason = self
            .hopeless
            .get_or_insert_with(|| why(self.needs, &self.selector, fleet).into());
        Err(reason.clone())
    }
}

/// Why a class fits nowhere: how many containers fail at what.
fn why(needs: Resources, selector: &Result<Selector, String>, fleet: &Fleet) -> String {
    let selector = match selector {
        Ok(selector) => selector,
        Err(error) => return error.clone(),
    };
    if fleet.containers.is_empty() {
        return match (fleet.not_ready, fleet.cordoned + fleet.unhealthy) {
            (0, 0) => "no container has joined yet".into(),
            (_, 0) => format!("no container is ready: {}", fleet.left_out().join(", ")),
            _ => format!("no container takes agents: {}", fleet.left_out().join(", ")),
        };
    }
    let fits = |(container, _): &&(&Container, Usage)| container.meets(selector);
    let matching: Vec<_> = fleet.containers.iter().filter(fits).collect();
    let mut parts = fleet.left_out();
    let lacking = fleet.containers.len() - matching.len();
    if lacking > 0 {
        let one = format!("does not match `{selector}`");
        parts.push(counted(lacking, &one, &format!("do not match `{selector}`")));
    }
    if !matching.is_empty() {
        let best = matching
            .iter()
            .map(|(_, usage)| usage.free())
            .fold(Resources::default(), |a, b| Resources {
                cpu_millis: a.cpu_millis.max(b.cpu_millis),
                memory_bytes: a.memory_bytes.max(b.memory_bytes),
            });
        let room = format!("no room (needs {}, at most {} free)", Amount(needs), Amount(best));
        parts.push(counted(
            matching.len(),
            &format!("has {room}"),
            &format!("have {room}"),
        ));
    }
    let all = fleet.containers.len() + fleet.not_ready + fleet.cordoned + fleet.unhealthy;
    format!(
        "{}: {}",
        counted(all, "container", "containers"),
        parts.join(", ")
    )
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Resources as people write them: `500m CPU and 64 MiB`.
pub(super) struct Amount(pub Resources);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.0.memory_bytes / (1 << 20);
        write!(f, "{}m CPU and {mib} MiB", self.0.cpu_millis)
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
