//! Connections to managers: dial, TLS, frames, joining.

use std::{path::Path, sync::Arc, time::Duration};

use rustls::ClientConfig;
use serde::Serialize;
use tokio::{
    io::{ReadHalf, WriteHalf, split},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{error::SessionError, identity::Identity};
use crate::{
    model::session::{FromManager, FromRunner, Hello, MAX_FRAME_BYTES, PROTOCOL},
    security::{self, JoinToken, KeyRequest},
    wire::{FramedReader, FramedWriter},
};

/// For a connection with its TLS hand-shake. Short: there are other managers.
const DIAL: Duration = Duration::from_secs(3);

/// For the answer to the first frame, which takes an entry of the log.
const ANSWER: Duration = Duration::from_secs(6);

/// For a frame to go out.
const WRITE: Duration = Duration::from_secs(5);

/// A connection to one manager.
pub(super) struct Link {
    pub reader: FramedReader<ReadHalf<TlsStream<TcpStream>>>,
    writer: FramedWriter<WriteHalf<TlsStream<TcpStream>>>,
}

impl Link {
    /// Connects.
    pub(super) async fn open(address: &str, tls: Arc<ClientConfig>) -> Result<Self, SessionError> {
        let stream = dial(address, tls).await?;
        Ok(Self::over(stream))
    }

    fn over(stream: TlsStream<TcpStream>) -> Self {
        let (read, write) = split(stream);
        Self {
            reader: FramedReader::new(read, MAX_FRAME_BYTES),
            writer: FramedWriter::new(write, MAX_FRAME_BYTES),
        }
    }

    /// Sends one frame.
    pub(super) async fn send(&mut self, frame: &FromRunner) -> Result<(), SessionError> {
        self.send_all(std::slice::from_ref(frame)).await
    }

    /// Sends frames together.
    pub(super) async fn send_all<T: Serialize>(&mut self, frames: &[T]) -> Result<(), SessionError> {
        for frame in frames {
            self.writer.push(frame)?;
        }
        let silent = SessionError::Silent {
            what: "take what was sent",
            after: WRITE,
        };
        Ok(timeout(WRITE, self.writer.flush()).await.map_err(|_| silent)??)
    }

    /// The answer to the first frame.
    pub(super) async fn answer(&mut self) -> Result<FromManager, SessionError> {
        let silent = SessionError::Silent {
            what: "answer",
            after: ANSWER,
        };
        let frame = timeout(ANSWER, self.reader.read()).await.map_err(|_| silent)??;
        match frame.ok_or(SessionError::Closed)? {
            FromManager::Refused { reason, retry } => Err(SessionError::Refused { reason, retry }),
            other => Ok(other),
        }
    }

    /// Says that nothing follows, and waits until the manager has taken note of it by closing too.
    pub(super) async fn close(mut self) {
        if timeout(WRITE, self.writer.close()).await.is_ok() {
            let drained = async { while let Ok(Some(_)) = self.reader.read::<FromManager>().await {} };
            // The manager notices the end of the session by itself, only later.
            let _ = timeout(ANSWER, drained).await;
        }
    }
}

async fn dial(address: &str, tls: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, SessionError> {
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(tls)
            .connect(security::manager_name(), stream)
            .await
    };
    let silent = SessionError::Silent {
        what: "answer the call",
        after: DIAL,
    };
    timeout(DIAL, connect)
        .await
        .map_err(|_| silent)?
        .map_err(SessionError::Dial)
}

/// Joins through a manager: a new key, a certificate for it, and who this container is from now on.
/// The manager is known by the CA that the token pins.
pub(super) async fn enroll(
    address: &str,
    token: &JoinToken,
    hello: Hello,
    dir: &Path,
) -> Result<Identity, SessionError> {
    let stream = dial(address, security::pinned_client(token.ca())?).await?;
    let trust = security::pinned_ca(stream.get_ref().1, token.ca())?;
    let request = KeyRequest::generate()?;
    let mut link = Link::over(stream);
    link.send(&FromRunner::Enroll {
        protocol: PROTOCOL,
        token: token.to_string(),
        csr: request.csr_pem,
        hello,
    })
    .await?;
    match link.answer().await? {
        FromManager::Certificate { container, chain } => {
            let key = request.key_pem;
            Ok(Identity::keep(dir, container, trust.pem(), chain, key)?)
        }
        _ => Err(SessionError::Unexpected("something else than a certificate")),
    }
}
