//! A runner's connection to a manager: dial, TLS, frames.

use std::{fmt, io, sync::Arc};

use quorate::{
    model::session::{FromManager, FromRunner, MAX_FRAME_BYTES},
    runner::pace::{ANSWER, DIAL, WRITE},
    security,
    wire::{FramedReader, FramedWriter, WireError},
};
use rustls::ClientConfig;
use tokio::{
    io::{ReadHalf, WriteHalf, split},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::meter::{Meter, Metered};

type Stream = TlsStream<Metered<TcpStream>>;

/// Why a session was not opened, or is over.
#[derive(Debug)]
pub enum Failure {
    /// No connection, or no TLS on it.
    Dial(io::Error),
    /// Something took too long.
    Slow(&'static str),
    /// The connection broke.
    Broken(WireError),
    Closed,
    Refused {
        reason: String,
        retry: bool,
    },
    Unexpected(String),
}

impl Failure {
    /// In one word, for a count of each kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dial(_) => "no connection",
            Self::Slow(what) => what,
            Self::Broken(_) | Self::Closed => "broke off",
            Self::Refused { .. } => "refused",
            Self::Unexpected(_) => "unexpected",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => write!(f, "no connection: {error}"),
            Self::Slow(what) => f.write_str(what),
            Self::Broken(WireError::Io(error)) => write!(f, "the connection broke: {error}"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Closed => f.write_str("the manager closed it"),
            Self::Refused { reason, .. } => write!(f, "refused: {reason}"),
            Self::Unexpected(what) => write!(f, "unexpected: {what}"),
        }
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::Broken(error)
    }
}

impl From<security::SecurityError> for Failure {
    fn from(error: security::SecurityError) -> Self {
        Self::Unexpected(error.to_string())
    }
}

/// An open connection, with TLS.
pub struct Link {
    reader: FramedReader<ReadHalf<Stream>>,
    writer: FramedWriter<WriteHalf<Stream>>,
}

impl Link {
    /// Connects within the time a runner gives it.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn open(address: &str, tls: Arc<ClientConfig>, meter: &Arc<Meter>) -> Result<Self, Failure> {
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream = Metered::new(stream, meter.clone());
            TlsConnector::from(tls)
                .connect(security::manager_name(), stream)
                .await
        };
        let stream = timeout(DIAL, connect)
            .await
            .map_err(|_| Failure::Slow("slow to connect"))?;
        let (read, write) = split(stream.map_err(Failure::Dial)?);
        Ok(Self {
            reader: FramedReader::new(read, MAX_FRAME_BYTES),
            writer: FramedWriter::new(write, MAX_FRAME_BYTES),
        })
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send(&mut self, frame: &FromRunner) -> Result<(), Failure> {
        let sent = timeout(WRITE, self.writer.send(frame)).await;
        Ok(sent.map_err(|_| Failure::Slow("slow to take a frame"))??)
    }

    /// The next frame; what was read of it is kept when this is dropped. A refusal is a failure.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn next(&mut self) -> Result<FromManager, Failure> {
        match self.reader.read().await?.ok_or(Failure::Closed)? {
            FromManager::Refused { reason, retry } => Err(Failure::Refused { reason, retry }),
            frame => Ok(frame),
        }
    }

    /// The answer to the first frame.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn answer(&mut self) -> Result<FromManager, Failure> {
        timeout(ANSWER, self.next())
            .await
            .map_err(|_| Failure::Slow("slow to answer"))?
    }
}
