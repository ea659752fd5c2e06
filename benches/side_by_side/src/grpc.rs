//! Unary gRPC calls over one HTTP/2 connection that many clients share: the five-byte frame, `grpc-status`, no more.
//!
//! Written on the same hyper as the other half, so that neither system pays for a heavier client than the other.

use anyhow::{Context, Result, bail};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use hyper::{Method, Request, Response, StatusCode, Uri};
use prost::Message;

use crate::connect::{Endpoint, Http2};

/// Bytes before each message: one that says "not compressed", four of length.
const FRAME_HEAD: usize = 5;

/// One HTTP/2 connection; clones share it.
#[derive(Clone)]
pub struct Channel {
    sender: Http2,
}

impl Channel {
    /// Opens a connection to `endpoint`.
    ///
    /// # Errors
    /// The connection, its TLS or the HTTP/2 handshake fails.
    pub async fn open(endpoint: &Endpoint) -> Result<Self> {
        Ok(Self {
            sender: endpoint.open_http2().await?,
        })
    }

    /// Whether calls can no longer be made.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Calls `method` (the whole URI) and waits for its answer.
    ///
    /// # Errors
    /// The connection fails, the server refuses, or the answer is no message of type `A`.
    pub async fn unary<Q: Message, A: Message + Default>(&mut self, method: &Uri, question: &Q) -> Result<A> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(method.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .header(TE, HeaderValue::from_static("trailers"))
            .body(Full::new(frame(question)))
            .context("a gRPC request cannot be built")?;
        self.sender.ready().await.context("the connection is closed")?;
        let response = self
            .sender
            .send_request(request)
            .await
            .context("a gRPC call failed")?;
        unframe(response).await
    }
}

fn frame<Q: Message>(question: &Q) -> Bytes {
    let length = question.encoded_len();
    let mut framed = BytesMut::with_capacity(FRAME_HEAD + length);
    framed.put_u8(0);
    framed.put_u32(length as u32);
    question.encode_raw(&mut framed);
    framed.freeze()
}

async fn unframe<A: Message + Default>(response: Response<hyper::body::Incoming>) -> Result<A> {
    if response.status() != StatusCode::OK {
        bail!("a gRPC call was answered {}", response.status());
    }
    // A call that fails at once has its status among the headers, and no body.
    let early = is_accepted(response.headers())?;
    let body = response
        .into_body()
        .collect()
        .await
        .context("a gRPC answer broke off")?;
    let late = body.trailers().map(is_accepted).transpose()?;
    if !early && late != Some(true) {
        bail!("a gRPC answer broke off before its status");
    }
    let mut framed = body.to_bytes();
    if framed.len() < FRAME_HEAD || framed[0] != 0 {
        bail!("a gRPC answer without a message");
    }
    let message = framed.split_off(FRAME_HEAD);
    A::decode(message).context("a gRPC answer of another shape")
}

/// Whether these headers say that the call succeeded; false when they do not say.
fn is_accepted(headers: &HeaderMap) -> Result<bool> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    match text("grpc-status") {
        None => Ok(false),
        Some("0") => Ok(true),
        Some(code) => bail!(
            "gRPC status {code}: {}",
            text("grpc-message").unwrap_or("no message")
        ),
    }
}
