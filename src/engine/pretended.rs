//! An engine for tests, which answers as it is told to and notes what it was asked.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::Endpoint;

/// What a question begins with, such as `GET /containers/ab12/json`, and its answer. A switch of protocols
/// (101) ends at once, as the output of a program that says nothing.
pub(crate) type Answer = (&'static str, u16, &'static str);

/// What stands in no list of answers.
const OTHERWISE: [Answer; 2] = [
    ("GET /version", 200, r#"{"ApiVersion":"1.47"}"#),
    ("", 404, r#"{"message":"there is no such thing"}"#),
];

pub(crate) struct Pretended {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Pretended {
    pub(crate) async fn new(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let answers = [answers, &OTHERWISE].concat();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let noted = asked.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let Some(question) = question(&mut stream).await else {
                    continue;
                };
                let fits = |answer: &&Answer| question.starts_with(answer.0);
                let (_, status, body) = answers.iter().find(fits).unwrap();
                noted.lock().unwrap().push(question);
                let more = match status {
                    101 => "connection: upgrade\r\nupgrade: tcp\r\n".to_owned(),
                    _ => format!("connection: close\r\ncontent-length: {}\r\n", body.len()),
                };
                let answer = format!("HTTP/1.1 {status} So\r\n{more}\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self {
            url,
            asked,
            _serving: serving,
        }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint {
            url: self.url.parse().unwrap(),
            certificates: "/nowhere".into(),
        }
    }

    /// Methods and paths, without the API's version.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Reads a request whole.
async fn question(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let first = line(stream).await?;
    let (mut length, mut chunked) = (0, false);
    loop {
        let header = line(stream).await?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(told) = header.strip_prefix("content-length:") {
            length = told.trim().parse().ok()?;
        }
        chunked |= header.starts_with("transfer-encoding:");
    }
    skip(stream, length).await?;
    while chunked {
        let length = usize::from_str_radix(&line(stream).await?, 16).ok()?;
        skip(stream, length).await?;
        line(stream).await?;
        chunked = length > 0;
    }
    let mut words = first.split_whitespace();
    let (method, target) = (words.next()?, words.next()?);
    let version = target.strip_prefix("/v1.").and_then(|rest| rest.find('/'));
    let path = version.map_or(target, |digits| &target["/v1.".len() + digits..]);
    Some(format!("{method} {path}"))
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim().to_owned())
}

async fn skip(stream: &mut BufReader<TcpStream>, length: usize) -> Option<()> {
    let mut content = vec![0; length];
    stream.read_exact(&mut content).await.ok()?;
    Some(())
}
