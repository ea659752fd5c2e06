//! The bytes and frames of all sessions together, as they are on the wire: inside TCP, with TLS.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What only grows, over all sessions.
#[derive(Debug, Default)]
pub struct Meter {
    sent: AtomicU64,
    received: AtomicU64,
    heartbeats: AtomicU64,
    acknowledged: AtomicU64,
}

/// A meter's figures at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// Bytes that runners sent and received.
    pub sent: u64,
    pub received: u64,
    /// Heartbeats that were sent, and those of them that were acknowledged.
    pub heartbeats: u64,
    pub acknowledged: u64,
}

impl Meter {
    pub fn read(&self) -> Reading {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Reading {
            sent: of(&self.sent),
            received: of(&self.received),
            heartbeats: of(&self.heartbeats),
            acknowledged: of(&self.acknowledged),
        }
    }

    /// A heartbeat was sent.
    pub fn heartbeat(&self) {
        self.heartbeats.fetch_add(1, Ordering::Relaxed);
    }

    /// So many heartbeats were acknowledged.
    pub fn acknowledged(&self, count: usize) {
        self.acknowledged.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl Reading {
    /// What came since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            received: self.received - earlier.received,
            heartbeats: self.heartbeats - earlier.heartbeats,
            acknowledged: self.acknowledged - earlier.acknowledged,
        }
    }
}

/// A stream whose bytes are counted.
#[derive(Debug)]
pub struct Metered<S> {
    inner: S,
    meter: Arc<Meter>,
}

impl<S> Metered<S> {
    pub fn new(inner: S, meter: Arc<Meter>) -> Self {
        Self { inner, meter }
    }

    fn sent(&self, bytes: usize) -> usize {
        self.meter.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        bytes
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let read = (buf.filled().len() - before) as u64;
        self.meter.received.fetch_add(read, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        Poll::Ready(Ok(self.sent(written)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        Poll::Ready(Ok(self.sent(written)))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn bytes_of_both_directions_are_counted() {
        let meter = Arc::new(Meter::default());
        let (near, mut far) = duplex(64);
        let mut near = Metered::new(near, meter.clone());
        near.write_all(b"four").await.unwrap();
        far.write_all(b"eleven more").await.unwrap();
        near.read_exact(&mut [0; 11]).await.unwrap();
        let before = meter.read();
        assert_eq!((before.sent, before.received), (4, 11));
        near.write_all(b"x").await.unwrap();
        assert_eq!(meter.read().since(before).sent, 1);
    }
}
