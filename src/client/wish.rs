//! What a request may wish for: conditions of writes, freshness and pages of reads.

use reqwest::header::{HeaderValue, IF_MATCH, IF_NONE_MATCH};

use super::send::Outgoing;
use crate::model::{EventId, EventKind, Revision};

/// What a write expects of the object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    Any,
    /// It exists.
    Exists,
    /// It is at this version.
    Version(Revision),
    /// It does not exist.
    Absent,
}

impl Condition {
    pub(super) fn on(self, request: Outgoing) -> Outgoing {
        let star = HeaderValue::from_static("*");
        match self {
            Self::Any => request,
            Self::Exists => request.header(IF_MATCH, star),
            Self::Absent => request.header(IF_NONE_MATCH, star),
            Self::Version(version) => match HeaderValue::try_from(format!("\"{version}\"")) {
                Ok(tag) => request.header(IF_MATCH, tag),
                // Digits in quotes always are a header's value.
                Err(_) => request,
            },
        }
    }
}

/// How fresh a read has to be, and which part of a list it wants.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// `stale` or `cached`; linearizable when absent.
    pub consistency: Option<String>,
    /// Wait until the manager has applied this.
    pub min_revision: Option<Revision>,
    /// At most so many items.
    pub limit: Option<usize>,
    /// From the page before.
    pub after: Option<String>,
    /// Only objects with these labels.
    pub selector: Option<String>,
}

impl Page {
    pub(super) fn on(&self, request: Outgoing) -> Outgoing {
        request
            .query("consistency", self.consistency.as_ref())
            .query("min_revision", self.min_revision)
            .query("limit", self.limit)
            .query("continue", self.after.as_ref())
            .query("selector", self.selector.as_ref())
    }
}

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only those behind this one.
    pub after: Option<EventId>,
    /// Only those of this kind of object.
    pub kind: Option<EventKind>,
    /// Only those of objects with this name or id.
    pub object: Option<String>,
}

impl EventFilter {
    pub(super) fn on(&self, request: Outgoing) -> Outgoing {
        request
            .query("after", self.after)
            .query("kind", self.kind)
            .query("object", self.object.as_ref())
    }
}
