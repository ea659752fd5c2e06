//! Events: what commands changed, object by object, in the order of the log.
//!
//! They are read off the tables: what an object was before a command is held against what it is after it. So
//! no command can forget to tell of a change, one that is rejected tells of none, and every manager has the same
//! events under the same ids. What comes and goes within one command is not told: its effect is. Configs tell of
//! themselves to those who watch them.
//!
//! Kept for 7 days of log time or the last hundred thousand, replicated and in snapshots. What is no more is
//! told: whoever asks for what followed one that was let go must not take the rest for all of it.

use std::{sync::Arc, time::Duration};

use imbl::{OrdMap, Vector, ordmap::DiffItem};
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    State,
    placement::{ByReplica, Placements, ReplicaStatus, statuses},
};
use crate::{
    command::{ClusterCommand, Command, ContainerCommand},
    model::{
        Agent, AgentId, AgentState, Breaker, Container, ContainerId, ContainerState, Engine, EngineId,
        EngineState, Event, EventId, Happening, HealthStatus, Millis, Name, Revision, Subject,
    },
};

const KEEP_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// About 20 MB of memory as a rule, and 100 if all reasons are as long as they may be.
const KEEP_AT_MOST: usize = 100_000;
/// Characters of a reason. Others chose some of it: control characters, which could make more lines of it, are spaces here.
const MAX_REASON: usize = 200;

/// The events that are kept, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Events {
    #[serde(deserialize_with = "read")]
    kept: Vector<Arc<Event>>,
    /// The newest one that was let go; the default if none was.
    floor: EventId,
}

/// By way of a `Vec`, which unlike a `Vector` is read without asking for all the room that the bytes claim to need.
fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Vector<Arc<Event>>, D::Error> {
    Vec::deserialize(from).map(Vector::from)
}

impl Events {
    fn push(&mut self, event: Event) {
        self.kept.push_back(Arc::new(event));
    }

    /// Drops what is over the bounds, and never what nobody can have seen yet: the events of this revision.
    fn forget_old(&mut self, now: Millis, revision: Revision) {
        while let Some(oldest) = self.kept.front() {
            let full = self.kept.len() > KEEP_AT_MOST;
            let old = full || now.since(oldest.at) >= KEEP_FOR;
            if !old || oldest.id.revision == revision {
                return;
            }
            self.floor = oldest.id;
            self.kept.pop_front();
        }
    }

    /// Whether they are in order and within their bounds.
    pub(super) fn are_sound(&self, revision: Revision) -> bool {
        let ids: Vec<_> = self.kept.iter().map(|event| event.id).collect();
        let ascend = ids.windows(2).all(|two| two[0] < two[1]);
        let first = ids.first().is_none_or(|first| *first > self.floor);
        let last = ids.last().is_none_or(|last| last.revision <= revision);
        // One command may tell of more than there is room for.
        let bounded = ids.len() <= KEEP_AT_MOST || ids.first().map(|id| id.revision) == Some(revision);
        ascend && first && last && bounded && self.floor.revision <= revision
    }
}

/// The tables that events are told of, as they were. Costs some reference counts.
pub(super) struct Before {
    containers: OrdMap<ContainerId, Arc<Container>>,
    agents: OrdMap<AgentId, Arc<Agent>>,
    placements: Placements,
    by_replica: ByReplica,
    engines: OrdMap<EngineId, Arc<Engine>>,
    breaker: Breaker,
}

/// What happened to one object, and why.
type Told = (Happening, String);

impl State {
    pub(super) fn before(&self) -> Before {
        Before {
            containers: self.containers.clone(),
            agents: self.agents.clone(),
            placements: self.placements.clone(),
            by_replica: self.index.by_replica.clone(),
            engines: self.engines.clone(),
            breaker: self.breaker.clone(),
        }
    }

    /// Tells what a command has changed.
    pub(super) fn tell(&mut self, before: &Before, command: &Command) {
        let mut told: Vec<(Subject, Option<Name>, Told)> = Vec::new();
        if let Some(what) = of_breaker(&before.breaker, &self.breaker, command) {
            told.push((Subject::Breaker, None, what));
        }
        changed(&before.engines, &self.engines, |id, old, new| {
            let name = new.or(old).map(|engine| engine.name.clone());
            told.extend(of_engine(old, new).map(|what| (Subject::Engine(id), name, what)));
        });
        changed(&before.containers, &self.containers, |id, old, new| {
            let name = new.or(old).map(|container| container.name.clone());
            let all = of_container(old, new, command).into_iter();
            told.extend(all.map(|what| (Subject::Container(id), name.clone(), what)));
        });
        // An agent becomes another one with each change of its placements.
        changed(&before.agents, &self.agents, |id, old, new| {
            let name = new.or(old).map(|agent| agent.spec.name.clone());
            let (was, is) = (
                old.map(|old| statuses(old, &before.placements, &before.by_replica)),
                new.map(|new| self.replicas(new)),
            );
            let all = of_agent(was.as_deref(), is.as_deref()).into_iter();
            told.extend(all.map(|what| (Subject::Agent(id), name.clone(), what)));
        });
        // Who takes the name of another one over comes after it.
        told.sort_by_key(|(_, _, (what, _))| *what != Happening::Removed);
        // There are far fewer objects than places.
        for (place, (subject, name, (what, reason))) in (0..u32::MAX).zip(told) {
            self.events.push(Event {
                id: EventId {
                    revision: self.revision,
                    place,
                },
                at: self.now,
                subject,
                name,
                what,
                reason: plain(&reason),
            });
        }
        self.events.forget_old(self.now, self.revision);
    }

    /// The events after `after`, oldest first, if all of them are kept.
    ///
    /// # Errors
    /// The newest event that was let go: all that follow it are kept.
    pub fn events(&self, after: Option<EventId>) -> Result<Vector<Arc<Event>>, EventId> {
        let Some(after) = after else {
            return Ok(self.events.kept.clone());
        };
        if after < self.events.floor {
            return Err(self.events.floor);
        }
        let known = self.events.kept.binary_search_by(|event| event.id.cmp(&after));
        let from = known.map_or_else(|here| here, |here| here + 1);
        Ok(self.events.kept.skip(from))
    }
}

/// Goes through what differs between two tables.
fn changed<K: Ord + Copy, V: PartialEq>(
    before: &OrdMap<K, Arc<V>>,
    after: &OrdMap<K, Arc<V>>,
    mut tell: impl FnMut(K, Option<&V>, Option<&V>),
) {
    for item in before.diff(after) {
        match item {
            DiffItem::Add(key, new) => tell(*key, None, Some(new)),
            DiffItem::Remove(key, old) => tell(*key, Some(old), None),
            DiffItem::Update { old, new } => tell(*new.0, Some(old.1), Some(new.1)),
        }
    }
}

fn of_breaker(old: &Breaker, new: &Breaker, command: &Command) -> Option<Told> {
    match (&old.open, &new.open) {
        (None, Some(open)) => Some((Happening::Opened, open.reason.clone())),
        (Some(_), None) => {
            let lifted = matches!(command, Command::Cluster(ClusterCommand::LiftBreaker { .. }));
            Some(if lifted {
                (Happening::Lifted, "lifted by an operator".into())
            } else {
                (Happening::Closed, "those who had fallen silent are back".into())
            })
        }
        _ => None,
    }
}

fn of_engine(old: Option<&Engine>, new: Option<&Engine>) -> Option<Told> {
    let Some(new) = new else {
        return Some((Happening::Removed, "removed by an operator".into()));
    };
    let known = old.map(|old| old.state);
    let what = match new.state {
        _ if known.is_none() => Happening::Added,
        same if known == Some(same) => return None,
        EngineState::Unknown => Happening::Added,
        EngineState::Connected => Happening::Connected,
        EngineState::Unreachable => Happening::Unreachable,
    };
    Some((what, new.reason.clone()))
}

fn of_container(old: Option<&Container>, new: Option<&Container>, command: &Command) -> Vec<Told> {
    let mut told = Vec::new();
    let Some(new) = new else {
        return vec![(Happening::Removed, why_removed(command).to_owned())];
    };
    let stood = old.map(|old| old.state);
    // An engine may tell of a death and of another container of that name at once.
    if new.state <= ContainerState::Registered
        && let Some(old) = old.filter(|old| old.state > ContainerState::Registered && !old.fenced)
    {
        let reason = "its engine reports it dead, and another of its name";
        if old.state != ContainerState::Lost {
            told.push((Happening::Lost, reason.to_owned()));
        }
        told.push((Happening::Fenced, reason.to_owned()));
    }
    if stood != Some(new.state) {
        let what = match new.state {
            ContainerState::Candidate => Happening::Candidate,
            ContainerState::Registered => Happening::Registered,
            ContainerState::Ready => Happening::Ready,
            ContainerState::Suspect => Happening::Suspect,
            ContainerState::Lost => Happening::Lost,
        };
        told.push((what, new.reason.clone()));
    } else if new.state == ContainerState::Ready && old.is_some_and(|old| old.boot != new.boot) {
        told.push((Happening::Restarted, "its runner started anew".into()));
    }
    if new.fenced && !old.is_some_and(|old| old.fenced) {
        told.push((Happening::Fenced, new.reason.clone()));
    }
    let (from, to) = (old.and_then(host), host(new));
    if let (Some(from), Some(to)) = (from, to)
        && from != to
        && new.state != ContainerState::Candidate
    {
        told.push((
            Happening::Moved,
            format!("its runner dials from {to}, and dialled from {from} before"),
        ));
    }
    let cordoned = old.and_then(|old| old.cordoned.as_ref());
    match &new.cordoned {
        same if same.as_ref() == cordoned => {}
        Some(why) => told.push((Happening::Cordoned, why.clone())),
        None => told.push((Happening::Uncordoned, "by an operator".into())),
    }
    let health = old.map_or(HealthStatus::Unchecked, |old| old.health);
    match new.health {
        same if same == health => {}
        HealthStatus::Healthy => told.push((Happening::Healthy, "its engine's check passes".into())),
        HealthStatus::Unhealthy => told.push((Happening::Unhealthy, "its engine's check fails".into())),
        HealthStatus::Unchecked | HealthStatus::Starting if health == HealthStatus::Unhealthy => {
            told.push((
                Happening::Unchecked,
                "its engine's check does not say that it fails any more".into(),
            ));
        }
        HealthStatus::Unchecked | HealthStatus::Starting => {}
    }
    let adoption = old
        .and_then(|old| old.adoption.as_ref())
        .map(|adoption| &adoption.reason);
    if let Some(now) = new.adoption.as_ref().filter(|now| Some(&now.reason) != adoption) {
        told.push((Happening::Adoption, now.reason.clone()));
    }
    told
}

fn why_removed(command: &Command) -> &'static str {
    use ContainerCommand as C;
    match command {
        Command::Container(C::Remove { .. }) => "removed by an operator",
        Command::Container(C::Observe { .. }) => "its engine reports that it runs no more",
        Command::Container(C::Enroll { .. }) => "another runner has taken its place",
        Command::Container(C::Connect { .. }) => "its runner has a record of its own",
        Command::Discovery(_) => "no scan meets it any more",
        Command::Engine(_) => "its engine was removed",
        _ => "its record is gone",
    }
}

fn plain(reason: &str) -> String {
    let printed = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
    printed.take(MAX_REASON).collect()
}

/// The host of a runner; its port is another one in each session.
fn host(container: &Container) -> Option<&str> {
    let (host, _) = container.address.as_deref()?.rsplit_once(':')?;
    Some(host)
}

fn of_agent(old: Option<&[ReplicaStatus]>, new: Option<&[ReplicaStatus]>) -> Vec<Told> {
    let Some(new) = new else {
        return vec![(Happening::Removed, "deleted by an operator".into())];
    };
    let old = old.unwrap_or_default();
    let all = new.iter().enumerate();
    all.filter_map(|(at, replica)| of_replica(old.get(at), replica))
        .collect()
}

fn of_replica(old: Option<&ReplicaStatus>, new: &ReplicaStatus) -> Option<Told> {
    let place = |replica: &ReplicaStatus| (replica.state, replica.container(), replica.epoch);
    if old.is_some_and(|old| place(old) == place(new)) {
        let again = old.is_some_and(|old| old.restarts() < new.restarts());
        return again.then(|| (Happening::Restarted, new.reason.to_string()));
    }
    let what = match new.state {
        AgentState::Pending => Happening::Pending,
        AgentState::Assigned => Happening::Assigned,
        AgentState::Starting => Happening::Starting,
        AgentState::Running => Happening::Running,
        AgentState::Stopping => Happening::Stopping,
        AgentState::Stopped => Happening::Stopped,
        AgentState::Failed => Happening::Failed,
    };
    Some((what, new.reason.to_string()))
}
