//! Streams into containers, from any manager.
//!
//! ```text
//!  open ──here──> session's runner: its second connection, asked for when it is needed
//!    └──elsewhere──> the manager that holds the session ──> the same there, both streams put together
//! ```
//!
//! What holds:
//!
//! - Bulk has a connection of its own, which a heartbeat never waits behind.
//! - The second connection is opened by the runner, for a ticket that only its session was told. It is for one
//!   start of one container, and good once. It ends with the session, and when it was not used for a minute.
//! - A stream that ends or breaks on one side of this manager does so on the other.
//! - Whoever opens a stream gets it, or an answer why not, within a few seconds.

mod connection;
mod error;
mod managers;
mod measure;
mod slot;

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use self::managers::Managers;
pub(super) use self::{
    connection::{CONNECTIONS, Claim, serve},
    slot::Slot,
};
pub use self::{
    error::OpenError,
    measure::{MeasureError, Measured},
};
use super::Roster;
use crate::{
    model::{ContainerId, StreamAnswer, StreamHeader, StreamService},
    peers::{Lane, Peers},
    wire::{
        self,
        streams::{Mux, Stream},
    },
};

/// For the runner to say that it takes a stream.
const ANSWER: Duration = Duration::from_secs(5);

/// The frame with the answer, in bytes.
const ANSWER_BYTES: usize = 4 << 10;

/// The way to all containers.
#[derive(Debug)]
pub struct Streams {
    roster: Arc<Roster>,
    managers: Managers,
}

impl Streams {
    /// To the containers whose sessions are in `roster`, and to all others through other managers; theirs are
    /// served from here on.
    pub fn start(roster: Arc<Roster>, peers: Peers) -> Arc<Self> {
        let managers = Managers::new(peers.clone());
        let streams = Arc::new(Self { roster, managers });
        peers.take(Lane::STREAMS, &streams, Self::serve);
        streams
    }

    /// Opens a stream to a container.
    ///
    /// # Errors
    /// [`OpenError`], within a few seconds.
    pub async fn open(&self, container: ContainerId, service: StreamService) -> Result<Stream, OpenError> {
        let header = StreamHeader { container, service };
        match self.here(header).await {
            Ok(mut stream) => {
                answer(&mut stream).await?;
                Ok(stream)
            }
            Err(OpenError::NoSession) => self.managers.open(header).await,
            Err(error) => Err(error),
        }
    }

    /// A stream to a container whose session is open here; its answer is still to come.
    async fn here(&self, header: StreamHeader) -> Result<Stream, OpenError> {
        let session = self.roster.session(header.container);
        let mux = session.ok_or(OpenError::NoSession)?.streams().await?;
        open_on(&mux, header).await
    }
}

async fn open_on(mux: &Mux, header: StreamHeader) -> Result<Stream, OpenError> {
    match timeout(ANSWER, mux.open(&header)).await {
        Ok(opened) => Ok(opened?),
        Err(_) => Err(OpenError::Late("the connection for streams did not answer")),
    }
}

/// Waits until the other end takes the stream.
async fn answer(stream: &mut Stream) -> Result<(), OpenError> {
    match timeout(ANSWER, wire::read_frame(stream, ANSWER_BYTES)).await {
        Ok(Ok(Some(StreamAnswer::Open))) => Ok(()),
        Ok(Ok(Some(StreamAnswer::NoSession))) => Err(OpenError::NoSession),
        Ok(Ok(Some(StreamAnswer::Refused { reason }))) => Err(OpenError::Refused(reason)),
        Ok(Ok(None)) => Err(OpenError::Refused("it ended without an answer".into())),
        Ok(Err(error)) => Err(OpenError::Broken(error)),
        Err(_) => Err(OpenError::Late("the other end did not take the stream")),
    }
}
