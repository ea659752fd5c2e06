//! Events: facts about the cluster, in the order in which they became true.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{AgentId, ContainerId, EngineId, Millis, Name, Revision};

/// Where an event stands: the revision of its entry, and its place among that entry's events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The revision.
    pub revision: Revision,
    /// From zero.
    pub place: u32,
}

impl EventId {
    /// After every event of a revision.
    pub fn end_of(revision: Revision) -> Self {
        Self {
            revision,
            place: u32::MAX,
        }
    }
}

/// Why a text is not an event's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event's id is a revision, such as `17`, or a revision and a place in it, such as `17.2`")]
pub struct EventIdError;

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place == u32::MAX {
            return write!(f, "{}", self.revision);
        }
        write!(f, "{}.{}", self.revision, self.place)
    }
}

impl FromStr for EventId {
    type Err = EventIdError;

    /// A bare revision stands for the end of it.
    fn from_str(text: &str) -> Result<Self, EventIdError> {
        fn number<T: FromStr>(text: &str) -> Result<T, EventIdError> {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits).ok_or(EventIdError)
        }
        match text.split_once('.') {
            None => Ok(Self::end_of(number(text)?)),
            Some((revision, place)) => Ok(Self {
                revision: number(revision)?,
                place: number(place)?,
            }),
        }
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            s.collect_str(self)
        } else {
            (self.revision, self.place).serialize(s)
        }
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            return String::deserialize(d)?.parse().map_err(D::Error::custom);
        }
        let (revision, place) = Deserialize::deserialize(d)?;
        Ok(Self { revision, place })
    }
}

/// The object that an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// A container.
    Container(ContainerId),
    /// An agent.
    Agent(AgentId),
    /// An engine.
    Engine(EngineId),
    /// The breaker.
    Breaker,
}

impl Subject {
    /// What kind of object it is.
    pub fn kind(self) -> EventKind {
        match self {
            Self::Container(_) => EventKind::Container,
            Self::Agent(_) => EventKind::Agent,
            Self::Engine(_) => EventKind::Engine,
            Self::Breaker => EventKind::Breaker,
        }
    }

    /// Its id, if it is one of many.
    pub fn id(self) -> Option<String> {
        match self {
            Self::Container(id) => Some(id.to_string()),
            Self::Agent(id) => Some(id.to_string()),
            Self::Engine(id) => Some(id.to_string()),
            Self::Breaker => None,
        }
    }
}

/// What kind of object an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A container.
    Container,
    /// An agent.
    Agent,
    /// An engine.
    Engine,
    /// The breaker.
    Breaker,
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::Agent => "agent",
            Self::Engine => "engine",
            Self::Breaker => "breaker",
        })
    }
}

impl FromStr for EventKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "container" => Ok(Self::Container),
            "agent" => Ok(Self::Agent),
            "engine" => Ok(Self::Engine),
            "breaker" => Ok(Self::Breaker),
            _ => Err(()),
        }
    }
}

/// What happened. States go by their own names. Kept in snapshots: new ones are added at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// It is gone from the registry.
    Removed,
    /// A container was found, and is not trusted.
    Candidate,
    /// A container is known and trusted; no session yet.
    Registered,
    /// A container has a session and answers.
    Ready,
    /// A container is silent for a while.
    Suspect,
    /// A container is silent for too long, or dead.
    Lost,
    /// A lost container is proven unable to act: its exclusive agents may move.
    Fenced,
    /// The runner of a container that is ready started anew.
    Restarted,
    /// The runner of a container dials from another host.
    Moved,
    /// An operator keeps new agents out of a container.
    Cordoned,
    /// A container takes new agents again.
    Uncordoned,
    /// The health check of a container's engine passes.
    Healthy,
    /// The health check of a container's engine fails.
    Unhealthy,
    /// How far managers have come with bringing a runner into a container.
    Adoption,
    /// An agent waits for a container.
    Pending,
    /// An agent has a container, whose runner has not answered yet.
    Assigned,
    /// An agent is started, or waits to be started again.
    Starting,
    /// An agent's process runs.
    Running,
    /// An agent is being stopped.
    Stopping,
    /// An agent's process ended as wanted.
    Stopped,
    /// An agent's process ended and is not started again.
    Failed,
    /// An engine was added.
    Added,
    /// An engine is watched.
    Connected,
    /// An engine does not answer; its containers are unknown, not stopped.
    Unreachable,
    /// Many containers fell silent at once: the breaker is open.
    Opened,
    /// Those who had fallen silent are back: the breaker has closed by itself.
    Closed,
    /// An operator lifted the breaker.
    Lifted,
    /// The health check of a container's engine failed, and now does not say so.
    Unchecked,
}

/// A fact about one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the order of all events.
    pub id: EventId,
    /// Log time.
    pub at: Millis,
    /// What it is about.
    pub subject: Subject,
    /// The object's name, if it has one.
    pub name: Option<Name>,
    /// What happened.
    pub what: Happening,
    /// Why, for a person to read.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_and_survive_text_and_bytes() {
        let id = |revision, place| EventId { revision, place };
        let order = [
            id(0, 0),
            id(0, 7),
            EventId::end_of(0),
            id(1, 0),
            EventId::end_of(9),
        ];
        assert!(order.is_sorted());
        for id in order {
            assert_eq!(id.to_string().parse(), Ok(id));
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(serde_json::from_str::<EventId>(&json).unwrap(), id);
            let bytes = postcard::to_stdvec(&id).unwrap();
            assert_eq!(postcard::from_bytes::<EventId>(&bytes).unwrap(), id);
        }
        for bad in [
            "",
            ".",
            "1.",
            ".1",
            "+1",
            "1.+1",
            "-1",
            "1.2.3",
            "1 ",
            "99999999999999999999",
            "1.4294967296",
        ] {
            assert_eq!(bad.parse::<EventId>(), Err(EventIdError), "{bad}");
        }
    }
}
