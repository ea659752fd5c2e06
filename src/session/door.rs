//! The door: connections, TLS, the first frame, and who may say what.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    io::{ReadHalf, WriteHalf, split},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::task::TaskTracker;

use super::{Context, join, serve};
use crate::{
    model::{
        ContainerId,
        session::{
            FromManager, FromRunner, Hello, MAX_FRAME_BYTES, MAX_LIST_BYTES, MAX_STRANGER_BYTES, PROTOCOL,
        },
    },
    security::{PeerIdentity, PeerRole},
    wire::{FramedReader, FramedWriter, WireError},
};

/// Connections at once, in all.
const MOST: usize = 16_384;

/// Connections at once that have not said who they are; more wait in the system's queue.
const STRANGERS: usize = 1024;

/// For the TLS hand-shake and the first frame together.
const FIRST: Duration = Duration::from_secs(5);

/// For what is sent to be taken.
pub(super) const WRITE: Duration = Duration::from_secs(5);

/// After the system refused a connection, for want of file descriptors say.
const BREATH: Duration = Duration::from_millis(100);

/// One connection, framed.
pub(super) struct Link {
    pub reader: FramedReader<ReadHalf<TlsStream<TcpStream>>>,
    pub writer: FramedWriter<WriteHalf<TlsStream<TcpStream>>>,
    /// Where it came from.
    pub from: SocketAddr,
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("nothing usable within {0:?}")]
    Slow(Duration),
    #[error("the TLS hand-shake failed")]
    Tls(#[source] std::io::Error),
    #[error("the connection broke")]
    Wire(#[from] WireError),
    #[error("it said what does not belong there: {0}")]
    Misplaced(&'static str),
    #[error("it did not take what was sent within {WRITE:?}")]
    Stuck,
    #[error("nothing heard of it for {0:?}")]
    Silent(Duration),
}

impl LinkError {
    /// Whether a person should hear of it: somebody does what no runner does.
    fn is_odd(&self) -> bool {
        match self {
            Self::Misplaced(_) | Self::Tls(_) => true,
            Self::Wire(error) => error.is_violation(),
            Self::Slow(_) | Self::Stuck | Self::Silent(_) => false,
        }
    }
}

impl Link {
    /// Sends one frame.
    pub(super) async fn send(&mut self, frame: &FromManager) -> Result<(), LinkError> {
        self.writer.push(frame)?;
        self.flush().await
    }

    /// Sends what was pushed.
    pub(super) async fn flush(&mut self) -> Result<(), LinkError> {
        let flushed = timeout(WRITE, self.writer.flush()).await;
        Ok(flushed.map_err(|_| LinkError::Stuck)??)
    }

    /// Says why not, and ends the connection.
    pub(super) async fn refuse(mut self, reason: String, retry: bool) -> Result<(), LinkError> {
        tracing::info!(from = %self.from, %reason, "refused a session");
        self.writer.push(&FromManager::Refused { reason, retry })?;
        self.close().await
    }

    /// Ends the connection in good order.
    pub(super) async fn close(mut self) -> Result<(), LinkError> {
        let closed = timeout(WRITE, self.writer.close()).await;
        Ok(closed.map_err(|_| LinkError::Stuck)??)
    }
}

/// Lets connections in until the server ends.
pub(super) async fn run(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    context: Arc<Context>,
    tasks: TaskTracker,
) {
    let acceptor = TlsAcceptor::from(tls);
    let (all, strangers) = (
        Arc::new(Semaphore::new(MOST)),
        Arc::new(Semaphore::new(STRANGERS)),
    );
    loop {
        let next = async {
            // Neither is ever closed.
            let places = (
                all.clone().acquire_owned().await,
                strangers.clone().acquire_owned().await,
            );
            (places, listener.accept().await)
        };
        let ((place, stranger), accepted) = tokio::select! {
            next = next => next,
            () = context.end.cancelled() => return,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the system refuses a connection from a runner");
                sleep(BREATH).await;
                continue;
            }
        };
        let (acceptor, context) = (acceptor.clone(), context.clone());
        tasks.spawn(async move {
            let _place = place;
            if let Err(error) = enter(stream, from, acceptor, stranger.ok(), context).await {
                complain(from, &error);
            }
        });
    }
}

fn complain(from: SocketAddr, error: &LinkError) {
    let source = std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    if error.is_odd() {
        tracing::warn!(%from, source, "closed a connection on the session port: {error}");
    } else {
        tracing::info!(%from, source, "a session ended: {error}");
    }
}

async fn enter(
    stream: TcpStream,
    from: SocketAddr,
    acceptor: TlsAcceptor,
    stranger: Option<OwnedSemaphorePermit>,
    context: Arc<Context>,
) -> Result<(), LinkError> {
    let entering = timeout(FIRST, introduce(stream, from, acceptor));
    let entered = tokio::select! {
        entered = entering => entered,
        () = context.end.cancelled() => return Ok(()),
    };
    let (link, identity, first) = entered.map_err(|_| LinkError::Slow(FIRST))??;
    drop(stranger);
    let Some(first) = first else { return Ok(()) };
    if let Some(theirs) = protocol(&first).filter(|theirs| *theirs != PROTOCOL) {
        let words = format!(
            "this runner speaks session protocol {theirs}, this manager {PROTOCOL}: install the same version of Quorate on both"
        );
        return link.refuse(words, false).await;
    }
    match (identity, first) {
        (
            None,
            FromRunner::Enroll {
                token, csr, hello, ..
            },
        ) => join::enroll(&context, link, &token, &csr, &hello).await,
        (
            None,
            FromRunner::JoinManager {
                token, incarnation, ..
            },
        ) => join::admit(&context, link, &token, incarnation).await,
        (Some(identity), FromRunner::Hello { hello, .. }) => open(&context, link, &identity, hello).await,
        (None, _) => Err(LinkError::Misplaced(
            "without a certificate there is only joining",
        )),
        (Some(_), _) => Err(LinkError::Misplaced("a session begins with hello")),
    }
}

async fn open(
    context: &Arc<Context>,
    link: Link,
    identity: &PeerIdentity,
    hello: Hello,
) -> Result<(), LinkError> {
    let container = match (identity.role, identity.name.parse::<ContainerId>()) {
        (PeerRole::Runner, Ok(container)) => container,
        _ => return Err(LinkError::Misplaced("only runners have sessions")),
    };
    serve::serve(context, link, container, hello).await
}

/// The hand-shake, who it is, and the first frame; `None` when there is none.
async fn introduce(
    stream: TcpStream,
    from: SocketAddr,
    acceptor: TlsAcceptor,
) -> Result<(Link, Option<PeerIdentity>, Option<FromRunner>), LinkError> {
    stream.set_nodelay(true).map_err(LinkError::Tls)?;
    let stream = acceptor.accept(stream).await.map_err(LinkError::Tls)?;
    let identity = PeerIdentity::of(stream.get_ref().1)
        .map_err(|_| LinkError::Misplaced("a certificate that names nobody"))?;
    // A runner says in its first frame which agents it holds; a stranger has little to say.
    let limit = match identity {
        Some(_) => MAX_FRAME_BYTES,
        None => MAX_STRANGER_BYTES,
    };
    let (read, write) = split(stream);
    let mut link = Link {
        reader: FramedReader::new(read, limit),
        writer: FramedWriter::new(write, MAX_LIST_BYTES),
        from,
    };
    let first = link.reader.read().await?;
    Ok((link, identity, first))
}

fn protocol(first: &FromRunner) -> Option<u32> {
    match first {
        FromRunner::Enroll { protocol, .. }
        | FromRunner::Hello { protocol, .. }
        | FromRunner::JoinManager { protocol, .. } => Some(*protocol),
        _ => None,
    }
}
