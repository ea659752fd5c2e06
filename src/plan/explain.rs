//! Why a container was or was not chosen for an agent.

use std::fmt;

use serde::Serialize;

use super::{
    fleet::Host,
    load::Load,
    score::{Score, score},
};
use crate::{
    model::{Agent, Container, ContainerId},
    state::{
        State,
        fit::{self, Needs, Why},
    },
};

/// What speaks for or against one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict<'a> {
    /// The agent is placed here.
    Here,
    /// It could take the agent now.
    Fits {
        /// How full it is.
        load: Load,
    },
    /// It can't, for this reason.
    #[serde(untagged)]
    Refused(Why<'a>),
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("the agent is placed here"),
            Self::Fits { load } => write!(
                f,
                "fits: {}.{} % in use, {} {}",
                load.share / 10_000,
                load.share / 1_000 % 10,
                load.agents,
                if load.agents == 1 { "agent" } else { "agents" }
            ),
            Self::Refused(why) => why.fmt(f),
        }
    }
}

impl Verdict<'_> {
    /// Whether the agent is there, or could be.
    pub fn fits(&self) -> bool {
        matches!(self, Self::Here | Self::Fits { .. })
    }
}

/// For every container, why it would or would not get the agent now: the one that has it, then those that
/// could, in the order in which they would be chosen, then the others by id.
pub fn explain<'a>(state: &'a State, agent: &'a Agent) -> Vec<(ContainerId, Verdict<'a>)> {
    let homes: Vec<_> = state
        .placements_of(agent.id)
        .map(|placement| placement.container)
        .collect();
    let mut weighed: Vec<_> = state
        .containers(None)
        .map(|container| {
            let here = homes.contains(&container.id);
            let (rank, verdict) = weigh(state, agent, container, here);
            (rank, container.id, verdict)
        })
        .collect();
    weighed.sort_unstable_by_key(|(rank, id, _)| (*rank, *id));
    weighed
        .into_iter()
        .map(|(_, id, verdict)| (id, verdict))
        .collect()
}

/// In which order containers are told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Here,
    Fits(Score),
    Refused,
}

fn weigh<'a>(
    state: &'a State,
    agent: &'a Agent,
    container: &'a Container,
    here: bool,
) -> (Rank, Verdict<'a>) {
    if here {
        return (Rank::Here, Verdict::Here);
    }
    let host = Host::of(state, container);
    match fit::check(Needs::of(&agent.spec), host.offer()) {
        Ok(()) => {
            let rank = Rank::Fits(score(agent.spec.strategy, &host));
            (rank, Verdict::Fits { load: host.load() })
        }
        Err(why) => (Rank::Refused, Verdict::Refused(why)),
    }
}
