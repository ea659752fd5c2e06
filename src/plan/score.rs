//! How good a container is for an agent that fits, by the agent's strategy. A new strategy is a variant of
//! [`Strategy`], and a function here.

use super::fleet::Host;
use crate::model::Strategy;

/// The smaller one is chosen; of equals, the container with the smaller id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Score(u64, u64);

/// What `host` is worth to agents of this strategy.
pub(super) fn score(strategy: Strategy, host: &Host<'_>) -> Score {
    match strategy {
        Strategy::LeastLoaded => least_loaded(host),
        Strategy::ResourceFit => resource_fit(host),
    }
}

/// The smallest share in use, then the fewest agents.
fn least_loaded(host: &Host<'_>) -> Score {
    Score(host.load().share, host.load().agents)
}

/// The largest share in use, then the most agents.
fn resource_fit(host: &Host<'_>) -> Score {
    Score(u64::MAX - host.load().share, u64::MAX - host.load().agents)
}
