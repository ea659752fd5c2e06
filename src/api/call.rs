//! One request on its way through a handler: admitted first, then taken apart piece by piece.
//!
//! Handlers take the whole request, so that nothing of it is copied, the body is read only after
//! the caller was let in, and each refusal is a problem of ours.

use std::{net::IpAddr, str::FromStr};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{
    App, Limits,
    auth::Caller,
    body,
    headers::{IDEMPOTENCY_KEY, QUORATE_REVISION},
    params::Params,
    problem::{Code, Problem},
};
use crate::{
    command::{Principal, RequestKey},
    model::Revision,
    security::Action,
};

/// The longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 128;

/// A request whose caller may make it.
#[derive(Debug)]
pub struct Call {
    /// Who makes it.
    pub caller: Caller,
    /// Method, address and headers.
    pub parts: Parts,
    body: Body,
    limits: Limits,
}

/// Where a request came from: an extension of it that the server adds.
#[derive(Debug, Clone, Copy)]
pub struct From(pub IpAddr);

/// Who asks for a change, and the key that makes it have one effect.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Who, and from where.
    pub by: Principal,
    /// The idempotency key, if there is one.
    pub key: Option<RequestKey>,
}

impl App {
    /// Lets a request in, if its token allows `action`.
    ///
    /// # Errors
    /// As [`App::authorize`].
    pub async fn admit(&self, request: Request, action: Action) -> Result<Call, Problem> {
        let (parts, body) = request.into_parts();
        let caller = self.authorize(&parts.headers, action).await?;
        Ok(Call {
            caller,
            parts,
            body,
            limits: *self.limits(),
        })
    }
}

impl Call {
    /// A call without a body, by somebody.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn of(parts: Parts) -> Self {
        Self {
            caller: Caller {
                token: crate::model::TokenId(7),
                name: "ops".parse().expect("a name"),
            },
            parts,
            body: Body::empty(),
            limits: Limits::default(),
        }
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The name or id in the path: the piece that follows `prefix`.
    ///
    /// # Errors
    /// `invalid_name` with the type's own words.
    pub fn name_in<T>(&self, prefix: &str) -> Result<T, Problem>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        let rest = self.parts.uri.path().strip_prefix(prefix).unwrap_or_default();
        let piece = rest.split('/').next().unwrap_or_default();
        let parsed = if piece.contains('%') {
            plain(piece)?.parse()
        } else {
            piece.parse()
        };
        parsed.map_err(|error| Problem::new(Code::InvalidName, format!("{error}")))
    }

    /// The query parameters, of which only `known` ones may be given.
    ///
    /// # Errors
    /// `invalid_parameter`.
    pub fn params(&self, known: &[&str]) -> Result<Params, Problem> {
        Params::of(&self.parts.uri, known)
    }

    /// The whole body, of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`body::read`].
    pub async fn bytes(&mut self, limit: usize) -> Result<Bytes, Problem> {
        let limit = limit.min(self.limits.body);
        let body = std::mem::take(&mut self.body);
        body::read(&self.parts.headers, body, limit, self.limits.request).await
    }

    /// The body as JSON, with its bytes for the fingerprint.
    ///
    /// # Errors
    /// As [`body::expect_json`], [`body::read`] and [`body::parse`].
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<(T, Bytes), Problem> {
        body::expect_json(&self.parts.headers)?;
        let bytes = self.bytes(self.limits.body).await?;
        Ok((body::parse(&bytes)?, bytes))
    }

    /// As [`Self::json`]; no body stands for the default.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub async fn json_or_default<T: DeserializeOwned + Default>(&mut self) -> Result<(T, Bytes), Problem> {
        let bytes = self.bytes(self.limits.body).await?;
        if bytes.is_empty() {
            return Ok((T::default(), bytes));
        }
        body::expect_json(&self.parts.headers)?;
        Ok((body::parse(&bytes)?, bytes))
    }

    /// For changes that are no commands of the log: a key could not keep what it promises there.
    ///
    /// # Errors
    /// `invalid_idempotency_key` when there is one.
    pub fn no_key(&self) -> Result<(), Problem> {
        self.no_key_for(
            "changes of the managers themselves are not in the log, which is what remembers keys: leave \
             `Idempotency-Key` out, and look at `GET /api/v1/cluster/managers` before you try again",
        )
    }

    /// As [`Self::no_key`], in other words.
    ///
    /// # Errors
    /// `invalid_idempotency_key` when there is one.
    pub fn no_key_for(&self, why: &str) -> Result<(), Problem> {
        if self.parts.headers.contains_key(IDEMPOTENCY_KEY) {
            return Err(Problem::new(Code::InvalidIdempotencyKey, why));
        }
        Ok(())
    }

    /// Who asks for a change, and the request's key.
    ///
    /// # Errors
    /// As [`key`](Self::key).
    pub fn origin(&self, body: &[u8]) -> Result<Origin, Problem> {
        let Caller { token, name } = self.caller.clone();
        let from = self.parts.extensions.get::<From>().map(|From(address)| *address);
        let by = Principal::Token {
            id: token,
            name,
            from,
        };
        let key = self.key(body)?;
        Ok(Origin { by, key })
    }

    /// The idempotency key, bound to the caller and to what is asked for.
    ///
    /// # Errors
    /// `invalid_idempotency_key`.
    pub fn key(&self, body: &[u8]) -> Result<Option<RequestKey>, Problem> {
        let mut given = self.parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(key) = given.next() else {
            return Ok(None);
        };
        let visible = key.as_bytes().iter().all(u8::is_ascii_graphic);
        if key.is_empty() || key.len() > MAX_KEY_BYTES || !visible || given.next().is_some() {
            return Err(Problem::new(
                Code::InvalidIdempotencyKey,
                format!("`Idempotency-Key` is 1 to {MAX_KEY_BYTES} visible ASCII characters, once"),
            ));
        }
        // All bytes are visible ASCII.
        let key = String::from_utf8_lossy(key.as_bytes()).into_owned();
        Ok(Some(RequestKey {
            principal: self.caller.token,
            key,
            fingerprint: fingerprint(&self.parts, body),
        }))
    }
}

/// A piece of a path without its percent-encoding (RFC 3986, section 2.1).
fn plain(piece: &str) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(piece.len());
    let mut rest = piece.as_bytes().iter();
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    while let Some(byte) = rest.next() {
        let decoded = if *byte == b'%' {
            digit(rest.next())
                .zip(digit(rest.next()))
                .map(|(high, low)| high * 16 + low)
        } else {
            Some(u32::from(*byte))
        };
        bytes.extend(decoded.and_then(|decoded| u8::try_from(decoded).ok()));
        if decoded.is_none() {
            return Err(Problem::new(
                Code::InvalidName,
                "a `%` in the path has no two digits after it",
            ));
        }
    }
    String::from_utf8(bytes).map_err(|_| Problem::new(Code::InvalidName, "the path is not valid UTF-8"))
}

/// What a request asks for, in 8 bytes: the same key with another fingerprint is refused.
fn fingerprint(parts: &Parts, body: &[u8]) -> u64 {
    let mut hash = Sha256::new();
    let mut add = |piece: &[u8]| {
        hash.update((piece.len() as u64).to_be_bytes());
        hash.update(piece);
    };
    add(parts.method.as_str().as_bytes());
    add(parts.uri.path().as_bytes());
    add(parts.uri.query().unwrap_or_default().as_bytes());
    for name in [header::CONTENT_TYPE, header::IF_MATCH, header::IF_NONE_MATCH] {
        for value in parts.headers.get_all(&name) {
            add(name.as_str().as_bytes());
            add(value.as_bytes());
        }
    }
    add(body);
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

/// A JSON answer that shows `revision`.
pub fn json<T: Serialize>(status: StatusCode, revision: Revision, value: &T) -> Response {
    let bytes = match serde_json::to_vec(value) {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            return axum::response::IntoResponse::into_response(Problem::new(
                Code::Internal,
                "the answer could not be written",
            ));
        }
    };
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(QUORATE_REVISION, revision.into());
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TokenId;

    fn call(method: &str, uri: &str, headers: &[(&str, &str)]) -> Call {
        let mut builder = axum::http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        Call::of(parts)
    }

    #[test]
    fn a_change_says_who_asks_for_it_and_from_where() {
        let mut call = call("PUT", "/a", &[]);
        let by = |call: &Call| call.origin(b"").unwrap().by;
        let token = |from| Principal::Token {
            id: TokenId(7),
            name: "ops".parse().unwrap(),
            from,
        };
        assert_eq!(by(&call), token(None));
        let from = IpAddr::from([10, 0, 0, 7]);
        call.parts.extensions.insert(From(from));
        assert_eq!(by(&call), token(Some(from)));
    }

    #[test]
    fn keys_are_bound_to_caller_and_content() {
        let key = |method, uri, extra: &[(&str, &str)], body: &[u8]| {
            let mut headers = vec![("idempotency-key", "k1")];
            headers.extend_from_slice(extra);
            call(method, uri, &headers).key(body).unwrap().unwrap()
        };
        let first = key("PUT", "/a", &[], b"x");
        assert_eq!(first, key("PUT", "/a", &[("user-agent", "other")], b"x"));
        assert_eq!((first.principal, first.key.as_str()), (TokenId(7), "k1"));
        for other in [
            key("POST", "/a", &[], b"x"),
            key("PUT", "/b", &[], b"x"),
            key("PUT", "/a?x=1", &[], b"x"),
            key("PUT", "/a", &[("if-match", "\"1\"")], b"x"),
            key("PUT", "/a", &[("content-type", "text/plain")], b"x"),
            key("PUT", "/a", &[], b"y"),
        ] {
            assert_ne!(first.fingerprint, other.fingerprint);
        }
    }

    #[test]
    fn names_are_taken_out_of_the_path() {
        let name = |uri: &str| {
            let name = call("GET", uri, &[]).name_in::<crate::model::Name>("/api/v1/agents/");
            name.map(|name| name.to_string())
                .map_err(|problem| problem.code())
        };
        for good in [
            "/api/v1/agents/web-1",
            "/api/v1/agents/web-1/start?x=1",
            "/api/v1/agents/web%2d1",
            "/api/v1/agents/%77eb%2D1/stop",
        ] {
            assert_eq!(name(good).unwrap(), "web-1", "{good}");
        }
        for bad in ["", "%", "%2", "%zz", "%+1", "%ff", "..%2Fx", "%00", "A"] {
            assert_eq!(
                name(&format!("/api/v1/agents/{bad}")),
                Err(Code::InvalidName),
                "{bad}"
            );
        }
    }

    #[test]
    fn bad_keys_are_refused_and_none_is_none() {
        let long = "k".repeat(MAX_KEY_BYTES + 1);
        for bad in ["", "a b", "\u{e9}", long.as_str()] {
            let call = call("PUT", "/a", &[("idempotency-key", bad)]);
            assert_eq!(
                call.key(b"").unwrap_err().code(),
                Code::InvalidIdempotencyKey,
                "{bad:?}"
            );
        }
        let twice = call("PUT", "/a", &[("idempotency-key", "a"), ("idempotency-key", "b")]);
        assert!(twice.key(b"").is_err());
        assert!(call("PUT", "/a", &[]).key(b"").unwrap().is_none());
    }
}
