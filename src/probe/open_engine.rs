//! Whether a Docker Engine answers without TLS: whoever reaches that port owns the machine.
//!
//! It is asked for its version, once, and nothing else is ever done with it.

use std::{io, net::SocketAddr};

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    TALK,
    connect::{Unconnected, connect},
};

/// HTTP/1.0, so that the answer ends with the connection and comes in one piece; not everybody closes it.
const QUESTION: &[u8] = b"GET /version HTTP/1.0\r\nHost: docker\r\nUser-Agent: quorate-scan\r\n\r\n";

/// Of the answer so much is read. An engine's is about a kilobyte.
const ANSWER_BYTES: usize = 16 << 10;

/// So often it is looked whether the answer is whole already: who sends it byte by byte is waited out.
const LOOKS: usize = 32;

/// Of the version so much is kept.
const VERSION_CHARS: usize = 64;

/// What only an engine says, and all of it.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Version")]
    version: String,
    #[serde(rename = "ApiVersion")]
    _api: String,
}

/// The version of the engine at a place, if there is an open one.
///
/// # Errors
/// When this machine could not ask.
pub(super) async fn version(place: SocketAddr) -> io::Result<Option<String>> {
    let stream = match connect(place).await {
        Ok(stream) => stream,
        Err(Unconnected::Silent | Unconnected::Refused(_)) => return Ok(None),
        Err(Unconnected::Unasked(error)) => return Err(error),
    };
    let mut answer = Vec::with_capacity(2 << 10);
    // What has arrived by then counts, whether or not the other side ended as it should.
    let _ = timeout(TALK, ask(stream, &mut answer)).await;
    Ok(parse(&answer))
}

async fn ask(mut stream: TcpStream, answer: &mut Vec<u8>) -> io::Result<()> {
    stream.write_all(QUESTION).await?;
    let mut stream = stream.take(ANSWER_BYTES as u64);
    let mut looks = 0..LOOKS;
    while stream.read_buf(answer).await? > 0 {
        if looks.next().is_some() && parse(answer).is_some() {
            return Ok(());
        }
    }
    Ok(())
}

pub(super) fn parse(answer: &[u8]) -> Option<String> {
    let end = answer.windows(4).position(|at| at == b"\r\n\r\n")?;
    let (head, body) = (&answer[..end], &answer[end + 4..]);
    let head = std::str::from_utf8(head).ok()?;
    let status = head.lines().next()?.split(' ').nth(1)?;
    if !head.starts_with("HTTP/1.") || status != "200" {
        return None;
    }
    let Answer { version, .. } = serde_json::from_slice(body).ok()?;
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '~' | '_');
    let version: String = version.chars().filter(plain).take(VERSION_CHARS).collect();
    (!version.is_empty()).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_engine_s_answer_is_taken_for_one() {
        let ok = "HTTP/1.0 200 OK\r\nServer: Docker/28.1\r\n\r\n";
        let engine = r#"{"Version":"28.1.1","ApiVersion":"1.49","Os":"linux"}"#;
        assert_eq!(
            parse(format!("{ok}{engine}").as_bytes()).as_deref(),
            Some("28.1.1")
        );
        let hostile = r#"{"Version":"\u001b[2J 1\n<script>","ApiVersion":""}"#;
        assert_eq!(
            parse(format!("{ok}{hostile}").as_bytes()).as_deref(),
            Some("2J1script")
        );
        let long = format!(r#"{ok}{{"Version":"{}","ApiVersion":""}}"#, "9".repeat(5_000));
        assert_eq!(parse(long.as_bytes()).unwrap().len(), VERSION_CHARS);
        for other in [
            String::new(),
            ok.to_owned(),
            format!("{ok}{{}}"),
            format!("{ok}[1]"),
            format!(r#"{ok}{{"Version":"","ApiVersion":""}}"#),
            format!("HTTP/1.0 401 Unauthorized\r\n\r\n{engine}"),
            format!("SSH-2.0 200 x\r\n\r\n{engine}"),
            engine.to_owned(),
        ] {
            assert_eq!(parse(other.as_bytes()), None, "{other}");
        }
        assert_eq!(parse(b"\xff\xfe\r\n\r\n{}"), None);
    }
}
