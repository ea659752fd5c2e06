//! Streams over pipes in memory.

mod bounds;
mod cancelled;
mod raw;

use std::io::ErrorKind;

use rand::{RngCore, SeedableRng, rngs::StdRng};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    time::{Duration, timeout},
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// Two ends of one connection; the pipe holds `pipe` bytes each way.
fn pair(pipe: usize, limits: Limits) -> (Mux, Mux) {
    let (near, far) = duplex(pipe);
    (
        Mux::new(near, Role::Dialled, limits),
        Mux::new(far, Role::Called, limits),
    )
}

/// A stream, both ends.
async fn stream(from: &Mux, to: &Mux) -> (Stream, Stream) {
    let near = from.open("x").await.unwrap();
    let (header, far) = to.accept::<String>().await.unwrap();
    assert_eq!(header, "x");
    (near, far)
}

fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it hangs")
}

/// Sends back what comes, and ends when the other side does.
async fn echo(stream: Stream) {
    let (mut read, mut write) = tokio::io::split(stream);
    tokio::io::copy(&mut read, &mut write).await.unwrap();
    write.shutdown().await.unwrap();
}

#[tokio::test]
async fn both_sides_open_streams_and_each_direction_ends_by_itself() {
    let (near, far) = pair(1000, Limits::default());
    for (from, to) in [(&near, &far), (&far, &near)] {
        let (one, other) = stream(from, to).await;
        let sent = bytes(1, 3 << 20);
        let back = tokio::spawn(echo(other));
        let (mut read, mut write) = tokio::io::split(one);
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        within(read.read_to_end(&mut got)).await.unwrap();
        assert!(got == expected, "{} bytes of {}", got.len(), expected.len());
        writing.await.unwrap();
        back.await.unwrap();
    }
    assert!(!near.is_used() && !far.is_used());
}

#[tokio::test]
async fn what_was_ended_before_it_is_dropped_is_whole_and_else_it_is_an_error() {
    let (near, far) = pair(1000, Limits::default());
    // Ended, then dropped: all of it arrives, and only the other direction is cut.
    let (mut one, mut other) = stream(&near, &far).await;
    one.write_all(b"whole").await.unwrap();
    one.shutdown().await.unwrap();
    drop(one);
    let mut got = String::new();
    within(other.read_to_string(&mut got)).await.unwrap();
    assert_eq!(got, "whole");
    let refused = within(async { while other.write_all(&[0; 1000]).await.is_ok() {} });
    refused.await;
    // Dropped before the end.
    let (mut one, mut other) = stream(&near, &far).await;
    one.write_all(b"half").await.unwrap();
    let mut half = [0; 4];
    within(other.read_exact(&mut half)).await.unwrap();
    drop(one);
    let error = within(other.read(&mut half)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let error = within(async {
        loop {
            if let Err(error) = other.write_all(&half).await {
                return error;
            }
        }
    })
    .await;
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    // A reader that waits, and a writer that waits for credit, are woken.
    let (one, mut other) = stream(&near, &far).await;
    let waits = tokio::spawn(async move { other.read(&mut [0]).await });
    tokio::task::yield_now().await;
    drop(one);
    assert!(within(waits).await.unwrap().is_err());
    let (mut one, other) = stream(&near, &far).await;
    let waits = tokio::spawn(async move { one.write_all(&vec![0; 4 << 20]).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waits.is_finished());
    drop(other);
    assert!(within(waits).await.unwrap().is_err());
}

#[tokio::test]
async fn a_header_that_is_not_understood_costs_only_its_own_stream() {
    #[derive(Debug, Serialize, Deserialize)]
    enum Known {
        One,
    }
    let (near, far) = pair(1000, Limits::default());
    let mut strange = near.open(&77_u8).await.unwrap();
    let mut known = near.open(&Known::One).await.unwrap();
    let (Known::One, mut accepted) = within(far.accept()).await.unwrap();
    let error = within(strange.read(&mut [0])).await.unwrap_err();
    assert!(
        error.to_string().contains("does not understand its header"),
        "{error}"
    );
    accepted.write_all(b"y").await.unwrap();
    assert_eq!(within(known.read_u8()).await.unwrap(), b'y');
    let long = near.open(&"h".repeat(MAX_HEADER_BYTES)).await.unwrap_err();
    assert!(matches!(long, StreamError::Header(_)));
}

#[tokio::test]
async fn a_close_is_told_to_everybody_with_its_reason() {
    let (near, far) = pair(1000, Limits::default());
    let (mut one, mut other) = stream(&near, &far).await;
    let accepting = tokio::spawn(async move { (far.accept::<String>().await.unwrap_err(), far) });
    let reading = tokio::spawn(async move { other.read(&mut [0]).await.unwrap_err() });
    near.close("the session is over");
    let (error, far) = within(accepting).await.unwrap();
    assert!(
        error
            .to_string()
            .ends_with("the other side closed it: the session is over"),
        "{error}"
    );
    let error = within(reading).await.unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    assert!(error.to_string().contains("the session is over"), "{error}");
    assert_eq!(
        one.read(&mut [0]).await.unwrap_err().kind(),
        ErrorKind::ConnectionAborted
    );
    assert!(one.write(&[0]).await.is_err() && one.shutdown().await.is_err());
    assert_eq!(&*within(near.closed()).await, "the session is over");
    assert_eq!(within(far.closed()).await, far.ended().unwrap());
    assert!(matches!(near.open("x").await, Err(StreamError::Closed(_))));
}

#[tokio::test]
async fn what_arrived_whole_can_be_read_after_the_connection_has_ended() {
    let (near, far) = pair(1000, Limits::default());
    let (mut one, mut other) = stream(&near, &far).await;
    one.write_all(b"whole").await.unwrap();
    one.shutdown().await.unwrap();
    let (mut half, mut unended) = stream(&near, &far).await;
    half.write_all(b"half").await.unwrap();
    let mut got = [0; 4];
    within(unended.read_exact(&mut got)).await.unwrap();
    drop(near);
    within(far.closed()).await;
    let mut got = String::new();
    other.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "whole");
    assert!(unended.read_to_string(&mut got).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn idle_streams_and_connections_end() {
    let limits = Limits {
        idle: Duration::from_secs(60),
        stream_idle: Duration::from_secs(300),
        ..Limits::default()
    };
    let (near, far) = pair(1000, limits);
    let (mut one, mut other) = stream(&near, &far).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(200)).await;
        one.write_all(b"x").await.unwrap();
        other.read_u8().await.unwrap();
    }
    let error = timeout(Duration::from_secs(310), one.read_u8())
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.to_string().contains("nothing moved"), "{error}");
    let error = timeout(Duration::from_secs(10), other.read_u8())
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.to_string().contains("nothing moved"), "{error}");
    assert!(near.ended().is_none(), "the connection has streams");
    drop((one, other));
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(near.ended().is_none());
    let reason = timeout(Duration::from_secs(20), near.closed()).await.unwrap();
    assert!(reason.contains("it was not used"), "{reason}");
    timeout(Duration::from_secs(1), far.closed()).await.unwrap();
}
