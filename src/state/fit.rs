//! Whether a container may take an agent: the filters, and why one says no.
//!
//! The plan decides by them, apply checks each placement again by them, and what people are told is what
//! they returned. A filter is a function from what is asked and what is offered to `Ok` or [`Why`]. A new
//! one is a variant of [`Why`] with its words, a function, and a line in one of the three lists below. All
//! filters in the order of the lists, and so of the variants, are the pipeline; the first that says no is
//! the reason.
//!
//! Pure, and cheap where nothing is told: a [`Why`] borrows what it names.

use std::fmt;

use serde::Serialize;

use super::State;
use crate::model::{AgentSpec, Constraints, Container, ContainerState, HealthStatus, Resources};

/// What an agent asks of a container. Agents that ask for the same have the same answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needs<'a> {
    /// How much it takes.
    pub resources: Resources,
    /// What the container has to be.
    pub constraints: &'a Constraints,
}

impl<'a> Needs<'a> {
    /// What a spec asks for.
    pub fn of(spec: &'a AgentSpec) -> Self {
        Self {
            resources: spec.resources,
            constraints: &spec.constraints,
        }
    }
}

/// A container, and what is left in it for one more agent.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// The container.
    pub container: &'a Container,
    /// What no agent has taken.
    pub free: Resources,
}

/// The filter that says no, with what it looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Why<'a> {
    /// It is not ready.
    NotReady {
        /// Where it stands.
        state: ContainerState,
        /// Why.
        reason: &'a str,
    },
    /// An operator wants no new agents in it.
    Cordoned {
        /// Why.
        reason: &'a str,
    },
    /// Its engine's health check fails.
    Unhealthy,
    /// Its labels, or what its runner found, are not what the agent asks for.
    Mismatch {
        /// The agent's constraints.
        constraints: &'a Constraints,
    },
    /// It has not enough left.
    NoRoom {
        /// What the agent asks for.
        needs: Resources,
        /// What is left.
        free: Resources,
    },
}

type Filter = for<'a> fn(Needs<'a>, Offer<'a>) -> Result<(), Why<'a>>;
/// One that looks at the container alone.
type OpenFilter = for<'a> fn(&'a Container) -> Result<(), Why<'a>>;

/// Whether it takes agents at all.
const OPEN: [OpenFilter; 3] = [state, cordon, health];

/// Whether it is what the agent asks for. No placement changes it.
const SUITED: [Filter; 1] = [constraints];

/// Whether what placements use up is left.
const LEFT: [Filter; 1] = [room];

/// Whether the agent may be placed there: all filters, in their order.
///
/// # Errors
/// The first filter that says no.
pub fn check<'a>(needs: Needs<'a>, offer: Offer<'a>) -> Result<(), Why<'a>> {
    open(offer.container)?;
    suited(needs, offer)?;
    left(needs, offer)
}

/// The first part of [`check`]: whether the container takes agents at all.
///
/// # Errors
/// The first filter that says no.
pub fn open(container: &Container) -> Result<(), Why<'_>> {
    OPEN.iter().try_for_each(|filter| filter(container))
}

/// The second part of [`check`]: whether the container is what the agent asks for.
///
/// # Errors
/// The first filter that says no.
pub fn suited<'a>(needs: Needs<'a>, offer: Offer<'a>) -> Result<(), Why<'a>> {
    SUITED.iter().try_for_each(|filter| filter(needs, offer))
}

/// The last part of [`check`]: whether what placements use up is left.
///
/// # Errors
/// The first filter that says no.
pub fn left<'a>(needs: Needs<'a>, offer: Offer<'a>) -> Result<(), Why<'a>> {
    LEFT.iter().try_for_each(|filter| filter(needs, offer))
}

fn state(container: &Container) -> Result<(), Why<'_>> {
    match container.state {
        ContainerState::Ready => Ok(()),
        state => Err(Why::NotReady {
            state,
            reason: &container.reason,
        }),
    }
}

fn cordon(container: &Container) -> Result<(), Why<'_>> {
    match &container.cordoned {
        None => Ok(()),
        Some(reason) => Err(Why::Cordoned { reason }),
    }
}

fn health(container: &Container) -> Result<(), Why<'_>> {
    match container.health {
        HealthStatus::Unhealthy => Err(Why::Unhealthy),
        HealthStatus::Unchecked | HealthStatus::Starting | HealthStatus::Healthy => Ok(()),
    }
}

fn constraints<'a>(needs: Needs<'a>, offer: Offer<'a>) -> Result<(), Why<'a>> {
    let constraints = needs.constraints;
    if constraints.holds(|key| offer.container.fact(key)) {
        Ok(())
    } else {
        Err(Why::Mismatch { constraints })
    }
}

fn room<'a>(needs: Needs<'a>, offer: Offer<'a>) -> Result<(), Why<'a>> {
    let (needs, free) = (needs.resources, offer.free);
    if needs.fits(free) {
        Ok(())
    } else {
        Err(Why::NoRoom { needs, free })
    }
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady { state, reason } => {
                let state = format!("{state:?}").to_lowercase();
                write!(f, "is not ready but {state}: {reason}")
            }
            Self::Cordoned { reason: "" } => f.write_str("is cordoned"),
            Self::Cordoned { reason } => write!(f, "is cordoned: {reason}"),
            Self::Unhealthy => f.write_str(
                "is unhealthy: its engine's health check fails, and `docker inspect` shows what the check says",
            ),
            Self::Mismatch { constraints } => write!(f, "does not match `{constraints}`"),
            Self::NoRoom { needs, free } => write!(f, "no room: needs {needs}, {free} free"),
        }
    }
}

impl Why<'_> {
    /// Takes in what another container was refused for, so that it can be told of both. Does nothing and
    /// returns false if that was another filter.
    pub fn merge(&mut self, other: &Self) -> bool {
        if let (Self::NoRoom { free, .. }, Self::NoRoom { free: more, .. }) = (&mut *self, other) {
            *free = free.larger_of(*more);
        }
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// The same of several containers, such as `2 are cordoned`.
    pub fn of_several(&self, n: usize) -> String {
        let (is, does, has) = if n == 1 {
            ("is", "does", "has")
        } else {
            ("are", "do", "have")
        };
        match self {
            Self::NotReady { .. } => format!("{n} {is} not ready"),
            Self::Cordoned { .. } => format!("{n} {is} cordoned"),
            Self::Unhealthy => format!("{n} {is} unhealthy"),
            Self::Mismatch { constraints } => format!("{n} {does} not match `{constraints}`"),
            Self::NoRoom { needs, free } => {
                let apart = if needs.fits(*free) {
                    ", not in one container"
                } else {
                    ""
                };
                format!("{n} {has} no room (needs {needs}, at most {free} free{apart})")
            }
        }
    }
}

impl State {
    /// What a container has to offer now.
    pub fn offer<'a>(&self, container: &'a Container) -> Offer<'a> {
        let used = self.placed(container.id).map(|placed| placed.used);
        Offer {
            container,
            free: container.resources.minus(used.unwrap_or_default()),
        }
    }
}
