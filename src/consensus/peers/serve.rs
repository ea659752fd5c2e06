//! The answering side: one connection from another manager.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use tokio::{
    io::{ReadHalf, WriteHalf},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tracing::{debug, warn};

use super::{BoxedStream, HANDSHAKE, Hello, Lane, MAX_FRAME_BYTES, PROTOCOL, Request, Response, Welcome};
use crate::{
    consensus::{
        core::{Core, Standing},
        runtime::blocking,
        snapshot_store::{Incoming, SnapshotError},
        types::{SnapshotMeta, Vote},
    },
    model::ManagerId,
    wire::{self, FramedReader, FramedWriter, WireError},
};

/// Requests of one connection that are worked on at a time.
const AT_A_TIME: usize = 256;

/// A peer that takes none of our answers for this long is gone.
const STUCK: Duration = Duration::from_secs(5);

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
    // One that comes in knows addresses only: whoever has the place of a removed manager by now can
    // tell it where it stands, and let it in.
    if hello.to != me && hello.lane != Lane::Join {
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
        // A member that is behind may not know a later one yet, which may be the leader it needs: only
        // what asks for effects here is refused. Pre-votes keep a removed manager harmless.
        Standing::Stranger if hello.lane == Lane::Forward => {
            Some(format!("manager {} is not a member of this cluster", hello.from))
        }
        _ => None,
    }
}

/// Feeds entries to raft, in order, and sends its answers back, in order.
async fn append(core: Arc<Core>, reader: Reader, mut writer: Writer) {
    let hears = core.clone();
    let input = futures::stream::unfold(reader, move |mut reader| {
        let hears = hears.clone();
        async move {
            match timeout(IDLE * 10, reader.read()).await {
                Ok(Ok(Some(request))) => {
                    hears.heard();
                    Some((request, reader))
                }
                Ok(Err(error)) => {
                    log_violation(&error);
                    None
                }
                _ => None,
            }
        }
    });
    let mut answers = std::pin::pin!(core.raft.stream_append(input));
    while let Some(Ok(answer)) = answers.next().await {
        if writer.push(&answer).is_err() || !flushed(&mut writer).await {
            return;
        }
    }
}

/// Writes what was pushed; a peer that takes nothing for [`STUCK`] is given up.
async fn flushed(writer: &mut Writer) -> bool {
    matches!(timeout(STUCK, writer.flush()).await, Ok(Ok(())))
}

/// Answers requests as they are done, several at a time. What is not done when the connection ends is
/// dropped with it: nobody waits for it any more.
async fn answer_all(core: Arc<Core>, mut reader: Reader, writer: Writer, from: ManagerId, lane: Lane) {
    let (done, answers) = mpsc::channel(AT_A_TIME);
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut writing = tokio::spawn(write_answers(writer, answers));
    let mut working = JoinSet::new();
    loop {
        while working.try_join_next().is_some() {}
        let frame = tokio::select! {
            frame = timeout(IDLE, reader.read::<(u64, Request)>()) => frame,
            _ = &mut writing => return,
        };
        let (number, request) = match frame {
            Ok(Ok(Some(frame))) => frame,
            Ok(Err(error)) => {
                log_violation(&error);
                break;
            }
            Ok(Ok(None)) | Err(_) => break,
        };
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else {
            break;
        };
        let (core, done) = (core.clone(), done.clone());
        working.spawn(async move {
            let response = core.answer(from, lane, request).await;
            let _ = done.send((number, response)).await;
            drop(place);
        });
    }
    writing.abort();
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
        if !flushed(&mut writer).await {
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
    let mut arriving: Option<Arriving> = None;
    while let Ok(Ok(Some((number, request)))) = timeout(IDLE, reader.read::<(u64, Request)>()).await {
        core.heard();
        let response = match (request, arriving.take()) {
            (Request::SnapshotBegin { vote, meta }, _) => {
                let snapshots = core.snapshots.clone();
                match file_work(move || snapshots.receive()).await {
                    Ok(receiver) => {
                        arriving = Some(Arriving { vote, meta, receiver });
                        Response::Taken
                    }
                    Err(why) => Response::Failed(why),
                }
            }
            (Request::SnapshotPart(part), Some(mut begun)) => {
                let appended = file_work(move || begun.receiver.append(&part).map(|()| begun)).await;
                match appended {
                    Ok(begun) => {
                        arriving = Some(begun);
                        Response::Taken
                    }
                    Err(why) => Response::Failed(why),
                }
            }
            (Request::SnapshotEnd, Some(Arriving { vote, meta, receiver })) => {
                core.install(vote, meta, receiver).await
            }
            (Request::SnapshotPart(_) | Request::SnapshotEnd, None) => {
                Response::Failed("no snapshot was begun, or a part of it failed".into())
            }
            _ => Response::Failed("this lane carries snapshots only".into()),
        };
        if writer.push(&(number, response)).is_err() || !flushed(&mut writer).await {
            return;
        }
    }
}

/// Does file work where it holds nobody up.
async fn file_work<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, String> {
    match blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn log_violation(error: &WireError) {
    if error.is_violation() {
        warn!(%error, "a manager sent what no manager sends; its connection is closed");
    }
}
