//! Request bodies: bounded in size and time, and JSON with errors that point at the place.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{
    problem::{Code, Problem},
    types::unknown_field,
};

fn too_large(limit: usize) -> Problem {
    Problem::new(
        Code::TooLarge,
        format!("the body is larger than {limit} bytes: send less"),
    )
    .with("limit", limit)
}

/// Of a body that is too large, so much more is read and thrown away: a client that is still sending
/// when its connection is closed would see a broken connection, and not the answer.
const THROW_AWAY_BYTES: usize = 4 << 20;

/// How long that may take.
const THROW_AWAY: Duration = Duration::from_secs(1);

/// Reads a body of at most `limit` bytes, all of which arrive `within` this time; a larger one is
/// refused before it is read whole.
///
/// # Errors
/// `too_large`, `body_timeout`, or `invalid_request` when it breaks off.
pub async fn read(headers: &HeaderMap, body: Body, limit: usize, within: Duration) -> Result<Bytes, Problem> {
    let told = headers.get(header::CONTENT_LENGTH).and_then(|l| l.to_str().ok());
    let told = told.and_then(|l| l.parse::<u64>().ok());
    let mut chunks = body.into_data_stream();
    let result = if told.is_some_and(|told| told > limit as u64) {
        Err(too_large(limit))
    } else {
        timeout(within, collect(&mut chunks, limit))
            .await
            .map_err(|_| Problem::new(Code::BodyTimeout, "the body stopped arriving: send it again"))?
    };
    // Who asks first sends nothing more when told no.
    if result.as_ref().is_err_and(|problem| problem.is(Code::TooLarge))
        && !headers.contains_key(header::EXPECT)
    {
        // Late or broken, the answer is the same.
        let _ = timeout(THROW_AWAY, throw_away(&mut chunks)).await;
    }
    result
}

async fn throw_away(chunks: &mut BodyDataStream) {
    let mut left = THROW_AWAY_BYTES;
    while let Some(Ok(chunk)) = chunks.next().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

async fn collect(chunks: &mut BodyDataStream, limit: usize) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Problem::new(Code::InvalidRequest, "the body broke off"))?;
        if first.len() + all.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        // A body usually is one chunk, which is then taken as it is.
        if first.is_empty() && all.is_empty() {
            first = chunk;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&chunk);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Whether the body is said to be JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|t| t.to_str().ok());
    let essence = given
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Checks the content type of a JSON body, so that a wrong one is refused before the body is read.
///
/// # Errors
/// `unsupported_media_type`.
pub fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    if is_json(headers) {
        return Ok(());
    }
    Err(Problem::new(
        Code::UnsupportedMediaType,
        "this call takes JSON: send it with `Content-Type: application/json`",
    ))
}

/// Reads a value out of JSON.
///
/// # Errors
/// `malformed_json`, `unknown_field` (with the nearest known one) or `invalid_field`, with the line and column.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(json).map_err(|error| {
        let message = error.to_string();
        let (code, detail) = match (error.classify(), unknown_field(&message)) {
            (serde_json::error::Category::Data, Some((_, Some(near)))) => {
                (Code::UnknownField, format!("{message}; did you mean `{near}`?"))
            }
            (serde_json::error::Category::Data, Some((_, None))) => (Code::UnknownField, message),
            (serde_json::error::Category::Data, None) => (Code::InvalidField, message),
            _ => (Code::MalformedJson, message),
        };
        Problem::new(code, detail)
            .with("line", error.line())
            .with("column", error.column())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AgentSpec;

    #[test]
    fn json_errors_point_at_the_place() {
        let code = |json: &str| parse::<AgentSpec>(json.as_bytes()).unwrap_err().code();
        assert_eq!(code("{"), Code::MalformedJson);
        assert_eq!(code(""), Code::MalformedJson);
        assert_eq!(code(r#"{"name":"a","comand":"x"}"#), Code::UnknownField);
        assert_eq!(code(r#"{"name":"A","command":"x"}"#), Code::InvalidField);
        assert_eq!(code(r#"{"name":"a"}"#), Code::InvalidField);
        assert_eq!(code(r#"{"name":"a","command":"x"} x"#), Code::MalformedJson);
        assert!(parse::<AgentSpec>(br#"{"name":"a","command":"x"}"#).is_ok());
    }

    #[test]
    fn only_json_is_json() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(expect_json(&headers).is_ok(), expected, "{value}");
        }
        assert!(expect_json(&HeaderMap::new()).is_err());
    }

    #[tokio::test]
    async fn bodies_over_the_limit_are_refused_without_reading_them_whole() {
        use std::sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        };
        let within = Duration::from_secs(60);
        let read_chunks = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&read_chunks);
        let endless = futures::stream::repeat_with(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1024]))
        });
        let error = read(&HeaderMap::new(), Body::from_stream(endless), 10 * 1024, within)
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::TooLarge);
        assert_eq!(
            read_chunks.load(Ordering::Relaxed),
            11 + THROW_AWAY_BYTES / 1024 + 1
        );

        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 20.into());
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(
            read(&headers, never, 10, within).await.unwrap_err().code(),
            Code::TooLarge
        );
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let late = read(&HeaderMap::new(), never, 10, Duration::from_millis(1)).await;
        assert_eq!(late.unwrap_err().code(), Code::BodyTimeout);
        let parts = futures::stream::iter(["ab", "", "cd"].map(|p| Ok::<_, std::io::Error>(Bytes::from(p))));
        assert_eq!(
            read(&HeaderMap::new(), Body::from_stream(parts), 4, within)
                .await
                .unwrap(),
            "abcd"
        );
    }
}
