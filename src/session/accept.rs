//! The session port: connections, TLS, the first frame, and whom it leads to.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::{Core, Refusal, admit, open, streams};
use crate::{
    model::{
        ContainerId, Mismatch, Versions,
        session::{FromManager, FromRunner, Hello, MAX_FRAME_BYTES, PROTOCOL},
    },
    security::{PeerIdentity, PeerRole},
    wire::{self, WireError},
};

/// Connections of one manager.
const CONNECTIONS: usize = 20_000;

/// Connections that have not shown a certificate yet. More wait in the system's queue, runners among them: so
/// that a crowd which says nothing keeps no runner out, there is room for it until its time is over.
const STRANGERS: usize = 2048;

/// From the connection to the end of the first frame.
const GREETING: Duration = Duration::from_secs(5);

/// The first frame of who has no certificate, in bytes: a token, a request, some labels.
const STRANGER_FRAME_BYTES: usize = 64 << 10;

/// For the last frame to go out, and for the other side to close after it.
const FAREWELL: Duration = Duration::from_secs(2);

/// Bytes that are thrown away at the end, at most.
const DRAINED_BYTES: u64 = 1 << 20;

/// Pause after a failed accept: out of descriptors, say. Waiting helps, ending does not.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// The first frame, or why it is refused at once.
type Spoken = Result<FromRunner, Refusal>;

/// Why a connection came to nothing before it said who it is.
#[derive(Debug, thiserror::Error)]
enum Greeting {
    #[error("the TLS handshake failed")]
    Tls(#[from] io::Error),
    #[error("the certificate is not usable")]
    Certificate(#[from] crate::security::SecurityError),
    #[error("the first frame is not usable")]
    Frame(#[from] WireError),
    #[error("it closed the connection without a word")]
    Silent,
    #[error("it did not say who it is within {GREETING:?}")]
    Slow,
}

/// Accepts connections until the shutdown.
pub(super) async fn run(listener: TcpListener, acceptor: TlsAcceptor, core: Arc<Core>, tasks: TaskTracker) {
    let accepting = accept(listener, acceptor, core.clone(), tasks);
    core.shutdown.run_until_cancelled(accepting).await;
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, core: Arc<Core>, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    // The semaphores are never closed.
    while let Ok(stranger) = strangers.clone().acquire_owned().await {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "can't accept a session");
                sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            if core.complaints.due(address.ip()) {
                warn!(%address, "turned a connection away: this manager holds {CONNECTIONS} already");
            }
            continue;
        };
        let (acceptor, core) = (acceptor.clone(), core.clone());
        tasks.spawn(async move {
            connection(stream, address, acceptor, &core, stranger).await;
            drop(place);
        });
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    core: &Arc<Core>,
    stranger: OwnedSemaphorePermit,
) {
    let greeting = async { timeout(GREETING, greet(stream, acceptor)).await };
    let greeted = match core.shutdown.run_until_cancelled(greeting).await {
        Some(Ok(greeted)) => greeted,
        Some(Err(_)) => Err(Greeting::Slow),
        None => return,
    };
    let (stream, identity, frame) = match greeted {
        Ok(greeted) => greeted,
        Err(error) => {
            if core.complaints.due(address.ip()) {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let cause = cause.unwrap_or_default();
                warn!(%address, %error, cause, "ended a connection to the session port");
            }
            return;
        }
    };
    match (frame, identity) {
        (Ok(frame), None) => {
            let answer = admit::answer(core, address.ip(), frame);
            let Some(Some(answer)) = core.shutdown.run_until_cancelled(answer).await else {
                return;
            };
            if let FromManager::Refused { reason, .. } = &answer {
                complain(core, address, reason);
            }
            farewell(stream, &answer).await;
        }
        (Ok(frame), Some(identity)) => {
            drop(stranger);
            match introduced(frame, &identity) {
                Ok(Introduced::Session(id, hello)) => {
                    open::serve(core, stream, address, identity, id, *hello).await;
                }
                Ok(Introduced::Streams(claim)) => streams::serve(core, stream, address, claim).await,
                Err(refusal) => refuse(core, stream, address, refusal).await,
            }
        }
        (Err(refusal), _) => refuse(core, stream, address, refusal).await,
    }
}

async fn greet(
    stream: TcpStream,
    acceptor: TlsAcceptor,
) -> Result<(TlsStream<TcpStream>, Option<PeerIdentity>, Spoken), Greeting> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let identity = PeerIdentity::of(stream.get_ref().1)?;
    let limit = if identity.is_some() {
        MAX_FRAME_BYTES
    } else {
        STRANGER_FRAME_BYTES
    };
    let body = first_frame(&mut stream, limit).await?;
    Ok((stream, identity, understood(&body)?))
}

/// Reads the first frame and not a byte beyond it.
async fn first_frame(stream: &mut (impl AsyncRead + Unpin), limit: usize) -> Result<Vec<u8>, Greeting> {
    let mut header = [0; wire::HEADER];
    if let Err(error) = stream.read_exact(&mut header).await {
        return Err(match error.kind() {
            io::ErrorKind::UnexpectedEof => Greeting::Silent,
            _ => Greeting::Frame(error.into()),
        });
    }
    let size = u32::from_be_bytes(header) as usize;
    if size > limit {
        return Err(WireError::TooLarge { size, limit }.into());
    }
    // Grows with what arrives, not with what was announced.
    let mut body = Vec::new();
    (&mut *stream)
        .take(size as u64)
        .read_to_end(&mut body)
        .await
        .map_err(WireError::from)?;
    if body.len() < size {
        return Err(WireError::Io(io::ErrorKind::UnexpectedEof.into()).into());
    }
    Ok(body)
}

/// The first frame, unless it offers other versions alone: of that only the beginning can be counted on,
/// which is the kind of frame and the versions.
fn understood(body: &[u8]) -> Result<Spoken, Greeting> {
    let frame = wire::decode(body);
    let theirs = match &frame {
        Ok(
            FromRunner::Enroll { protocol, .. }
            | FromRunner::JoinManager { protocol, .. }
            | FromRunner::Hello { protocol, .. },
        ) => Some(*protocol),
        Ok(_) => None,
        Err(_) => match postcard::take_from_bytes::<(u32, Versions)>(body) {
            Ok(((0..=2, theirs), _)) => Some(theirs),
            _ => None,
        },
    };
    match theirs.map(|theirs| (theirs, Versions::common(PROTOCOL, theirs))) {
        Some((theirs, Err(mismatch))) => Ok(Err(no_common_version(theirs, mismatch))),
        _ => Ok(Ok(frame?)),
    }
}

/// A first frame of any bytes is understood, refused, or put down as no frame of ours.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzzing(body: &[u8]) {
    if let Ok(Ok(frame)) = understood(body) {
        let again = wire::fuzzing::frame(&frame);
        assert!(matches!(understood(&again[wire::HEADER..]), Ok(Ok(same)) if same == frame));
    }
}

/// Not for good: one of the two will be upgraded, and until then the runner's agents go on.
fn no_common_version(theirs: Versions, mismatch: Mismatch) -> Refusal {
    let first = match mismatch {
        Mismatch::WeAreOlder => "this manager",
        Mismatch::TheyAreOlder => "what dials",
    };
    Refusal::for_now(format!(
        "this manager speaks session versions {PROTOCOL}, what dials speaks {theirs}: upgrade {first} first"
    ))
}

/// What a runner's connection is for.
enum Introduced {
    Session(ContainerId, Box<(u16, Hello)>),
    Streams(streams::Claim),
}

/// The runner that a certificate and its first frame introduce.
fn introduced(frame: FromRunner, identity: &PeerIdentity) -> Result<Introduced, Refusal> {
    let id = match identity.role {
        PeerRole::Runner => identity.name.parse().map_err(|_| {
            Refusal::for_good(format!(
                "the certificate names `{}`, which is no container",
                identity.name
            ))
        })?,
        PeerRole::Manager => {
            return Err(Refusal::for_good(
                "this port is for runners: managers meet at the peer port",
            ));
        }
    };
    match frame {
        FromRunner::Hello { protocol, hello } => {
            let common = Versions::common(PROTOCOL, protocol);
            let version = common.map_err(|mismatch| no_common_version(protocol, mismatch))?;
            Ok(Introduced::Session(id, Box::new((version, hello))))
        }
        FromRunner::Streams { container, .. } if container != id => Err(Refusal::for_good(format!(
            "the certificate is for container {id}, not for {container}"
        ))),
        FromRunner::Streams { boot, ticket, .. } => Ok(Introduced::Streams(streams::Claim {
            container: id,
            boot,
            ticket,
        })),
        _ => Err(Refusal::for_good("a runner with a certificate says hello first")),
    }
}

pub(super) fn complain(core: &Core, address: SocketAddr, reason: &str) {
    if core.complaints.due(address.ip()) {
        warn!(%address, reason, "refused on the session port");
    }
}

pub(super) async fn refuse(core: &Core, stream: TlsStream<TcpStream>, address: SocketAddr, refusal: Refusal) {
    complain(core, address, &refusal.reason);
    farewell(stream, &refusal.into()).await;
}

/// Sends the last frame and closes.
pub(super) async fn farewell(mut stream: TlsStream<TcpStream>, frame: &FromManager) {
    let last = async {
        wire::write_frame(&mut stream, frame, MAX_FRAME_BYTES).await?;
        stream.shutdown().await?;
        // Bytes that arrive after a close would make the system take back what was just sent.
        let mut rest = stream.take(DRAINED_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
        Ok::<_, WireError>(())
    };
    match timeout(FAREWELL, last).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "the last frame of a connection may not have arrived"),
        Err(_) => debug!("a connection did not end in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_first_frame_is_bounded_whole_and_alone() {
        let read = async |mut bytes: &[u8]| {
            let frame = first_frame(&mut bytes, 4).await;
            (frame, bytes.len())
        };
        let (frame, left) = read(&[0, 0, 0, 2, 7, 8, 9]).await;
        assert_eq!((frame.unwrap(), left), (vec![7, 8], 1));
        let (frame, _) = read(&[0, 0, 0, 5, 1, 2, 3, 4, 5]).await;
        assert!(matches!(
            frame,
            Err(Greeting::Frame(WireError::TooLarge { size: 5, limit: 4 }))
        ));
        let (frame, _) = read(&[0, 0, 0, 3, 1]).await;
        assert!(matches!(frame, Err(Greeting::Frame(WireError::Io(_)))));
        assert!(matches!(read(&[]).await.0, Err(Greeting::Silent)));
    }

    #[test]
    fn the_version_counts_where_the_rest_is_not_understood() {
        let later = Versions::only(900);
        let frame = postcard::to_stdvec(&(2_u32, later, "more")).unwrap();
        let refusal = no_common_version(later, Mismatch::WeAreOlder);
        assert!(refusal.retry, "a runner goes on with its agents and tries again");
        assert_eq!(understood(&frame).unwrap(), Err(refusal));
        let noise = postcard::to_stdvec(&(900_u32, later)).unwrap();
        assert!(understood(&noise).is_err());
        let ours = postcard::to_stdvec(&FromRunner::Goodbye).unwrap();
        assert_eq!(understood(&ours).unwrap(), Ok(FromRunner::Goodbye));
    }
}
