//! Events.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Event, EventId, EventKind, Happening, Millis, Name};

/// A fact about one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Its place in the order of all events: the revision, and the place among the events of that revision. `after`
    /// and `Last-Event-ID` go on behind it.
    #[schema(value_type = String)]
    pub id: EventId,
    /// When, by the leader's clock.
    #[schema(value_type = u64)]
    pub at: Millis,
    /// What it is about: `container`, `agent`, `engine` or `breaker`.
    #[schema(value_type = String)]
    pub kind: EventKind,
    /// The id of what it is about; null for the breaker.
    pub object: Option<String>,
    /// The name of what it is about; null for the breaker.
    #[schema(value_type = Option<String>)]
    pub name: Option<Name>,
    /// What happened: the state it has now, such as `suspect`, or `removed`, `fenced`, `cordoned`, `opened`, …
    #[schema(value_type = String)]
    pub event: Happening,
    /// Why, for a person to read.
    pub reason: String,
}

impl From<&Event> for EventView {
    fn from(event: &Event) -> Self {
        Self {
            id: event.id,
            at: event.at,
            kind: event.subject.kind(),
            object: event.subject.id(),
            name: event.name.clone(),
            event: event.what,
            reason: event.reason.clone(),
        }
    }
}

/// Sent at the beginning of a stream and while nothing happens: everything up to here was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bookmark {
    /// Where the stream is: a revision, or a place within one.
    pub id: EventId,
}
