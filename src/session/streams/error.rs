//! Why there is no stream to a container.

use crate::{
    model::ManagerId,
    wire::{WireError, streams::StreamError},
};

/// Why a stream to a container was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nobody holds its session.
    #[error("the container has no open session: its runner is away, or about to come back")]
    NoSession,
    /// The session ended while the stream was opened.
    #[error("the session of the container ended")]
    SessionEnded,
    /// Something took too long.
    #[error("{0} in time")]
    Late(&'static str),
    /// The connection for streams is over or full.
    #[error(transparent)]
    Connection(#[from] StreamError),
    /// The stream broke before it was answered.
    #[error("the stream broke before it was answered")]
    Broken(#[source] WireError),
    /// Another manager is not reached.
    #[error("manager {id} is not reached")]
    Manager {
        /// Which.
        id: ManagerId,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The other end does not want it.
    #[error("{0}")]
    Refused(String),
}
