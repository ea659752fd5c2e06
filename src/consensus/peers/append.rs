//! The append lane: entries flow one way, acknowledgements the other, in order and pipelined.

use std::{io, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream::BoxStream};
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

type Results = BoxStream<'static, io::Result<StreamAppendResult<TypeConfig>>>;

/// Where a lane's connections come from.
#[derive(Debug, Clone)]
pub(in crate::consensus) struct AppendLane {
    pub dial: Arc<dyn Dial>,
    pub me: Me,
    pub target: ManagerId,
    pub member: Member,
}

impl AppendLane {
    /// Sends what `input` yields and yields the answers, in order. One connection serves one stream:
    /// streams are long-lived, and a broken-off one leaves answers behind that belong to nobody.
    ///
    /// An answer is due within `idle` of its request.
    pub async fn stream<S>(&self, input: S, idle: Duration) -> io::Result<Results>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let expected = Some(self.member.incarnation);
        let (stream, _) = open(
            &*self.dial,
            self.me,
            Lane::Append,
            self.target,
            &self.member.info,
            expected,
        )
        .await?;
        let (read, write) = tokio::io::split(stream);
        // One token for each request under way.
        let (sent, under_way) = mpsc::channel(IN_FLIGHT);
        let writer = Abort(tokio::spawn(send(
            input,
            FramedWriter::new(write, MAX_FRAME_BYTES),
            sent,
        )));
        let reader = FramedReader::new(read, MAX_FRAME_BYTES);
        let state = Some(Answers {
            reader,
            under_way,
            idle,
            _writer: writer,
        });
        Ok(futures::stream::unfold(state, |state| async move {
            let mut answers = state?;
            let answer = answers.next().await?;
            // Anything but a plain success ends the stream: what is behind it is void.
            let go_on = matches!(answer, Ok(Ok(_)));
            Some((answer, go_on.then_some(answers)))
        })
        .boxed())
    }
}

/// Ends the writer with the stream it belongs to.
struct Abort(JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Answers {
    reader: FramedReader<ReadHalf<BoxedStream>>,
    /// One for each request that was written, or why one was not.
    under_way: mpsc::Receiver<io::Result<()>>,
    idle: Duration,
    _writer: Abort,
}

impl Answers {
    async fn next(&mut self) -> Option<io::Result<StreamAppendResult<TypeConfig>>> {
        // The writer is done and everything is answered: a clean end.
        if let Err(error) = self.under_way.recv().await? {
            return Some(Err(error));
        }
        Some(match timeout(self.idle, self.reader.read()).await {
            Ok(Ok(Some(answer))) => Ok(answer),
            Ok(Ok(None)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Err(error)) => Err(io_error(error)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        })
    }
}

async fn send<S>(
    mut input: S,
    mut writer: FramedWriter<WriteHalf<BoxedStream>>,
    sent: mpsc::Sender<io::Result<()>>,
) where
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
            return;
        }
    }
}
