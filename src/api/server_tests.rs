//! The listener against bare sockets.

use axum::routing::{get, post};
use futures::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

async fn start(limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let lasts = |stream| {
        let mut response = Response::new(stream);
        response.extensions_mut().insert(Lasting);
        response
    };
    let lasting = move || async move {
        // A piece now and then, as the comments of a watch.
        let pieces = stream::unfold((), |()| async {
            sleep(Duration::from_millis(100)).await;
            Some((Ok::<_, Infallible>("piece\n"), ()))
        });
        lasts(Body::from_stream(pieces))
    };
    let flood = move || async move {
        let pieces = stream::repeat_with(|| Ok::<_, Infallible>(vec![b'x'; 1 << 16]));
        lasts(Body::from_stream(pieces))
    };
    let hanging = async || stream::pending::<()>().collect::<Vec<_>>().await;
    let router = Router::new()
        .route("/", get(async || "hello"))
        .route("/body", post(async |body: String| body))
        .route("/lasting", get(lasting))
        .route("/flood", get(flood))
        .route("/hanging", get(async move || drop(hanging().await)));
    let shutdown = CancellationToken::new();
    let ended = tokio::spawn(serve_router(
        listener,
        Transport::Plain,
        limits,
        None,
        router,
        shutdown.clone(),
    ));
    Running {
        address,
        shutdown,
        ended,
    }
}

/// Sends `bytes` and returns everything that comes until the manager closes.
async fn exchange(running: &Running, bytes: &str) -> String {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let all = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    all.expect("the connection is closed in the end").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

fn short() -> Limits {
    Limits {
        head: Duration::from_millis(100),
        idle: Duration::from_millis(300),
        drain: Duration::from_millis(300),
        ..Limits::default()
    }
}

#[tokio::test]
async fn silence_half_a_head_and_garbage_are_closed() {
    let running = start(short()).await;
    assert_eq!(exchange(&running, "").await, "");
    let half = exchange(&running, "GET / HTTP/1.1\r\nHost: x\r\n").await;
    assert!(!half.contains("hello"), "{half}");
    let garbage = exchange(&running, "\x16\x03\x01 garbage\r\n\r\n").await;
    assert!(garbage.is_empty() || garbage.contains("400"), "{garbage}");
    let whole = exchange(&running, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(whole.ends_with("hello"), "{whole}");
}

#[tokio::test]
async fn a_connection_too_many_waits_for_a_place() {
    let running = start(Limits {
        connections: 1,
        ..Limits::default()
    })
    .await;
    let first = TcpStream::connect(running.address).await.unwrap();
    let mut second = TcpStream::connect(running.address).await.unwrap();
    second
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let early = timeout(Duration::from_millis(200), second.read_to_string(&mut answer)).await;
    assert!(early.is_err(), "the one place is taken: {answer}");
    drop(first);
    second.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn a_lasting_answer_outlives_the_idle_bound_and_ends_with_the_server() {
    let running = start(short()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream
        .write_all(b"GET /lasting HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let ends = timeout(Duration::from_millis(1500), stream.read_to_end(&mut answer)).await;
    assert!(ends.is_err(), "it was cut off after five times the idle bound");
    assert!(String::from_utf8_lossy(&answer).contains("piece"));
    running.shutdown.cancel();
    timeout(Duration::from_secs(20), running.ended)
        .await
        .unwrap()
        .unwrap();
    stream.read_to_end(&mut answer).await.ok();
}

/// The one place of a manager comes back from a client that stays connected and takes no answer.
async fn place_comes_back_from(path: &str) {
    let running = start(Limits {
        connections: 1,
        ..short()
    })
    .await;
    let mut stuck = TcpStream::connect(running.address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stuck.write_all(head.as_bytes()).await.unwrap();
    let whole = exchange(&running, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(whole.ends_with("hello"), "{whole}");
    drop(stuck);
}

#[tokio::test]
async fn a_client_that_does_not_read_a_lasting_answer_loses_its_place() {
    place_comes_back_from("/flood").await;
}

#[tokio::test]
async fn a_handler_that_hangs_does_not_hold_a_place_for_ever() {
    place_comes_back_from("/hanging").await;
}

#[tokio::test]
async fn a_stop_lets_a_request_finish() {
    let running = start(Limits::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = b"POST /body HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    stream.write_all(head).await.unwrap();
    // Told once the handler asks for the body.
    let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut go_on).await.unwrap();
    running.shutdown.cancel();
    stream.write_all(b"abcd").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("abcd"), "{answer}");
    timeout(Duration::from_secs(20), running.ended)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn http2_begins_by_prior_knowledge() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let running = start(Limits::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(EMPTY_SETTINGS).await.unwrap();
    let mut head = [0; 9];
    let read = timeout(Duration::from_secs(20), stream.read_exact(&mut head)).await;
    read.expect("it answers").unwrap();
    assert_eq!(head[3], 4, "the first frame holds its settings: {head:?}");
}
