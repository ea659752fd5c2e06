//! Placing the agents that wait.
//!
//! Agents that ask for the same (resources, constraints and strategy) form a class. A class filters the
//! containers once and keeps those that qualify in a heap by score; a container whose score has become
//! worse since it was pushed is pushed again when it comes up, and one that became better is pushed when
//! that happens. So an agent costs about one heap operation, however many containers there are.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    class::{Class, Key},
    fleet::Fleet,
};
use crate::{command::Binding, model::ReplicaId, state::State};

/// What a state's waiting replicas should get.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Who is to get what.
    pub bindings: Vec<Binding>,
    /// The replicas that were looked at and fit nowhere.
    pub waiting: Vec<Waiting>,
}

/// A replica that fits nowhere now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which replica.
    pub replica: ReplicaId,
    /// Why, for a person to act on; shared by all agents that ask for the same.
    pub reason: Arc<str>,
}

/// Plans at most `limit` placements for the replicas that wait, in the order of their ids.
pub fn place(state: &State, limit: usize) -> Plan {
    let mut plan = Plan::default();
    let mut waiting = state.pending().peekable();
    if waiting.peek().is_none() || limit == 0 {
        return plan;
    }
    let mut fleet = Fleet::of(state);
    let mut classes = BTreeMap::new();
    for (id, agent) in waiting {
        if plan.bindings.len() == limit {
            break;
        }
        let key = Key::of(&agent.spec);
        let class = classes.entry(key).or_insert_with(|| Class::of(key, &mut fleet));
        match class.choose(&mut fleet) {
            Ok(at) => plan.bindings.push(Binding {
                replica: id,
                // It is one of the agent's.
                after: agent.replica(id.ordinal).map_or(0, |replica| replica.epoch),
                generation: agent.generation,
                container: fleet.host(at).container().id,
            }),
            Err(reason) => plan.waiting.push(Waiting { replica: id, reason }),
        }
    }
    plan
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
