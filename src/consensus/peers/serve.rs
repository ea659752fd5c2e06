//! The answering side: one connection from another manager.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use tokio::{
    io::{ReadHalf, WriteHalf},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tracing::{debug, warn};

use super::{BoxedStream, HANDSHAKE, Hello, Lane, MAX_FRAME_BYTES, PROTOCOL, Request, Response, Welcome};
use crate::{
    consensus::{
        core::{Core, Standing},
        snapshot_store::Incoming,
        types::{SnapshotMeta, Vote},
    },
    model::ManagerId,
    wire::{self, FramedReader, FramedWriter, WireError},
};

/// Requests of one connection that are worked on at a time.
const AT_A_TIME: usize = 256;

/// A connection on which nothing arrives for this long is closed: its other end is gone. Lanes that
/// are not used are dialled again when they are.
const IDLE: Duration = Duration::from_secs(60);

type Reader = FramedReader<ReadHalf<BoxedStream>>;
type Writer = FramedWriter<WriteHalf<BoxedStream>>;

/// Serves one connection until it ends. `authenticated` is the id its certificate was issued for.
pub(in crate::consensus) async fn serve(core: Arc<Core>, mut stream: BoxedStream, authenticated: ManagerId) {
    let hello: Hello = match timeout(HANDSHAKE, wire::read_frame(&mut stream, 1024)).await {
        Ok(Ok(Some(hello))) => hello,
        Ok(Err(error)) if error.is_violation() => {
            warn!(peer = authenticated, %error, "a peer connection did not begin with a hello");
            return;
        }
        _ => return,
    };
    let answer = match refusal(&core, &hello, authenticated) {
        Some(reason) => Welcome::Refused { reason },
        None => Welcome::Open {
            incarnation: core.me.incarnation,
        },
    };
    let sent = timeout(HANDSHAKE, wire::write_frame(&mut stream, &answer, 4096)).await;
    if let Welcome::Refused { reason } = answer {
        warn!(peer = authenticated, %reason, "refused a manager");
        return;
    }
    if !matches!(sent, Ok(Ok(()))) {
        return;
    }
    let (read, write) = tokio::io::split(stream);
    let reader = FramedReader::new(read, MAX_FRAME_BYTES);
    let writer = FramedWriter::new(write, MAX_FRAME_BYTES);
    let from = hello.from;
    match hello.lane {
        Lane::Append => append(core, reader, writer).await,
        Lane::Snapshot => snapshot(core, reader, writer).await,
        lane => answer_all(core, reader, writer, from, lane).await,
    }
    debug!(peer = from, lane = ?hello.lane, "a peer connection ended");
}

/// Why this connection must not be served.
fn refusal(core: &Core, hello: &Hello, authenticated: ManagerId) -> Option<String> {
    let me = core.me.id;
    if hello.protocol != PROTOCOL {
        return Some(format!(
            "manager {me} speaks peer protocol {PROTOCOL}, not {}",
            hello.protocol
        ));
    }
    if hello.from != authenticated {
        return Some(format!(
            "a certificate of manager {authenticated} can't speak as manager {}",
            hello.from
        ));
    }
    if hello.to != me {
        return Some(format!(
            "this is manager {me}, not {}: check the peer addresses",
            hello.to
        ));
    }
    match core.standing(hello.from) {
        Standing::Member { incarnation } if incarnation != hello.incarnation && hello.lane != Lane::Join => {
            Some(format!(
                "manager {} is known with another data directory: its data were lost, so it can't come back as itself; remove it and join it as a new manager",
                hello.from
            ))
        }
        Standing::Stranger if hello.lane != Lane::Join => {
            Some(format!("manager {} is not a member of this cluster", hello.from))
        }
        _ => None,
    }
}

/// Feeds entries to raft, in order, and sends its answers back, in order.
async fn append(core: Arc<Core>, reader: Reader, mut writer: Writer) {
    let input = futures::stream::unfold(reader, |mut reader| async move {
        match timeout(IDLE * 10, reader.read()).await {
            Ok(Ok(Some(request))) => Some((request, reader)),
            Ok(Err(error)) => {
                log_violation(&error);
                None
            }
            _ => None,
        }
    });
    let mut answers = std::pin::pin!(core.raft.stream_append(input));
    while let Some(Ok(answer)) = answers.next().await {
        if writer.push(&answer).is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

/// Answers requests as they are done, several at a time.
async fn answer_all(core: Arc<Core>, mut reader: Reader, writer: Writer, from: ManagerId, lane: Lane) {
    let (done, answers) = mpsc::channel(AT_A_TIME);
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let writing = tokio::spawn(write_answers(writer, answers));
    while let Ok(frame) = timeout(IDLE, reader.read::<(u64, Request)>()).await {
        let (number, request) = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(error) => {
                log_violation(&error);
                break;
            }
        };
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else {
            break;
        };
        let (core, done) = (core.clone(), done.clone());
        tokio::spawn(async move {
            let response = core.answer(from, lane, request).await;
            let _ = done.send((number, response)).await;
            drop(place);
        });
    }
    drop(done);
    let _ = writing.await;
}

async fn write_answers(mut writer: Writer, mut answers: mpsc::Receiver<(u64, Response)>) {
    while let Some(first) = answers.recv().await {
        let mut next = Some(first);
        while let Some(answer) = next {
            if writer.push(&answer).is_err() {
                return;
            }
            next = answers.try_recv().ok();
        }
        if writer.flush().await.is_err() {
            return;
        }
    }
}

/// A snapshot on its way in.
struct Arriving {
    vote: Vote,
    meta: SnapshotMeta,
    receiver: Incoming,
}

/// Takes snapshots in, one part after the other. What was begun and not ended leaves no trace.
async fn snapshot(core: Arc<Core>, mut reader: Reader, mut writer: Writer) {
    let mut incoming: Option<Arriving> = None;
    while let Ok(Ok(Some((number, request)))) = timeout(IDLE, reader.read::<(u64, Request)>()).await {
        let response = match request {
            Request::SnapshotBegin { vote, meta } => match core.snapshots.receive() {
                Ok(receiver) => {
                    incoming = Some(Arriving { vote, meta, receiver });
                    Response::Taken
                }
                Err(error) => Response::Failed(error.to_string()),
            },
            Request::SnapshotPart(part) => match incoming.as_mut().map(|i| i.receiver.append(&part)) {
                Some(Ok(())) => Response::Taken,
                Some(Err(error)) => Response::Failed(error.to_string()),
                None => Response::Failed("no snapshot was begun".into()),
            },
            Request::SnapshotEnd => match incoming.take() {
                Some(Arriving { vote, meta, receiver }) => core.install(vote, meta, receiver).await,
                None => Response::Failed("no snapshot was begun".into()),
            },
            _ => Response::Failed("this lane carries snapshots only".into()),
        };
        if writer.push(&(number, response)).is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

fn log_violation(error: &WireError) {
    if error.is_violation() {
        warn!(%error, "a manager sent what no manager sends; its connection is closed");
    }
}
