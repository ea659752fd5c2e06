//! The append lane: entries flow one way, acknowledgements the other, in order and pipelined.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt, Stream, StreamExt,
    stream::{self, BoxStream},
};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use tokio::{
    io::{ReadHalf, WriteHalf},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use super::{core::Core, types::TypeConfig};
use crate::{
    model::{ManagerId, Member},
    peers::{BoxedStream, Channel, Lane, Peers, io_error},
    wire::{FramedReader, FramedWriter},
};

/// A peer that takes nothing for this long is gone.
const STUCK: Duration = Duration::from_secs(5);

/// A connection on which nothing arrives for this long is closed: its other end is gone.
const IDLE: Duration = Duration::from_secs(600);

/// Requests that may be under way; the sender pauses above that.
const IN_FLIGHT: usize = 64;

type Answer = StreamAppendResult<TypeConfig>;
type Results = BoxStream<'static, io::Result<Answer>>;
type Reader = FramedReader<ReadHalf<BoxedStream>>;
type Writer = FramedWriter<WriteHalf<BoxedStream>>;

/// Where a lane's streams get their connections from.
#[derive(Clone)]
pub(super) struct AppendLane {
    peers: Peers,
    target: ManagerId,
    member: Member,
    /// A connection on which everything that was asked is answered. Raft ends a stream whenever it has caught up and begins the next one soon after: a connection that
    /// the one before left clean serves it too, for a handshake costs more than a small append.
    idle: Arc<Mutex<Option<Channel>>>,
}

impl std::fmt::Debug for AppendLane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppendLane")
            .field("peers", &self.peers)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl AppendLane {
    pub fn new(peers: Peers, target: ManagerId, member: Member) -> Self {
        Self {
            peers,
            target,
            member,
            idle: Arc::default(),
        }
    }

    /// Sends what `input` yields and yields the answers, in order. A connection serves one stream at a
    /// time, and the next one only if nothing of this one is left on it: a stream that broke off leaves
    /// answers behind that belong to nobody.
    ///
    /// An answer is due within `due` of its request.
    pub async fn stream<S>(&self, mut input: S, due: Duration) -> io::Result<Results>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        // The pause after a failure is made by the input before it yields. Who dials first makes none, and dials
        // a manager that is away as fast as it can be refused.
        let Some(first) = input.next().await else {
            return Ok(stream::empty().boxed());
        };
        let input = stream::iter([first]).chain(input);
        let Channel { reader, writer } = match self.take_idle() {
            Some(idle) => idle,
            None => self
                .peers
                .connect(Lane::APPEND, self.target, &self.member)
                .await?
                .into(),
        };
        // One token for each request under way.
        let (sent, under_way) = mpsc::channel(IN_FLIGHT);
        let state = Some(Answers {
            reader,
            under_way,
            due,
            writer: Abort(tokio::spawn(send(input, writer, sent))),
            idle: self.idle.clone(),
        });
        Ok(stream::unfold(state, |state| async move {
            let mut answers = state?;
            let Some(answer) = answers.next().await else {
                answers.leave_clean().await;
                return None;
            };
            // Anything but a plain success ends the stream: what is behind it is void.
            let go_on = matches!(answer, Ok(Ok(_)));
            Some((answer, go_on.then_some(answers)))
        })
        .boxed())
    }

    /// The connection that the last stream left, unless the other side has ended it or says more than
    /// it was asked.
    fn take_idle(&self) -> Option<Channel> {
        let mut idle = lock(&self.idle).take()?;
        let silent = idle.reader.read::<Answer>().now_or_never().is_none();
        silent.then_some(idle)
    }
}

/// Every critical section is a single operation, so a panic leaves nothing half done.
fn lock(idle: &Mutex<Option<Channel>>) -> std::sync::MutexGuard<'_, Option<Channel>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the writer with the stream it belongs to.
struct Abort(JoinHandle<Option<Writer>>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Answers {
    reader: Reader,
    /// One for each request that was written, or why one was not.
    under_way: mpsc::Receiver<io::Result<()>>,
    due: Duration,
    writer: Abort,
    idle: Arc<Mutex<Option<Channel>>>,
}

impl Answers {
    async fn next(&mut self) -> Option<io::Result<Answer>> {
        // The writer is done and everything is answered: a clean end.
        if let Err(error) = self.under_way.recv().await? {
            return Some(Err(error));
        }
        Some(match timeout(self.due, self.reader.read()).await {
            Ok(Ok(Some(answer))) => Ok(answer),
            Ok(Ok(None)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Err(error)) => Err(io_error(error)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        })
    }

    /// Leaves the connection for the next stream.
    async fn leave_clean(mut self) {
        if let Ok(Some(writer)) = (&mut self.writer.0).await {
            let reader = self.reader;
            *lock(&self.idle) = Some(Channel { reader, writer });
        }
    }
}

/// Writes all requests; gives the writer back if all of them were written.
async fn send<S>(mut input: S, mut writer: Writer, sent: mpsc::Sender<io::Result<()>>) -> Option<Writer>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    while let Some(request) = input.next().await {
        let written = match writer.push(&request) {
            Ok(()) => timeout(STUCK, writer.flush()).await,
            Err(error) => Ok(Err(error)),
        };
        let told = match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(io_error(error)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let failed = told.is_err();
        // The receiver is dropped with the stream, and this task is then ended anyway.
        if sent.send(told).await.is_err() || failed {
            return None;
        }
    }
    Some(writer)
}

/// The other side: feeds entries to raft, in order, and sends its answers back, in order.
pub(super) async fn serve(core: Arc<Core>, stream: BoxedStream) {
    let Channel { reader, mut writer } = stream.into();
    let hears = core.clone();
    let input = stream::unfold(reader, move |mut reader| {
        let hears = hears.clone();
        async move {
            match timeout(IDLE, reader.read()).await {
                Ok(Ok(Some(request))) => {
                    hears.heard();
                    Some((request, reader))
                }
                Ok(Err(error)) => {
                    if error.is_violation() {
                        tracing::warn!(%error, "a manager sent what no manager sends; its connection is closed");
                    }
                    None
                }
                _ => None,
            }
        }
    });
    let mut answers = std::pin::pin!(core.raft.stream_append(input));
    while let Some(Ok(answer)) = answers.next().await {
        if writer.push(&answer).is_err() {
            return;
        }
        // A peer that takes nothing is given up.
        if !matches!(timeout(STUCK, writer.flush()).await, Ok(Ok(()))) {
            return;
        }
    }
}
