//! Why a container was or was not chosen for an agent.

use std::fmt;

use serde::Serialize;

use super::{
    load::{Load, Usage},
    place::Amount,
};
use crate::{
    model::{Agent, Container, ContainerId, ContainerState, Resources, Selector},
    state::State,
};

/// What speaks for or against one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The agent is placed here.
    Here,
    /// It could take the agent now. Of these, the one with the smallest load is chosen, then the one
    /// with the smallest id.
    Fits {
        /// How full it is.
        load: Load,
    },
    /// It is not ready.
    NotReady {
        /// Where it stands.
        state: ContainerState,
        /// Why.
        reason: String,
    },
    /// An operator wants no new agents in it.
    Cordoned {
        /// Why.
        reason: String,
    },
    /// Its engine's health check fails.
    Unhealthy,
    /// Its labels, or what its runner found, are not what the agent asks for.
    Mismatch {
        /// The agent's constraints.
        constraints: String,
    },
    /// The agent's constraints can't be read, so that no container meets them.
    Unreadable {
        /// What is wrong with them.
        error: String,
    },
    /// It has not enough left.
    NoRoom {
        /// What the agent asks for.
        needs: Resources,
        /// What is left.
        free: Resources,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("the agent is placed here"),
            Self::Fits { load } => write!(
                f,
                "fits: {}.{} % in use, {} agents",
                load.share / 10_000,
                load.share / 1_000 % 10,
                load.agents
            ),
            Self::NotReady { state, reason } => write!(f, "is not ready but {state:?}: {reason}"),
            Self::Cordoned { reason } if reason.is_empty() => f.write_str("is cordoned"),
            Self::Cordoned { reason } => write!(f, "is cordoned: {reason}"),
            Self::Unhealthy => f.write_str(
                "is unhealthy: its engine's health check fails, and `docker inspect` shows what the check says",
            ),
            Self::Mismatch { constraints } => write!(f, "does not match `{constraints}`"),
            Self::Unreadable { error } => f.write_str(error),
            Self::NoRoom { needs, free } => {
                write!(f, "no room: needs {}, {} free", Amount(*needs), Amount(*free))
            }
        }
    }
}

/// For every container, by id, why it would or would not get the agent now.
pub fn explain(state: &State, agent: &Agent) -> Vec<(ContainerId, Verdict)> {
    let selector = agent
        .spec
        .constraints
        .parse::<Selector>()
        .map_err(|error| error.to_string());
    state
        .containers(None)
        .map(|container| (container.id, weigh(state, agent, &selector, container)))
        .collect()
}

fn weigh(
    state: &State,
    agent: &Agent,
    selector: &Result<Selector, String>,
    container: &Container,
) -> Verdict {
    if agent.container == Some(container.id) {
        return Verdict::Here;
    }
    if container.state != ContainerState::Ready {
        return Verdict::NotReady {
            state: container.state,
            reason: container.reason.clone(),
        };
    }
    if let Some(reason) = &container.cordoned {
        return Verdict::Cordoned {
            reason: reason.clone(),
        };
    }
    if !container.takes_agents() {
        return Verdict::Unhealthy;
    }
    match selector {
        Err(error) => {
            return Verdict::Unreadable { error: error.clone() };
        }
        Ok(selector) if !container.meets(selector) => {
            return Verdict::Mismatch {
                constraints: selector.to_string(),
            };
        }
        Ok(_) => {}
    }
    let usage = Usage::of(state, container);
    let (needs, free) = (agent.spec.resources, usage.free());
    if needs.fits(free) {
        Verdict::Fits { load: usage.load() }
    } else {
        Verdict::NoRoom { needs, free }
    }
}
