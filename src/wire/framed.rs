//! The two halves of a framed connection, both safe to cancel.

use bytes::{Buf, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{HEADER, STEP, WireError, body_size, decode, encode, ended};

/// A buffer larger than this is given back when it is empty, so that one large frame does not stay
/// in memory for the life of a connection.
const KEEP: usize = 1 << 20;

/// Bytes asked of the stream at least: enough for many small frames in one read, small enough for
/// thousands of idle connections.
const READ_AHEAD: usize = 8 << 10;

/// Reads frames. Bytes of a frame that has not fully arrived stay in the reader, so a dropped
/// `read` loses nothing.
#[derive(Debug)]
pub struct FramedReader<R> {
    inner: R,
    buffer: BytesMut,
    limit: usize,
}

impl<R: AsyncRead + Unpin> FramedReader<R> {
    /// Reads frames of at most `limit` bytes from `inner`.
    pub fn new(inner: R, limit: usize) -> Self {
        FramedReader {
            inner,
            buffer: BytesMut::new(),
            limit,
        }
    }

    /// Changes the limit for the frames to come, in bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next frame, or `None` where the stream ends between frames.
    ///
    /// # Errors
    /// As [`WireError`] says; the stream is then to be closed.
    pub async fn read<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        loop {
            if let Some(value) = self.buffered()? {
                return Ok(Some(value));
            }
            let missing = self.missing();
            self.buffer.reserve(missing.clamp(READ_AHEAD, STEP));
            if self.inner.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(ended())
                };
            }
        }
    }

    /// A frame that has already arrived, without waiting: lets a receiver take all there is and
    /// act once.
    ///
    /// # Errors
    /// As for [`FramedReader::read`].
    pub fn buffered<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let size = body_size(*header, self.limit)?;
        let Some(body) = self.buffer.get(HEADER..HEADER + size) else {
            return Ok(None);
        };
        let value = decode(body)?;
        self.buffer.advance(HEADER + size);
        if self.buffer.is_empty() {
            recycle(&mut self.buffer);
        }
        Ok(Some(value))
    }

    /// Bytes of memory the reader holds.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// How many bytes the frame at the front still lacks, as far as is known.
    fn missing(&self) -> usize {
        match self.buffer.first_chunk::<HEADER>() {
            Some(header) => (HEADER + u32::from_be_bytes(*header) as usize).saturating_sub(self.buffer.len()),
            None => HEADER,
        }
    }
}

/// Writes frames, several to a flush where the caller wants it. What was encoded and not yet
/// written stays in the writer, so a dropped `flush` may be called again.
#[derive(Debug)]
pub struct FramedWriter<W> {
    inner: W,
    buffer: BytesMut,
    limit: usize,
}

impl<W: AsyncWrite + Unpin> FramedWriter<W> {
    /// Writes frames of at most `limit` bytes to `inner`.
    pub fn new(inner: W, limit: usize) -> Self {
        FramedWriter {
            inner,
            buffer: BytesMut::new(),
            limit,
        }
    }

    /// Changes the limit for the frames to come, in bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Encodes a frame and keeps it until the next flush. Callers bound the batch by
    /// [`FramedWriter::pending`].
    ///
    /// # Errors
    /// `TooLarge` or `Encode`; the connection is still good.
    pub fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), WireError> {
        encode(value, &mut self.buffer, self.limit)
    }

    /// Bytes encoded and not yet written.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Writes all that was pushed, in as few writes as the stream takes.
    ///
    /// # Errors
    /// `Io`; the stream is then to be closed.
    pub async fn flush(&mut self) -> Result<(), WireError> {
        while !self.buffer.is_empty() {
            if self.inner.write_buf(&mut self.buffer).await? == 0 {
                return Err(WireError::Io(std::io::ErrorKind::WriteZero.into()));
            }
        }
        recycle(&mut self.buffer);
        self.inner.flush().await?;
        Ok(())
    }

    /// Pushes one frame and flushes.
    ///
    /// # Errors
    /// As for [`FramedWriter::push`] and [`FramedWriter::flush`].
    pub async fn send<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), WireError> {
        self.push(value)?;
        self.flush().await
    }

    /// Writes what is pending and ends the stream in this direction, so that the other side reads
    /// an end between frames.
    ///
    /// # Errors
    /// `Io`.
    pub async fn close(&mut self) -> Result<(), WireError> {
        self.flush().await?;
        self.inner.shutdown().await?;
        Ok(())
    }
}

/// Empties a buffer: for the next frames if it is small, back to the allocator if it is not.
fn recycle(buffer: &mut BytesMut) {
    if buffer.capacity() > KEEP {
        *buffer = BytesMut::new();
    } else {
        buffer.clear();
    }
}
