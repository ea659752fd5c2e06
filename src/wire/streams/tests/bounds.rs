//! Memory, turns, and how many.

use super::*;

/// Buffers may be twice as large as what they hold.
fn bound(limits: Limits) -> usize {
    let streams = (limits.incoming + limits.outgoing) as usize;
    2 * (limits.bytes as usize + streams * super::super::flow::UNSENT)
}

fn held(mux: &Mux) -> usize {
    mux.shared.with(|table| table.held())
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_up_its_own_stream_only() {
    let limits = Limits::default();
    let (near, far) = pair(64 << 10, limits);
    let (mut slow, unread) = stream(&near, &far).await;
    let writing = tokio::spawn(async move { slow.write_all(&vec![1; 64 << 20]).await });
    let (mut fast, mut read) = stream(&near, &far).await;
    let size = 32 << 20;
    let sending = tokio::spawn(async move {
        fast.write_all(&bytes(3, size)).await.unwrap();
        fast.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    within(read.read_to_end(&mut got)).await.unwrap();
    assert!(got == bytes(3, size));
    sending.await.unwrap();
    assert!(!writing.is_finished(), "64 MiB are nowhere");
    // Nothing was read, so the window did not grow.
    let received = far.shared.with(|table| table.received());
    assert_eq!(received, limits.window as usize);
    assert!(held(&near) <= 2 * super::super::flow::UNSENT);
    drop(unread);
    assert!(within(writing).await.unwrap().is_err());
}

#[tokio::test]
async fn the_windows_of_a_connection_are_bounded_together() {
    let limits = Limits {
        incoming: 16,
        outgoing: 16,
        window: 8 << 10,
        widest: 1 << 20,
        bytes: 1 << 20,
        ..Limits::default()
    };
    let (near, far) = pair(64 << 10, limits);
    let mut ends = Vec::new();
    let mut writers = Vec::new();
    for _ in 0..limits.incoming {
        let (mut one, other) = stream(&near, &far).await;
        writers.push(tokio::spawn(
            async move { one.write_all(&vec![1; 32 << 20]).await },
        ));
        ends.push(other);
    }
    // All read for a while, so that their windows grow, and then none does.
    for end in &mut ends {
        let mut some = vec![0; 2 << 20];
        within(end.read_exact(&mut some)).await.unwrap();
    }
    let mut before = 0;
    within(async {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = far.shared.with(|table| table.received());
            if now > 0 && now == before {
                break;
            }
            before = now;
        }
    })
    .await;
    assert!(
        before > (limits.incoming * limits.window) as usize,
        "no window grew: {before}"
    );
    assert!(before <= limits.bytes as usize, "{before} bytes wait");
    assert!(held(&far) <= bound(limits) && held(&near) <= bound(limits));
    drop(ends);
    assert_eq!(held(&far), 0);
    for writer in writers {
        assert!(within(writer).await.unwrap().is_err());
    }
}

#[tokio::test]
async fn streams_take_turns() {
    let (near, far) = pair(16 << 10, Limits::default());
    let mut counts = Vec::new();
    let progress = std::sync::Arc::new(Mutex::new([0_usize; 4]));
    for number in 0..4 {
        let (mut one, mut other) = stream(&near, &far).await;
        let size = if number == 3 { 1 << 20 } else { 256 << 20 };
        tokio::spawn(async move {
            let piece = vec![1; 256 << 10];
            for _ in 0..size / piece.len() {
                if one.write_all(&piece).await.is_err() {
                    return;
                }
            }
            let _ = one.shutdown().await;
        });
        let progress = progress.clone();
        counts.push(tokio::spawn(async move {
            let mut piece = vec![0; 64 << 10];
            while let Ok(size @ 1..) = other.read(&mut piece).await {
                progress.lock().unwrap()[number] += size;
            }
        }));
    }
    // The small one is done after about its size of each of the others.
    within(counts.pop().unwrap()).await.unwrap();
    let progress = *progress.lock().unwrap();
    assert_eq!(progress[3], 1 << 20);
    assert!(progress[..3].iter().all(|size| *size < 16 << 20), "{progress:?}");
    drop((near, far));
}

#[tokio::test]
async fn there_are_only_so_many_streams_and_a_place_that_is_left_is_taken() {
    let few = Limits {
        incoming: 2,
        ..Limits::default()
    };
    let (near, far) = pair(1000, few);
    let first = stream(&near, &far).await;
    let _second = stream(&near, &far).await;
    let error = near.open("x").await.unwrap_err();
    assert_eq!(error, StreamError::TooMany(2));
    drop(first);
    stream(&near, &far).await;
    // The other direction has places of its own.
    stream(&far, &near).await;
    let none = Limits {
        incoming: 0,
        ..Limits::default()
    };
    let (near, _far) = pair(1000, none);
    assert_eq!(near.open("x").await.unwrap_err(), StreamError::TooMany(0));
}

#[tokio::test]
async fn streams_that_are_dropped_at_once_leave_nothing() {
    let (near, far) = pair(100, Limits::default());
    let accepting = tokio::spawn(async move {
        let mut count = 0;
        while let Ok((_, stream)) = far.accept::<String>().await {
            count += 1;
            drop(stream);
        }
        (count, far)
    });
    let mut opened = 0;
    for _ in 0..5_000 {
        if near.open("x").await.is_ok() {
            opened += 1;
        }
        if opened % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert!(opened >= 1_000, "{opened}");
    assert!(near.ended().is_none() && !near.is_used());
    near.close("done");
    let (count, far) = within(accepting).await.unwrap();
    assert!(count <= opened);
    assert_eq!(held(&far) + held(&near), 0);
}
