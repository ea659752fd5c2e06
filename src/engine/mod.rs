//! Docker Engines: watching their containers. The only user of bollard.
//!
//! What an engine says is proof only when it says it: an engine that hangs, answers nonsense or goes
//! away says nothing about its containers, and is reported as unreachable, never as empty.
//!
//! No event is missed between the list and the stream: the stream is opened first and stays open
//! while the list is read, the list is read again shortly after, and then every 30 s. An event that
//! arrives while a list is under way is newer than the list, and wins.

mod access;
pub mod adopt;
mod archive;
mod connection;
mod found;
mod inside;
mod networks;
mod place;
mod program;
mod resident;
mod transport;
mod watch;

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

pub use self::{
    access::{Endpoint, EngineAccess},
    networks::{EngineCallError, EngineNetwork, NewNetwork},
    program::{Program, ProgramError},
    watch::watch,
};
use crate::model::Found;

/// What the watcher of one engine has to tell.
#[derive(Debug, Clone)]
pub enum EngineNews {
    /// All labelled containers the engine has.
    Listed {
        /// Before the engine was asked: the list shows this moment or a later one.
        asked_at: Instant,
        /// How long the engine took to answer nothing at all, before that.
        round_trip: Duration,
        /// The containers, without those of `newer`.
        found: Vec<Found>,
        /// The engine's ids of containers of which an event told something since; the list says
        /// nothing of them, in particular not that they are gone.
        newer: BTreeSet<String>,
    },
    /// Something happened to one labelled container.
    Told {
        /// When it was heard, or before the engine was asked for more.
        at: Instant,
        /// The container now.
        found: Found,
    },
    /// The engine does not answer, or nothing that makes sense. Its containers are unknown.
    Unreachable {
        /// Why, for a person to act on.
        reason: String,
    },
}

#[cfg(test)]
pub(crate) mod pretended;
#[cfg(test)]
mod tests;
