//! The way to an engine: one connection for each request, over a Unix socket, TCP, or TCP with TLS.
//!
//! It is here, and not left to bollard, for three reasons: what was never sent is told apart from what
//! may have had an effect; only the CA of an engine's own files is trusted; and an engine that sends
//! without end fills no memory ([`Meter`]).

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bollard::{BollardRequest, errors::Error};
use hyper::{
    Response,
    body::Incoming,
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    task::spawn_blocking,
};
use tokio_rustls::TlsConnector;

use super::Endpoint;
use crate::{model::EngineUrl, security::engine_client};

/// The longest answer that is read.
const ANSWER: u64 = 64 << 20;

/// What comes before anything can be sent went wrong: the engine has not been asked for anything.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotSent(pub String);

/// Where requests go.
#[derive(Clone)]
pub(super) enum Way {
    Unix(PathBuf),
    Tcp(String),
    Tls(String, ServerName<'static>, TlsConnector),
}

impl Way {
    /// Makes out the way to an engine, and reads its keys if it needs some.
    pub(super) async fn to(endpoint: &Endpoint) -> Result<Self, NotSent> {
        match &endpoint.url {
            EngineUrl::Unix(path) => Ok(Self::Unix(path.clone())),
            EngineUrl::Tcp(address) => Ok(Self::Tcp(address.clone())),
            EngineUrl::Tls(address) => {
                let host = address.rsplit_once(':').map_or("", |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(host)
                    .map_err(|error| NotSent(format!("no certificate can be for its host: {error}")))?;
                let dir = endpoint.certificates.clone();
                let config = spawn_blocking(move || engine_client(&dir))
                    .await
                    .map_err(|error| NotSent(error.to_string()))?
                    .map_err(|error| NotSent(error.to_string()))?;
                Ok(Self::Tls(address.clone(), name, TlsConnector::from(config)))
            }
        }
    }

    async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        let tcp = async |address: &str| {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            io::Result::Ok(stream)
        };
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp(address) => Box::new(tcp(address).await?),
            Self::Tls(address, name, connector) => {
                let stream = tcp(address).await?;
                Box::new(connector.connect(name.clone(), stream).await?)
            }
        })
    }

    /// Sends one request on a connection of its own, which ends with the answer's body.
    pub(super) async fn send(
        self,
        meter: Option<Meter>,
        mut request: BollardRequest,
    ) -> Result<Response<Incoming>, Error> {
        let unsent = |error: &dyn std::error::Error| Error::IOError {
            err: io::Error::other(NotSent(error.to_string())),
        };
        let stream = self.dial().await.map_err(|error| unsent(&error))?;
        let io = TokioIo::new(Metered {
            stream,
            meter: meter.unwrap_or_else(|| Meter::new(ANSWER)),
        });
        let (mut sender, connection) = http1::handshake(io).await.map_err(|error| unsent(&error))?;
        // Ends once the answer was read, or whoever reads it is gone.
        tokio::spawn(connection.with_upgrades());
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Default::default, Into::into);
        let host = match &self {
            Self::Unix(_) => HeaderValue::from_static("localhost"),
            Self::Tcp(address) | Self::Tls(address, ..) => {
                HeaderValue::from_str(address).map_err(|error| unsent(&error))?
            }
        };
        request.headers_mut().insert(HOST, host);
        Ok(sender.send_request(request).await?)
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How many bytes may still be read before something has to come of them.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    left: Arc<AtomicU64>,
    full: u64,
}

impl Meter {
    pub(super) fn new(full: u64) -> Self {
        Self {
            left: Arc::new(AtomicU64::new(full)),
            full,
        }
    }

    /// Something came of what was read: there may be as much again.
    pub(super) fn refill(&self) {
        self.left.store(self.full, Ordering::Relaxed);
    }

    fn count(&self, bytes: usize) -> io::Result<()> {
        let less = |left: u64| left.checked_sub(bytes as u64);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::other(format!(
                "it sends more than {} MiB that make no answer",
                self.full >> 20
            ))),
        }
    }
}

/// A stream whose bytes are counted as they are read.
struct Metered {
    stream: Box<dyn Stream>,
    meter: Meter,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        Poll::Ready(self.meter.count(buf.filled().len() - before))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
