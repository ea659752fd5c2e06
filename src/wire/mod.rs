//! Length-delimited postcard frames over any byte stream.
//!
//! A frame is a big-endian `u32`, the number of bytes that follow, and then one value in postcard
//! form. Nothing here knows what is sent, or over what: peers and sessions both stand on it. [`streams`]
//! puts many flows of bytes over one connection.
//!
//! What holds:
//!
//! - A reader never buffers more for a frame than its limit, and never more than has arrived plus
//!   a small step: a length alone makes nobody allocate.
//! - A frame holds exactly one value. Bytes left over are garbage, as are bytes that do not decode.
//! - The end of the stream between two frames is an end (`None`); inside a frame it is an error.
//! - After an error the stream is out of step and must be closed.
//!
//! It leaves out: versions, requests and answers, time-outs, encryption.

mod framed;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod streams;
#[cfg(test)]
mod tests;

use bytes::{BufMut, BytesMut};
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub use framed::{FramedReader, FramedWriter};

/// Bytes of the length in front of every frame.
pub const HEADER: usize = size_of::<u32>();

/// How far a buffer grows ahead of the bytes that have really arrived.
const STEP: usize = 64 << 10;

/// Why a frame could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The frame is longer than this side allows. When writing, nothing was sent.
    #[error("a frame of {size} bytes is over the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    /// The bytes of a frame are not the value that was expected.
    #[error("a frame does not decode")]
    Garbage(#[source] postcard::Error),
    /// A value decoded, and bytes of its frame were left over.
    #[error("a frame has {0} bytes too many")]
    Trailing(usize),
    /// A value has no postcard form. Nothing was sent.
    #[error("a value does not encode")]
    Encode(#[source] postcard::Error),
    /// The stream failed, or ended inside a frame (`UnexpectedEof`).
    #[error("the stream failed")]
    Io(#[from] std::io::Error),
}

impl WireError {
    /// Whether the other side sent something that no correct peer sends. Such a connection is
    /// worth one log line; a stream that merely broke is not.
    pub fn is_violation(&self) -> bool {
        matches!(
            self,
            WireError::TooLarge { .. } | WireError::Garbage(_) | WireError::Trailing(_)
        )
    }
}

/// Appends one frame holding `value` to `out`.
///
/// # Errors
/// `Encode` when the value has no postcard form, `TooLarge` when it needs more than `limit` bytes;
/// `out` is then as it was.
pub fn encode<T: Serialize + ?Sized>(value: &T, out: &mut BytesMut, limit: usize) -> Result<(), WireError> {
    let start = out.len();
    out.put_u32(0);
    let result = postcard::serialize_with_flavor(value, Append(out)).map_err(WireError::Encode);
    let size = out.len() - start - HEADER;
    let limit = limit.min(u32::MAX as usize);
    let result = match result {
        Ok(()) if size > limit => Err(WireError::TooLarge { size, limit }),
        other => other,
    };
    match result {
        // The cast is exact: `size` is at most `limit`, which is at most `u32::MAX`.
        Ok(()) => out[start..start + HEADER].copy_from_slice(&(size as u32).to_be_bytes()),
        Err(_) => out.truncate(start),
    }
    result
}

/// Decodes the body of one frame.
///
/// # Errors
/// `Garbage` or `Trailing` when `body` is not exactly one `T`.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(WireError::Trailing(rest.len())),
        Err(error) => Err(WireError::Garbage(error)),
    }
}

/// Reads one frame of at most `limit` bytes and not a byte beyond it, or `None` where the stream
/// ends between frames. For hand-shakes; not safe to cancel. Use [`FramedReader`] for more.
///
/// # Errors
/// As [`WireError`] says.
pub async fn read_frame<T, R>(reader: &mut R, limit: usize) -> Result<Option<T>, WireError>
where
    T: DeserializeOwned,
    R: AsyncRead + Unpin + ?Sized,
{
    let mut header = [0; HEADER];
    // One read tells an end between frames from one inside a header.
    let first = reader.read(&mut header).await?;
    if first == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut header[first..]).await?;
    let size = body_size(header, limit)?;

    let mut body = BytesMut::new();
    while body.len() < size {
        let missing = size - body.len();
        body.reserve(missing.min(STEP));
        if reader.read_buf(&mut (&mut body).limit(missing)).await? == 0 {
            return Err(ended());
        }
    }
    decode(&body).map(Some)
}

/// Writes one frame of at most `limit` bytes and flushes. Not safe to cancel; use
/// [`FramedWriter`] for more than a hand-shake.
///
/// # Errors
/// As [`WireError`] says.
pub async fn write_frame<T, W>(writer: &mut W, value: &T, limit: usize) -> Result<(), WireError>
where
    T: Serialize + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    let mut frame = BytesMut::new();
    encode(value, &mut frame, limit)?;
    writer.write_all(&frame).await?;
    writer.flush().await?;
    Ok(())
}

/// The size a header announces, if it is allowed.
fn body_size(header: [u8; HEADER], limit: usize) -> Result<usize, WireError> {
    let size = u32::from_be_bytes(header) as usize;
    if size > limit {
        Err(WireError::TooLarge { size, limit })
    } else {
        Ok(size)
    }
}

/// The stream ended inside a frame.
fn ended() -> WireError {
    WireError::Io(std::io::ErrorKind::UnexpectedEof.into())
}

/// Lets postcard append to a buffer that already holds other frames.
struct Append<'a>(&'a mut BytesMut);

impl Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.put_u8(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
