//! The second connection to the session's manager: opened when it asks, for bytes that must not hold up a heartbeat.
//!
//! Only the manager opens streams. The connection ends with the session, with the manager's wish, or when
//! nothing was opened for long.

use std::{sync::Arc, time::Duration};

use rustls::ClientConfig;
use tokio::{
    io::{AsyncWriteExt, copy, split},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::{
    error::SessionError,
    link::dial,
    pace::{ANSWER, WRITE},
};
use crate::{
    model::{
        ContainerId, StreamAnswer, StreamHeader, StreamService, StreamTicket,
        session::{FromManager, FromRunner, MAX_FRAME_BYTES},
    },
    wire::{
        self, WireError,
        streams::{Limits, Mux, Role, Stream},
    },
};

/// Streams come from the manager, which also ends the connection when it needs none: it would not know of an
/// end that crosses a stream it opens.
const LIMITS: Limits = Limits {
    incoming: 64,
    outgoing: 0,
    window: 32 << 10,
    widest: 512 << 10,
    bytes: 4 << 20,
    idle: Duration::from_secs(180),
    stream_idle: Duration::from_secs(300),
};

/// Bytes of the frame that answers a stream.
const ANSWER_BYTES: usize = 4 << 10;

/// What the second connection is opened with.
pub(super) struct Invited {
    pub address: String,
    pub tls: Arc<ClientConfig>,
    pub container: ContainerId,
    pub boot: u64,
    pub ticket: StreamTicket,
}

impl Invited {
    /// Connects, and serves streams until the connection ends or this is dropped.
    pub(super) fn follow(self) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(async move {
            match self.connect().await {
                Ok(stream) => serve(Mux::new(stream, Role::Dialled, LIMITS), self.container).await,
                Err(error) => {
                    tracing::warn!(manager = %self.address, "no connection for streams: {}", error.chain());
                }
            }
        }))
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, SessionError> {
        let mut stream = dial(&self.address, self.tls.clone()).await?;
        let frame = FromRunner::Streams {
            container: self.container,
            boot: self.boot,
            ticket: self.ticket,
        };
        let silent = |what, after| move |_| SessionError::Silent { what, after };
        timeout(WRITE, wire::write_frame(&mut stream, &frame, MAX_FRAME_BYTES))
            .await
            .map_err(silent("take what was sent", WRITE))??;
        let answer = timeout(ANSWER, wire::read_frame(&mut stream, MAX_FRAME_BYTES)).await;
        match answer.map_err(silent("answer", ANSWER))?? {
            Some(FromManager::StreamsOpen) => Ok(stream),
            Some(FromManager::Refused { reason, retry }) => Err(SessionError::Refused { reason, retry }),
            Some(_) => Err(SessionError::Unexpected("something else than an open connection")),
            None => Err(SessionError::Closed),
        }
    }
}

async fn serve(mux: Mux, container: ContainerId) {
    // Ends with this task; the connection bounds how many there are.
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            opened = mux.accept::<StreamHeader>() => match opened {
                Ok((header, stream)) => drop(serving.spawn(one(header, stream, container))),
                Err(over) => return tracing::debug!("{over}"),
            },
            Some(_) = serving.join_next() => {}
        }
    }
}

async fn one(header: StreamHeader, stream: Stream, container: ContainerId) {
    let done = if header.container == container {
        match header.service {
            StreamService::Echo => echo(stream).await,
        }
    } else {
        let reason = format!(
            "this is the runner of container {container}, not of {}",
            header.container
        );
        refuse(stream, reason).await
    };
    if let Err(error) = done {
        tracing::debug!(service = ?header.service, %error, "a stream broke");
    }
}

async fn refuse(mut stream: Stream, reason: String) -> Result<(), WireError> {
    wire::write_frame(&mut stream, &StreamAnswer::Refused { reason }, ANSWER_BYTES).await?;
    Ok(stream.shutdown().await?)
}

/// Sends back what comes, and ends when the other side does.
async fn echo(mut stream: Stream) -> Result<(), WireError> {
    wire::write_frame(&mut stream, &StreamAnswer::Open, ANSWER_BYTES).await?;
    let (mut read, mut write) = split(stream);
    copy(&mut read, &mut write).await?;
    Ok(write.shutdown().await?)
}
