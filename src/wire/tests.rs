use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use tokio::io::duplex;
use tokio::time::timeout;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Sample {
    Ping(u64),
    Text { key: String, body: Vec<u8> },
    List(Vec<Sample>),
}

const LIMIT: usize = 1 << 20;

fn sample() -> Sample {
    Sample::List(vec![
        Sample::Ping(7),
        Sample::Text {
            key: "k".into(),
            body: vec![1; 300],
        },
    ])
}

fn encoded(value: &Sample) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(value, &mut bytes, LIMIT).unwrap();
    bytes
}

/// Every frame in `bytes`, read by both readers, which must agree.
async fn read_all(bytes: &[u8], limit: usize) -> Result<Vec<Sample>, WireError> {
    let mut plain = bytes;
    let mut one: Vec<Sample> = Vec::new();
    let first = loop {
        match read_frame(&mut plain, limit).await {
            Ok(Some(value)) => one.push(value),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let mut reader = FramedReader::new(bytes, limit);
    let mut two: Vec<Sample> = Vec::new();
    let second = loop {
        match reader.read().await {
            Ok(Some(value)) => two.push(value),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    assert_eq!(one, two);
    assert_eq!(
        first.as_ref().map_err(ToString::to_string),
        second.as_ref().map_err(ToString::to_string)
    );
    second.map(|()| two)
}

#[tokio::test]
async fn frames_come_back_in_order() {
    let (near, far) = duplex(100);
    let mut writer = FramedWriter::new(near, LIMIT);
    let mut reader = FramedReader::new(far, LIMIT);
    let sent: Vec<Sample> = (0..50).map(Sample::Ping).chain([sample()]).collect();
    let expected = sent.clone();
    let send = tokio::spawn(async move {
        for value in &sent {
            writer.push(value).unwrap();
        }
        assert!(writer.pending() > 100, "several frames wait for one flush");
        writer.close().await.unwrap();
        assert_eq!(writer.pending(), 0);
    });
    let mut got = Vec::new();
    while let Some(value) = reader.read::<Sample>().await.unwrap() {
        got.push(value);
    }
    send.await.unwrap();
    assert_eq!(got, expected);
}

#[tokio::test]
async fn both_writers_write_the_same_bytes() {
    let mut one = Vec::new();
    write_frame(&mut one, &sample(), LIMIT).await.unwrap();
    let mut two = Vec::new();
    FramedWriter::new(&mut two, LIMIT).send(&sample()).await.unwrap();
    assert_eq!(one, two);
    assert_eq!(one[..HEADER], ((one.len() - HEADER) as u32).to_be_bytes());
    assert_eq!(read_all(&one, LIMIT).await.unwrap(), [sample()]);
}

#[tokio::test]
async fn read_frame_leaves_the_next_frame_alone() {
    let mut bytes = encoded(&Sample::Ping(1));
    bytes.extend_from_slice(&encoded(&Sample::Ping(2)));
    let mut stream = &bytes[..];
    assert_eq!(
        read_frame(&mut stream, LIMIT).await.unwrap(),
        Some(Sample::Ping(1))
    );
    assert_eq!(stream, &encoded(&Sample::Ping(2))[..]);
}

#[tokio::test]
async fn every_truncation_is_an_end_or_an_error() {
    let whole = encoded(&sample());
    assert_eq!(read_all(&[], LIMIT).await.unwrap(), []);
    for cut in 1..whole.len() {
        match read_all(&whole[..cut], LIMIT).await {
            Err(WireError::Io(error)) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_huge_length_is_refused_before_its_bytes_are_awaited() {
    for size in [LIMIT as u32 + 1, u32::MAX] {
        let (mut near, far) = duplex(64);
        near.write_all(&size.to_be_bytes()).await.unwrap();
        let mut reader = FramedReader::new(far, LIMIT);
        // The stream stays open: only the header can be the reason for an answer.
        let answer = timeout(Duration::from_secs(20), reader.read::<Sample>())
            .await
            .unwrap();
        match answer {
            Err(WireError::TooLarge {
                size: told,
                limit: LIMIT,
            }) => assert_eq!(told, size as usize),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_length_alone_allocates_little() {
    let (mut near, far) = duplex(64);
    near.write_all(&(LIMIT as u32 - 1).to_be_bytes()).await.unwrap();
    near.write_all(&[0; 8]).await.unwrap();
    drop(near);
    let mut reader = FramedReader::new(far, LIMIT);
    assert!(matches!(reader.read::<Sample>().await, Err(WireError::Io(_))));
    assert!(
        reader.capacity() <= 2 * STEP,
        "{} bytes were reserved",
        reader.capacity()
    );
}

#[tokio::test]
async fn one_large_frame_does_not_stay_in_memory() {
    let large = Sample::Text {
        key: String::new(),
        body: vec![0; 3 << 20],
    };
    let mut bytes = Vec::new();
    write_frame(&mut bytes, &large, 4 << 20).await.unwrap();
    let mut reader = FramedReader::new(&bytes[..], 4 << 20);
    assert_eq!(reader.read::<Sample>().await.unwrap(), Some(large));
    assert!(
        reader.capacity() < 1 << 20,
        "{} bytes are kept",
        reader.capacity()
    );
}

#[tokio::test]
async fn zero_length_is_the_unit_and_garbage_for_others() {
    let zero = [0u8; HEADER];
    assert_eq!(
        read_frame::<(), _>(&mut &zero[..], LIMIT).await.unwrap(),
        Some(())
    );
    assert!(matches!(read_all(&zero, LIMIT).await, Err(WireError::Garbage(_))));
}

#[tokio::test]
async fn bytes_left_over_in_a_frame_are_refused() {
    let mut bytes = encoded(&Sample::Ping(1));
    bytes.put_u8(0);
    bytes[HEADER - 1] += 1;
    let error = read_all(&bytes, LIMIT).await.unwrap_err();
    assert!(matches!(error, WireError::Trailing(1)), "{error:?}");
    assert!(error.is_violation());
}

#[test]
fn a_frame_over_the_limit_leaves_the_buffer_as_it_was() {
    let mut buffer = encoded(&Sample::Ping(1));
    let before = buffer.clone();
    let error = encode(&sample(), &mut buffer, 20).unwrap_err();
    assert!(
        matches!(error, WireError::TooLarge { limit: 20, .. }),
        "{error:?}"
    );
    assert_eq!(buffer, before);
}

#[tokio::test]
async fn a_dropped_read_loses_nothing() {
    let bytes = encoded(&sample());
    let (mut near, far) = duplex(bytes.len());
    let mut reader = FramedReader::new(far, LIMIT);
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    near.write_all(head).await.unwrap();
    tokio::select! {
        biased;
        got = reader.read::<Sample>() => panic!("half a frame gave {got:?}"),
        () = std::future::ready(()) => {}
    }
    near.write_all(tail).await.unwrap();
    assert_eq!(reader.read().await.unwrap(), Some(sample()));
}

/// Random bytes and randomly damaged frames: an answer or an error, never a panic, and never more
/// than the limit in memory.
#[tokio::test]
async fn garbage_gives_clean_errors() {
    let mut random = StdRng::seed_from_u64(0x5157_4f52);
    let limit = 4096;
    for round in 0..4000 {
        let mut bytes = if round % 2 == 0 {
            (0..random.random_range(0..600))
                .map(|_| random.random())
                .collect::<Vec<u8>>()
        } else {
            encoded(&sample()).to_vec()
        };
        for _ in 0..random.random_range(1..6) {
            if !bytes.is_empty() {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
        }
        let _ = read_all(&bytes, limit).await;
    }
}
