//! The containers of one plan, with what the plan has put into them.
//!
//! Classes keep containers in heaps, by scores of when they were pushed. A score that became worse is
//! noticed when its container comes up. One that became better would not be, and neither would room that
//! came back: so for each strategy the fleet notes which containers rose, and each class reads on from
//! where it was. A number for each container, counted up with each rise, tells entries of before from those
//! that replaced them.

use super::{
    load::{Load, Usage},
    refusals::Refusals,
    score::score,
};
use crate::{
    model::{Container, Resources, Strategy},
    state::{
        State,
        fit::{self, Offer},
    },
};

/// A container that takes agents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host<'a> {
    container: &'a Container,
    usage: Usage,
    load: Load,
}

impl<'a> Host<'a> {
    pub(super) fn of(state: &State, container: &'a Container) -> Self {
        let usage = Usage::of(state, container);
        Self {
            container,
            usage,
            load: usage.load(),
        }
    }

    pub(super) fn container(&self) -> &'a Container {
        self.container
    }

    pub(super) fn load(&self) -> Load {
        self.load
    }

    pub(super) fn offer(&self) -> Offer<'a> {
        Offer {
            container: self.container,
            free: self.usage.free(),
        }
    }
}

/// A host's place in the fleet.
pub(super) type At = u32;

/// All containers of a state.
pub(super) struct Fleet<'a> {
    /// Those that take agents, by id.
    hosts: Vec<Host<'a>>,
    /// The others.
    closed: Refusals<'a>,
    rises: Vec<Rises>,
}

/// Which hosts became better for a strategy, or have room again.
struct Rises {
    strategy: Strategy,
    /// In order, with the number of the rise.
    log: Vec<(At, u32)>,
    /// How often each host rose.
    counts: Vec<u32>,
}

/// A strategy whose rises a fleet notes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Followed(usize);

impl<'a> Fleet<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        let mut fleet = Self {
            hosts: Vec::new(),
            closed: Refusals::default(),
            rises: Vec::new(),
        };
        for container in state.containers(None) {
            match fit::open(container) {
                Ok(()) => fleet.hosts.push(Host::of(state, container)),
                Err(why) => fleet.closed.add(why),
            }
        }
        fleet
    }

    /// Those that take agents, by id.
    pub(super) fn hosts(&self) -> impl Iterator<Item = (At, &Host<'a>)> {
        // A state holds far fewer containers than `At` counts.
        (0..).zip(&self.hosts)
    }

    /// Whether none takes agents.
    pub(super) fn is_closed(&self) -> bool {
        self.hosts.is_empty()
    }

    pub(super) fn host(&self, at: At) -> &Host<'a> {
        &self.hosts[at as usize]
    }

    /// Why the others take none.
    pub(super) fn closed(&self) -> &Refusals<'a> {
        &self.closed
    }

    /// Notes rises for this strategy from now on.
    pub(super) fn follow(&mut self, strategy: Strategy) -> Followed {
        let known = self.rises.iter().position(|rises| rises.strategy == strategy);
        Followed(known.unwrap_or_else(|| {
            self.rises.push(Rises {
                strategy,
                log: Vec::new(),
                counts: vec![0; self.hosts.len()],
            });
            self.rises.len() - 1
        }))
    }

    /// The hosts that rose, each with the number of the rise.
    pub(super) fn rises(&self, Followed(n): Followed) -> &[(At, u32)] {
        &self.rises[n].log
    }

    /// How often a host rose.
    pub(super) fn rise(&self, Followed(n): Followed, at: At) -> u32 {
        self.rises[n].counts[at as usize]
    }

    /// Puts one more agent into a host.
    pub(super) fn take(&mut self, at: At, resources: Resources) {
        self.change(at, |usage| usage.take(resources));
    }

    /// Takes an agent out of a host.
    #[cfg(test)]
    pub(super) fn give(&mut self, at: At, resources: Resources) {
        self.change(at, |usage| usage.give(resources));
    }

    fn change(&mut self, at: At, change: impl FnOnce(&mut Usage)) {
        let host = &mut self.hosts[at as usize];
        let before = *host;
        change(&mut host.usage);
        host.load = host.usage.load();
        let freed = !host.usage.free().fits(before.usage.free());
        for rises in &mut self.rises {
            if freed || score(rises.strategy, host) < score(rises.strategy, &before) {
                let count = &mut rises.counts[at as usize];
                *count += 1;
                rises.log.push((at, *count));
            }
        }
    }
}
