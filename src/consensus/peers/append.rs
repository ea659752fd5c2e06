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

use super::{BoxedStream, Dial, Lane, MAX_FRAME_BYTES, Me, io_error, open};
use crate::{
    consensus::types::TypeConfig,
    model::{ManagerId, Member},
    wire::{FramedReader, FramedWriter},
};

/// A peer that takes nothing for this long is gone.
const STUCK: Duration = Duration::from_secs(5);

/// Requests that may be under way; the sender pauses above that.
const IN_FLIGHT: usize = 64;

type Answer = StreamAppendResult<TypeConfig>;
type Results = BoxStream<'static, io::Result<Answer>>;
type Reader = FramedReader<ReadHalf<BoxedStream>>;
type Writer = FramedWriter<WriteHalf<BoxedStream>>;

/// A connection on which everything that was asked is answered.
struct Idle {
    reader: Reader,
    writer: Writer,
}

/// Where a lane's streams get their connections from.
#[derive(Clone)]
pub(in crate::consensus) struct AppendLane {
    dial: Arc<dyn Dial>,
    me: Me,
    target: ManagerId,
    member: Member,
    /// Raft ends a stream whenever it has caught up and begins the next one soon after: a connection that
    /// the one before left clean serves it too, for a handshake costs more than a small append.
    idle: Arc<Mutex<Option<Idle>>>,
}

impl std::fmt::Debug for AppendLane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppendLane")
            .field("me", &self.me)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl AppendLane {
    pub fn new(dial: Arc<dyn Dial>, me: Me, target: ManagerId, member: Member) -> Self {
        Self {
            dial,
            me,
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
        let Idle { reader, writer } = match self.take_idle() {
            Some(idle) => idle,
            None => self.connect().await?,
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

    async fn connect(&self) -> io::Result<Idle> {
        let expected = Some(self.member.incarnation);
        let (opened, _) = open(
            &*self.dial,
            self.me,
            Lane::Append,
            self.target,
            &self.member.info,
            expected,
        )
        .await?;
        let (read, write) = tokio::io::split(opened);
        Ok(Idle {
            reader: FramedReader::new(read, MAX_FRAME_BYTES),
            writer: FramedWriter::new(write, MAX_FRAME_BYTES),
        })
    }

    /// The connection that the last stream left, unless the other side has ended it or says more than
    /// it was asked.
    fn take_idle(&self) -> Option<Idle> {
        let mut idle = lock(&self.idle).take()?;
        let silent = idle.reader.read::<Answer>().now_or_never().is_none();
        silent.then_some(idle)
    }
}

/// Every critical section is a single operation, so a panic leaves nothing half done.
fn lock(idle: &Mutex<Option<Idle>>) -> std::sync::MutexGuard<'_, Option<Idle>> {
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
    idle: Arc<Mutex<Option<Idle>>>,
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
            *lock(&self.idle) = Some(Idle { reader, writer });
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
