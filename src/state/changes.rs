//! What differs between two versions of the state, found without a look at what they share.

use std::collections::BTreeSet;

use imbl::{OrdMap, ordmap::DiffItem};

use super::State;
use crate::model::{AgentId, ContainerId, EngineId};

/// Objects that are not what they were, or are not there any more, or were not there before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Containers, those among them whose agents alone are others.
    pub containers: BTreeSet<ContainerId>,
    /// Agents, those among them whose container alone goes by another name.
    pub agents: BTreeSet<AgentId>,
    /// Engines.
    pub engines: BTreeSet<EngineId>,
}

/// How many objects there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Containers.
    pub containers: usize,
    /// Agents.
    pub agents: usize,
    /// Engines.
    pub engines: usize,
    /// Placements.
    pub placed: usize,
}

impl State {
    /// What changed since `older`. Takes as long as there are changes, not objects.
    pub fn changes_since(&self, older: &Self) -> Changes {
        let mut changes = Changes {
            containers: differing(&older.containers, &self.containers),
            agents: differing(&older.agents, &self.agents),
            engines: differing(&older.engines, &self.engines),
        };
        for id in &changes.containers {
            let name = |state: &Self| state.container(*id).map(|container| container.name.clone());
            if name(self) != name(older) {
                let placed = self.placements_in(*id);
                changes
                    .agents
                    .extend(placed.map(|placement| placement.replica.agent));
            }
        }
        let placed = differing(&older.index.placed, &self.index.placed);
        changes.containers.extend(placed);
        changes
    }

    /// How many objects there are. Looks at each container.
    pub fn counts(&self) -> Counts {
        Counts {
            containers: self.containers.len(),
            agents: self.agents.len(),
            engines: self.engines.len(),
            placed: self
                .index
                .placed
                .values()
                .map(|placed| placed.placements.len())
                .sum(),
        }
    }
}

/// The keys under which two tables differ.
fn differing<K: Ord + Copy, V: PartialEq>(older: &OrdMap<K, V>, newer: &OrdMap<K, V>) -> BTreeSet<K> {
    let items = older.diff(newer).map(|item| match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) => *key,
        DiffItem::Update { new: (key, _), .. } => *key,
    });
    items.collect()
}
