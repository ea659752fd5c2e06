//! What every kind of frame has to stand, whatever bytes arrive.

use bytes::BytesMut;
use futures::FutureExt;
use serde::{Serialize, de::DeserializeOwned};

use super::{FramedReader, HEADER, decode, encode};

/// Reads frames until they end or one is refused. What was understood can be said again and is understood
/// the same way; `each` is given it.
///
/// # Panics
/// When that is not so.
pub fn frames<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: usize, mut each: impl FnMut(T)) {
    let mut reader = FramedReader::new(bytes, limit);
    // A slice never makes a reader wait.
    while let Some(Ok(Some(value))) = reader.read::<T>().now_or_never() {
        let once = frame(&value);
        let again: T = decode(&once[HEADER..]).expect("what was written is read");
        assert_eq!(frame(&again), once);
        each(value);
    }
}

/// One frame with a value.
///
/// # Panics
/// When the value has no form on the wire.
pub fn frame<T: Serialize>(value: &T) -> BytesMut {
    let mut out = BytesMut::new();
    encode(value, &mut out, u32::MAX as usize).expect("a value of the protocol encodes");
    out
}
