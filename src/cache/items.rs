//! What should be in Redis, told from a state: all of it, or what changed.

use std::collections::VecDeque;

use super::keys::{Kind, member, order_of};
use crate::{
    consensus::Status,
    model::{Agent, AgentId, Container, ContainerId, Engine, EngineId, Name},
    state::{Changes, State},
};

/// How the API shows objects: what other programs find in Redis is what they would get from it.
pub trait Shapes: Send + Sync + 'static {
    /// A container as JSON.
    fn container(&self, state: &State, container: &Container) -> Vec<u8>;
    /// An agent as JSON.
    fn agent(&self, state: &State, agent: &Agent) -> Vec<u8>;
    /// An engine as JSON.
    fn engine(&self, state: &State, engine: &Engine) -> Vec<u8>;
    /// Where an agent is placed, as JSON; `None` where it is nowhere.
    fn placement(&self, state: &State, agent: &Agent) -> Option<Vec<u8>>;
    /// The cluster's health as its leader sees it, as JSON.
    fn health(&self, state: &State, status: &Status) -> Vec<u8>;
}

/// One object as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub kind: Kind,
    pub id: String,
    /// Its place in the list.
    pub member: Vec<u8>,
    pub content: Content,
}

/// What an object should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Json(Vec<u8>),
    Absent,
    /// The list has a place that nothing belongs to.
    Unlisted,
}

impl Item {
    fn new(kind: Kind, order: &str, id: String, json: Option<Vec<u8>>) -> Self {
        Self {
            kind,
            member: member(order, &id).into_bytes(),
            id,
            content: json.map_or(Content::Absent, Content::Json),
        }
    }

    /// About how many bytes it takes on its way.
    pub fn weight(&self) -> usize {
        let json = match &self.content {
            Content::Json(json) => json.len(),
            Content::Absent | Content::Unlisted => 0,
        };
        json + self.member.len() + 64
    }
}

/// Shows objects of a state.
pub(super) struct Shown<'a> {
    pub state: &'a State,
    pub shapes: &'a dyn Shapes,
}

impl Shown<'_> {
    fn container(&self, id: ContainerId) -> Item {
        let json = self
            .state
            .container(id)
            .map(|c| self.shapes.container(self.state, c));
        Item::new(Kind::Container, &order_of(id.0), id.to_string(), json)
    }

    fn engine(&self, id: EngineId) -> Item {
        let json = self.state.engine(id).map(|e| self.shapes.engine(self.state, e));
        Item::new(Kind::Engine, &order_of(id.0), id.to_string(), json)
    }

    /// An agent and its placement. `older` knows the name of one that is gone.
    fn agent(&self, id: AgentId, older: Option<&State>) -> Vec<Item> {
        let agent = self.state.agent(id);
        let known = agent.or_else(|| older?.agent(id));
        let Some(name) = known.map(|agent| agent.spec.name.as_str()) else {
            return Vec::new();
        };
        let json = agent.map(|agent| self.shapes.agent(self.state, agent));
        let placed = agent.and_then(|agent| self.shapes.placement(self.state, agent));
        vec![
            Item::new(Kind::Agent, name, id.to_string(), json),
            Item::new(Kind::Placement, name, id.to_string(), placed),
        ]
    }
}

/// All the items of what changed, one after the other.
pub(super) struct Changed {
    changes: Changes,
}

impl Changed {
    pub fn new(changes: Changes) -> Self {
        Self { changes }
    }

    pub fn next(&mut self, shown: &Shown<'_>, older: &State) -> Option<Vec<Item>> {
        if let Some(id) = self.changes.engines.pop_first() {
            return Some(vec![shown.engine(id)]);
        }
        if let Some(id) = self.changes.containers.pop_first() {
            return Some(vec![shown.container(id)]);
        }
        let id = self.changes.agents.pop_first()?;
        Some(shown.agent(id, Some(older)))
    }
}

/// A walk over all objects, which may go on in a later state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Walk {
    #[default]
    Begin,
    Engines(Option<EngineId>),
    Containers(Option<ContainerId>),
    Agents(Option<Name>),
    End,
}

/// How many objects a walk takes out of a state at once.
const STRIDE: usize = 64;

impl Walk {
    /// The next few items; none at the end.
    pub fn next(&mut self, shown: &Shown<'_>) -> VecDeque<Item> {
        let state = shown.state;
        loop {
            let found: VecDeque<Item>;
            match self {
                Self::End => return VecDeque::new(),
                Self::Begin => {
                    *self = Self::Engines(None);
                    continue;
                }
                Self::Engines(after) => {
                    let rest = state.engines().map(|engine| engine.id);
                    let ids: Vec<_> = rest
                        .filter(|id| after.is_none_or(|a| *id > a))
                        .take(STRIDE)
                        .collect();
                    found = ids.iter().map(|id| shown.engine(*id)).collect();
                    *self = ids
                        .last()
                        .map_or(Self::Containers(None), |id| Self::Engines(Some(*id)));
                }
                Self::Containers(after) => {
                    let ids: Vec<_> = state.containers(*after).take(STRIDE).map(|c| c.id).collect();
                    found = ids.iter().map(|id| shown.container(*id)).collect();
                    *self = ids
                        .last()
                        .map_or(Self::Agents(None), |id| Self::Containers(Some(*id)));
                }
                Self::Agents(after) => {
                    let some: Vec<_> = state.agents(after.as_ref()).take(STRIDE).cloned().collect();
                    found = some
                        .iter()
                        .flat_map(|agent| shown.agent(agent.id, None))
                        .collect();
                    *self = some
                        .last()
                        .map_or(Self::End, |a| Self::Agents(Some(a.spec.name.clone())));
                }
            }
            if !found.is_empty() {
                return found;
            }
        }
    }
}

/// Whether an agent has a placement to be shown: that of its first replica.
fn is_placed(state: &State, agent: &Agent) -> bool {
    agent
        .replica_ids()
        .next()
        .is_some_and(|first| state.active(first).is_some())
}

/// Whether a key below the prefix is that of an object of the state; where it is not, what takes it away.
pub(super) fn orphan(state: &State, key: &str) -> Option<Item> {
    let (kind, id) = key.split_once(':')?;
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
    let there = match kind {
        Kind::Container => id.parse().is_ok_and(|id| state.container(id).is_some()),
        Kind::Engine => id.parse().is_ok_and(|id| state.engine(id).is_some()),
        Kind::Agent | Kind::Placement => id.parse().is_ok_and(|id| {
            let agent = state.agent(id);
            agent.is_some_and(|a| kind == Kind::Agent || is_placed(state, a))
        }),
    };
    (!there).then(|| Item {
        kind,
        id: id.to_owned(),
        // Its own, if any, is in the object.
        member: Vec::new(),
        content: Content::Absent,
    })
}

/// Whether a place in a list is that of an object of the state; where it is not, what takes it away.
pub(super) fn stray(state: &State, kind: Kind, place: &[u8]) -> Option<Item> {
    let text = std::str::from_utf8(place).unwrap_or_default();
    let id = text.rsplit(' ').next().unwrap_or_default();
    let order = match kind {
        Kind::Container => id.parse().ok().map(|id: ContainerId| {
            let there = state.container(id).is_some();
            (order_of(id.0), there)
        }),
        Kind::Engine => id.parse().ok().map(|id: EngineId| {
            let there = state.engine(id).is_some();
            (order_of(id.0), there)
        }),
        Kind::Agent | Kind::Placement => id.parse().ok().map(|id: AgentId| {
            let agent = state.agent(id);
            let there = agent.is_some_and(|a| kind == Kind::Agent || is_placed(state, a));
            (agent.map_or(String::new(), |a| a.spec.name.to_string()), there)
        }),
    };
    let content = match order {
        Some((order, true)) if member(&order, id) == text => return None,
        Some((_, false)) => Content::Absent,
        _ => Content::Unlisted,
    };
    Some(Item {
        kind,
        id: id.to_owned(),
        member: place.to_vec(),
        content,
    })
}
