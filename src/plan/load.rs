//! How full a container is.

use crate::{
    model::{Container, Resources},
    state::State,
};

/// What an agent counts for at least, so that agents which ask for nothing spread as well.
const AT_LEAST: Resources = Resources {
    cpu_millis: 10,
    memory_bytes: 16 << 20,
};

/// What a container that does not say is taken to have, for comparing only.
const UNTOLD: Resources = Resources {
    cpu_millis: 1_000,
    memory_bytes: 1 << 30,
};

/// What is in use in a container, with the placements of the plan under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    capacity: Resources,
    used: Resources,
    agents: u64,
}

/// A container's share in use: millionths of the scarcer of CPU and memory, then the number of its
/// agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Load {
    /// Millionths in use of what the container has least of.
    pub share: u64,
    /// Agents placed in it.
    pub agents: u64,
}

impl Usage {
    pub(super) fn of(state: &State, container: &Container) -> Self {
        let placed = state.placed(container.id);
        Self {
            capacity: container.resources,
            used: placed.map(|p| p.used).unwrap_or_default(),
            agents: placed.map_or(0, |p| p.placements.len() as u64),
        }
    }

    pub(super) fn free(&self) -> Resources {
        self.capacity.minus(self.used)
    }

    pub(super) fn take(&mut self, needs: Resources) {
        self.used = self.used.plus(needs);
        self.agents += 1;
    }

    #[cfg(test)]
    pub(super) fn give(&mut self, taken: Resources) {
        self.used = self.used.minus(taken);
        self.agents -= 1;
    }

    pub(super) fn load(&self) -> Load {
        let part = |used: u64, least: u64, of: u64, untold: u64| {
            let used = u128::from(used).max(u128::from(least) * u128::from(self.agents));
            let of = u128::from(if of == 0 { untold } else { of });
            u64::try_from(used * 1_000_000 / of).unwrap_or(u64::MAX)
        };
        let cpu = part(
            self.used.cpu_millis,
            AT_LEAST.cpu_millis,
            self.capacity.cpu_millis,
            UNTOLD.cpu_millis,
        );
        let memory = part(
            self.used.memory_bytes,
            AT_LEAST.memory_bytes,
            self.capacity.memory_bytes,
            UNTOLD.memory_bytes,
        );
        Load {
            share: cpu.max(memory),
            agents: self.agents,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(cpu: u64, used: u64, agents: u64) -> Usage {
        let of = |cpu_millis| Resources {
            cpu_millis,
            memory_bytes: 0,
        };
        Usage {
            capacity: of(cpu),
            used: of(used),
            agents,
        }
    }

    #[test]
    fn a_share_weighs_more_than_a_count() {
        assert!(usage(4_000, 1_000, 9).load() < usage(1_000, 500, 1).load());
        assert!(usage(4_000, 0, 1).load() < usage(4_000, 0, 2).load());
        assert_eq!(usage(0, 0, 0).load().share, 0);
    }

    #[test]
    fn absurd_numbers_do_not_overflow() {
        let huge = usage(1, u64::MAX, u64::MAX);
        assert_eq!(huge.load().share, u64::MAX);
        assert_eq!(huge.free(), Resources::default());
    }
}
