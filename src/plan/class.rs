//! Agents that ask for the same, and the containers that could take them.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
    sync::Arc,
};

use super::{
    fleet::{At, Fleet, Followed},
    refusals,
    score::{Score, score},
};
use crate::{
    model::{AgentSpec, Strategy},
    state::fit::{self, Needs},
};

/// What agents of one class have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<'a> {
    needs: Needs<'a>,
    strategy: Strategy,
}

impl<'a> Key<'a> {
    pub(super) fn of(spec: &'a AgentSpec) -> Self {
        Self {
            needs: Needs::of(spec),
            strategy: spec.strategy,
        }
    }
}

/// A class in one plan.
pub(super) struct Class<'a> {
    key: Key<'a>,
    followed: Followed,
    /// The containers that are what the class asks for and had room when they were last looked at; the best
    /// first.
    heap: BinaryHeap<Reverse<Entry>>,
    /// How many of the fleet's rises it has read.
    read: usize,
    /// Why its agents wait, once one does.
    waits: Option<Arc<str>>,
}

/// Of two entries of one container, only that of its last rise counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    score: Score,
    at: At,
    rise: u32,
}

impl<'a> Class<'a> {
    pub(super) fn of(key: Key<'a>, fleet: &mut Fleet<'a>) -> Self {
        let followed = fleet.follow(key.strategy);
        let mut class = Self {
            key,
            followed,
            heap: BinaryHeap::new(),
            read: fleet.rises(followed).len(),
            waits: None,
        };
        let entries = fleet.hosts().filter_map(|(at, _)| class.entry(fleet, at));
        class.heap = entries.map(Reverse).collect();
        class
    }

    /// The entry of a container if the class may use it as it is now.
    fn entry(&self, fleet: &Fleet<'a>, at: At) -> Option<Entry> {
        let Key { needs, strategy } = self.key;
        let host = fleet.host(at);
        fit::suited(needs, host.offer()).ok()?;
        fit::left(needs, host.offer()).ok()?;
        Some(Entry {
            score: score(strategy, host),
            at,
            rise: fleet.rise(self.followed, at),
        })
    }

    /// Pushes those that rose since the class last looked; their entries of before are void.
    fn catch_up(&mut self, fleet: &Fleet<'a>) {
        let rises = fleet.rises(self.followed);
        for (at, rise) in &rises[self.read..] {
            let last = *rise == fleet.rise(self.followed, *at);
            if last && let Some(entry) = self.entry(fleet, *at) {
                self.heap.push(Reverse(entry));
            }
            self.waits = None;
        }
        self.read = rises.len();
    }

    /// Takes room in the best container.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn choose(&mut self, fleet: &mut Fleet<'a>) -> Result<At, Arc<str>> {
        self.catch_up(fleet);
        let (Key { needs, strategy }, followed) = (self.key, self.followed);
        while let Some(mut top) = self.heap.peek_mut() {
            let Entry {
                score: seen,
                at,
                rise,
            } = top.0;
            let host = fleet.host(at);
            if rise != fleet.rise(followed, at) || fit::left(needs, host.offer()).is_err() {
                // If room comes back, that is a rise.
                PeekMut::pop(top);
                continue;
            }
            let now = score(strategy, host);
            if seen == now {
                fleet.take(at, needs.resources);
                // What the class did itself it knows.
                self.read = fleet.rises(followed).len();
                top.0 = Entry {
                    score: score(strategy, fleet.host(at)),
                    at,
                    rise: fleet.rise(followed, at),
                };
                return Ok(at);
            }
            top.0.score = now;
        }
        let waits = self
            .waits
            .get_or_insert_with(|| refusals::reason(needs, fleet).into());
        Err(waits.clone())
    }
}

#[cfg(test)]
#[path = "class_tests.rs"]
mod tests;
