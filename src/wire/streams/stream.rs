//! One stream, as its user holds it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{Shared, flow::Flow, frame::Why};

/// A two-way stream of bytes with credit.
///
/// `shutdown` ends this direction and waits until what was written before has been sent; the other direction
/// goes on. Dropped before both ends came, it is cut: the other end reads or writes an error.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    id: u32,
}

impl Stream {
    pub(super) fn new(shared: Arc<Shared>, id: u32) -> Self {
        Self { shared, id }
    }

    /// Gives it up, and tells the other end why.
    pub(super) fn leave(&mut self, why: Why) {
        self.shared
            .with(|table| table.leave(self.id, why, Instant::now()));
        self.shared.send.notify_one();
    }

    /// Acts on the stream, or lets it `wait` with the caller's waker.
    fn poll<T>(
        &self,
        cx: &Context<'_>,
        act: impl FnOnce(&mut Flow) -> Option<io::Result<T>>,
        wait: impl FnOnce(&mut Flow, &std::task::Waker),
    ) -> Poll<io::Result<T>> {
        let (done, has_news) = self.shared.with(|table| {
            let over = table.ended().map(|end| end.reason.clone());
            let done = table.with(self.id, Instant::now(), |flow| match (act(flow), over) {
                (Some(done), _) => Some(done),
                (None, Some(reason)) => Some(Err(closed(&reason))),
                (None, None) => {
                    wait(flow, cx.waker());
                    None
                }
            });
            (done, table.has_news())
        });
        if has_news {
            self.shared.send.notify_one();
        }
        match done {
            Some(done) => Poll::Ready(done),
            None => Poll::Pending,
        }
    }

    fn over(&self) -> Option<io::Error> {
        self.shared
            .with(|table| table.ended().map(|end| closed(&end.reason)))
    }
}

fn closed(reason: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        format!("the connection for streams is closed: {reason}"),
    )
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let read = |flow: &mut Flow| flow.read(buf.initialize_unfilled());
        let done = self.poll(cx, read, Flow::wait_to_read);
        done.map_ok(|size| buf.advance(size))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(over) = self.over() {
            return Poll::Ready(Err(over));
        }
        self.poll(cx, |flow| flow.write(from), Flow::wait_to_write)
    }

    /// What was written is sent as soon as there is credit, without being asked to.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, Flow::shutdown, Flow::wait_to_write)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.leave(Why::Dropped);
    }
}
