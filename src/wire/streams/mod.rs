//! Many streams over one connection, each with credit of its own.
//!
//! [`Mux::new`] takes any two-way byte stream. Either side opens streams, with a header that says what it is
//! for, and the other accepts them. A [`Stream`] is `AsyncRead` and `AsyncWrite`.
//!
//! What holds:
//!
//! - What is not read stays with who sent it: a reader that does not read holds up its own stream and no other,
//!   and costs no more memory than its window. The windows of a connection are bounded together.
//! - Streams that have something to send take turns, 16 KiB at a time.
//! - Each direction ends by itself (`shutdown`). A stream that is dropped before it has ended is cut, and the
//!   other end gets an error: part of something is never taken for the whole.
//! - A stream on which nothing moves is cut after some time, a connection without streams is closed, and so is one
//!   whose other side is silent or takes nothing.
//! - Whatever arrives, memory is bounded, and what no correct peer sends closes the connection with a reason.
//!
//! The crate `yamux` was looked at first (0.13.10): there a reset stream and a broken connection read like an
//! orderly end, a stream that is dropped after it was written leaves its other end waiting for credit for ever, and small
//! frames cost a multiple of the window.
//!
//! It leaves out: who is at the other end, and what a stream's bytes mean.

mod driver;
mod flow;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod stream;
mod table;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::Instant,
};

use self::{frame::Why, table::Table};
pub use self::{
    frame::{MAX_HEADER_BYTES, Violation},
    stream::Stream,
};

/// Which side of a connection this is. Both may open streams; their ids are odd here and even there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// This side dialled.
    Dialled,
    /// This side was called.
    Called,
}

impl Role {
    fn other(self) -> Self {
        match self {
            Self::Dialled => Self::Called,
            Self::Called => Self::Dialled,
        }
    }

    /// The id of the first stream that this side opens.
    fn first(self) -> u32 {
        match self {
            Self::Dialled => 1,
            Self::Called => 2,
        }
    }
}

/// What a connection may cost this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Streams of the other side at a time. With none it may open none.
    pub incoming: u32,
    /// Streams of this side at a time; the other side may allow fewer.
    pub outgoing: u32,
    /// What the other side may send on a new stream before anything is read, in bytes.
    pub window: u32,
    /// What it may be at most, for who reads as fast as the other side sends.
    pub widest: u32,
    /// What all windows may be together, in bytes. No less than each stream's first one.
    pub bytes: u32,
    /// Without any stream.
    pub idle: Duration,
    /// Without any byte on a stream, in either direction.
    pub stream_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            incoming: 64,
            outgoing: 64,
            window: 32 << 10,
            widest: 512 << 10,
            bytes: 8 << 20,
            idle: Duration::from_secs(60),
            stream_idle: Duration::from_secs(300),
        }
    }
}

/// Why there is no stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The connection is over.
    #[error("the connection for streams is closed: {0}")]
    Closed(Arc<str>),
    /// As many as there may be are open.
    #[error("all {0} streams of the connection are in use; try again when some have ended")]
    TooMany(u32),
    /// The header is too long.
    #[error("a stream's header of {0} bytes is over the limit of {MAX_HEADER_BYTES}")]
    Header(usize),
    /// The header has no form on the wire.
    #[error("a stream's header does not encode")]
    Encode,
}

/// What the connection's task, its streams and its owner share.
#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    /// There is something to send, or the connection is over.
    send: Notify,
    /// A stream was opened by the other side, its settings arrived, or the connection is over.
    changed: Notify,
    /// The task has ended.
    gone: Notify,
}

impl Shared {
    /// A panic while it is held would leave the table whole: nothing in it panics.
    fn with<T>(&self, act: impl FnOnce(&mut Table) -> T) -> T {
        act(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the connection, if it has not ended before.
    fn close(&self, reason: &str, tell: bool) {
        let mut woken = Vec::new();
        self.with(|table| table.close(reason, tell, &mut woken));
        woken.into_iter().for_each(std::task::Waker::wake);
        self.changed.notify_waiters();
        self.send.notify_one();
    }

    /// Asks until there is an answer, each time something changed.
    async fn until<T>(&self, mut ask: impl FnMut(&mut Table) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            if let Some(answer) = self.with(&mut ask) {
                return answer;
            }
            changed.await;
        }
    }
}

/// A connection with streams. Dropping it closes the connection and cuts its streams.
#[derive(Debug)]
pub struct Mux {
    shared: Arc<Shared>,
}

impl Mux {
    /// Begins, over a connection on which nothing else is said any more. Needs a runtime.
    pub fn new<T>(io: T, role: Role, limits: Limits) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let shared = Arc::new(Shared {
            table: Mutex::new(Table::new(role, limits, Instant::now())),
            send: Notify::new(),
            changed: Notify::new(),
            gone: Notify::new(),
        });
        tokio::spawn(driver::run(io, shared.clone(), limits));
        Self { shared }
    }

    /// Opens a stream. Waits only for the first word of the other side.
    ///
    /// # Errors
    /// [`StreamError`]. Whether the other side takes the stream shows when it is used.
    pub async fn open<T: Serialize + ?Sized>(&self, header: &T) -> Result<Stream, StreamError> {
        let header = postcard::to_stdvec(header).map_err(|_| StreamError::Encode)?;
        let header = Bytes::from(header);
        let opened = self.shared.until(|table| table.open(&header, Instant::now()));
        let id = opened.await?;
        self.shared.send.notify_one();
        Ok(Stream::new(self.shared.clone(), id))
    }

    /// The next stream that the other side opens. One whose header is no `T` is refused, and the next awaited:
    /// a later version may know headers that this one does not.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn accept<T: DeserializeOwned>(&self) -> Result<(T, Stream), StreamError> {
        loop {
            let (id, header) = self.shared.until(Table::accept).await?;
            let mut stream = Stream::new(self.shared.clone(), id);
            match super::decode(&header) {
                Ok(header) => return Ok((header, stream)),
                Err(_) => stream.leave(Why::Header),
            }
        }
    }

    /// Why the connection is over, if it is.
    pub fn ended(&self) -> Option<Arc<str>> {
        self.shared
            .with(|table| table.ended().map(|end| end.reason.clone()))
    }

    /// Whether a stream is open.
    pub fn is_used(&self) -> bool {
        self.shared.with(|table| table.has_streams())
    }

    /// Ends the connection and its streams, and tells the other side why.
    pub fn close(&self, reason: &str) {
        self.shared.close(reason, true);
    }

    /// Waits until the connection is over, its last word said or given up, and tells why it ended.
    pub fn closed(&self) -> impl Future<Output = Arc<str>> + Send + 'static {
        let shared = self.shared.clone();
        async move {
            let reason = shared
                .until(|table| table.ended().map(|end| end.reason.clone()))
                .await;
            // Kept for a later call.
            shared.gone.notified().await;
            shared.gone.notify_one();
            reason
        }
    }
}

impl Drop for Mux {
    fn drop(&mut self) {
        self.close("it is not needed any more");
    }
}
