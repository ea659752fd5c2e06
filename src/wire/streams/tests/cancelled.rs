//! Whatever is dropped while it waits: what was written is a prefix of what is read, and the connection goes on.

use std::{pin::Pin, task::Poll};

use rand::Rng;

use super::*;

/// A future that is given up after being polled so many times.
async fn polled<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = times;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match Pin::as_mut(&mut future).poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Writes with `write`, each call of which may be given up, and gives what was taken.
async fn written(stream: &mut Stream, random: &mut StdRng, size: usize) -> Vec<u8> {
    let all = bytes(random.random(), size);
    let mut taken = 0;
    for _ in 0..200 {
        let next = (taken + random.random_range(1..20_000)).min(size);
        match polled(random.random_range(1..3), stream.write(&all[taken..next])).await {
            Some(Ok(count)) => taken += count,
            Some(Err(error)) => panic!("{error}"),
            None => tokio::task::yield_now().await,
        }
        if taken == size {
            break;
        }
    }
    all[..taken].to_vec()
}

/// One stream that is used with calls given up anywhere, and then ended or dropped.
async fn one(near: &Mux, far: &Mux, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let size = random.random_range(0..200_000);
    let Some(opened) = polled(random.random_range(0..4), near.open(&seed)).await else {
        return;
    };
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(StreamError::TooMany(_)) => return,
        Err(error) => panic!("{error}"),
    };
    // Accepts that are given up lose no stream.
    let (header, mut other) = loop {
        if let Some(accepted) = polled(random.random_range(1..3), far.accept::<u64>()).await {
            break within(async { accepted }).await.unwrap();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(header, seed);
    let ends_at_all = random.random_bool(0.5);
    let cuts_reader = random.random_bool(0.2);
    let ends = ends_at_all && !cuts_reader;
    let reading = tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(seed + 1);
        let mut got = Vec::new();
        let mut piece = vec![0; 5_000];
        loop {
            if cuts_reader && got.len() > 20_000 {
                return (got, None);
            }
            match polled(random.random_range(1..3), other.read(&mut piece)).await {
                Some(Ok(0)) => return (got, Some(true)),
                Some(Ok(count)) => got.extend_from_slice(&piece[..count]),
                Some(Err(_)) => return (got, Some(false)),
                None => tokio::task::yield_now().await,
            }
        }
    });
    let sent = if cuts_reader {
        // Fails, or all of it was taken.
        let _ = within(stream.write_all(&vec![0; size])).await;
        vec![0; size]
    } else {
        written(&mut stream, &mut random, size).await
    };
    if ends {
        let _ = polled(1, stream.shutdown()).await;
        within(stream.shutdown()).await.unwrap();
    }
    drop(stream);
    let (got, ended) = within(reading).await.unwrap();
    assert!(sent.starts_with(&got), "seed {seed}: other bytes");
    match ended {
        Some(true) => assert!(
            ends && got.len() == sent.len(),
            "seed {seed}: an end before the end"
        ),
        Some(false) => assert!(!ends, "seed {seed}: no end"),
        None => {}
    }
}

#[tokio::test]
async fn whatever_is_given_up_bytes_stay_in_order_and_nothing_leaks() {
    for seed in 0..200 {
        let pipe = [1, 10, 1000, 100_000][seed as usize % 4];
        let (near, far) = pair(pipe, Limits::default());
        for round in 0..3 {
            let seed = seed * 10 + round;
            if round % 2 == 0 {
                within(one(&near, &far, seed)).await;
            } else {
                within(one(&far, &near, seed)).await;
            }
        }
        // Streams whose opening was given up may still be on their way.
        assert!(near.ended().is_none() && far.ended().is_none(), "seed {seed}");
        let (mut near_end, mut far_end) = loop {
            let stream = near.open(&u64::MAX).await.unwrap();
            let (header, other) = within(far.accept::<u64>()).await.unwrap();
            if header == u64::MAX {
                break (stream, other);
            }
        };
        near_end.write_all(b"y").await.unwrap();
        assert_eq!(within(far_end.read_u8()).await.unwrap(), b'y', "seed {seed}");
    }
}
