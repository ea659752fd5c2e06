//! Frames that no correct peer sends, and peers that stop.

use bytes::{BufMut, BytesMut};
use tokio::io::DuplexStream;

use super::{
    super::frame::{CHUNK, HEAD, Head, Kind, MAX_CREDIT},
    *,
};

const LIMITS: Limits = Limits {
    incoming: 2,
    outgoing: 2,
    window: 1000,
    widest: 2000,
    bytes: 6000,
    idle: Duration::from_secs(60),
    stream_idle: Duration::from_secs(600),
};

type Raw = (Kind, u32, u32, &'static [u8]);

const SETTINGS: Raw = (Kind::Settings, 9, 1000, b"");

fn encoded(frames: &[Raw]) -> BytesMut {
    let mut out = BytesMut::new();
    for (kind, id, number, body) in frames {
        Head::new(*kind, *id, *number).put(&mut out);
        out.put_slice(body);
    }
    out
}

fn one() -> (Mux, DuplexStream) {
    let (near, far) = duplex(1 << 20);
    (Mux::new(near, Role::Called, LIMITS), far)
}

/// Why a connection was closed on which these bytes arrived; the other side is told so.
async fn reason(bytes: &[u8]) -> String {
    let (mux, mut far) = one();
    far.write_all(bytes).await.unwrap();
    let mut told = Vec::new();
    within(far.read_to_end(&mut told)).await.unwrap();
    let reason = mux.ended().unwrap().to_string();
    assert!(
        told.ends_with(reason.as_bytes()),
        "{reason}: {}",
        told.escape_ascii()
    );
    reason
}

#[tokio::test]
async fn what_no_correct_peer_sends_closes_the_connection_with_a_reason() {
    const LONG: &[u8] = &[0; 1001];
    let cases: &[(&[Raw], Violation)] = &[
        (&[(Kind::Open, 1, 0, b"")], Violation::Settings),
        (&[(Kind::Alive, 0, 0, b"")], Violation::Settings),
        (&[SETTINGS, SETTINGS], Violation::Settings),
        (&[(Kind::Settings, 1, MAX_CREDIT + 1, b"")], Violation::Credit(0)),
        (&[SETTINGS, (Kind::Open, 2, 0, b"")], Violation::Turn(2)),
        (&[SETTINGS, (Kind::Open, 0, 0, b"")], Violation::Turn(0)),
        (
            &[SETTINGS, (Kind::Open, 3, 0, b""), (Kind::Open, 3, 0, b"")],
            Violation::Turn(3),
        ),
        (
            &[SETTINGS, (Kind::Open, 3, 0, b""), (Kind::Open, 1, 0, b"")],
            Violation::Turn(1),
        ),
        (&[SETTINGS, (Kind::Data, 1, 1, b"x")], Violation::Never(1)),
        (&[SETTINGS, (Kind::Credit, 2, 1, b"")], Violation::Never(2)),
        (&[SETTINGS, (Kind::Cut, 0, 1, b"")], Violation::Never(0)),
        (
            &[SETTINGS, (Kind::Open, 1, 0, b""), (Kind::Data, 1, 0, b"")],
            Violation::Empty(1),
        ),
        (
            &[SETTINGS, (Kind::Open, 1, 0, b""), (Kind::Credit, 1, 0, b"")],
            Violation::Empty(1),
        ),
        (
            &[
                SETTINGS,
                (Kind::Open, 1, 0, b""),
                (Kind::Credit, 1, MAX_CREDIT, b""),
            ],
            Violation::Credit(1),
        ),
        (
            &[SETTINGS, (Kind::Open, 1, 0, b""), (Kind::Data, 1, 1001, LONG)],
            Violation::Overrun(1),
        ),
        (
            &[
                SETTINGS,
                (Kind::Open, 1, 0, b""),
                (Kind::End, 1, 0, b""),
                (Kind::Data, 1, 1, b"x"),
            ],
            Violation::AfterEnd(1),
        ),
        (
            &[
                SETTINGS,
                (Kind::Open, 1, 0, b""),
                (Kind::End, 1, 0, b""),
                (Kind::End, 1, 0, b""),
            ],
            Violation::AfterEnd(1),
        ),
    ];
    for (frames, violation) in cases {
        assert_eq!(
            reason(&encoded(frames)).await,
            violation.to_string(),
            "{frames:?}"
        );
    }
    assert_eq!(reason(&[99; HEAD]).await, Violation::Kind(99).to_string());
    // The length alone is enough: nothing is awaited or allocated for it.
    for kind in [Kind::Open, Kind::Data, Kind::Close] {
        let mut bytes = encoded(&[SETTINGS]);
        bytes.extend_from_slice(&[kind as u8, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]);
        assert!(reason(&bytes).await.contains("4294967295 bytes, the limit is"));
    }
}

#[tokio::test]
async fn credit_is_counted_over_all_frames_and_tiny_ones_cost_what_they_hold() {
    let (mux, mut far) = one();
    let mut bytes = encoded(&[SETTINGS, (Kind::Open, 1, 1, b"\x00")]);
    (0..1000).for_each(|_| bytes.extend_from_slice(&encoded(&[(Kind::Data, 1, 1, b"x")])));
    far.write_all(&bytes).await.unwrap();
    let (_, _stream) = within(mux.accept::<String>()).await.unwrap();
    within(async {
        while mux.shared.with(|table| table.received()) < 1000 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(mux.shared.with(|table| table.held()) <= 2048);
    assert!(mux.ended().is_none());
    far.write_all(&encoded(&[(Kind::Data, 1, 1, b"x")]))
        .await
        .unwrap();
    assert_eq!(*within(mux.closed()).await, *Violation::Overrun(1).to_string());
}

#[tokio::test]
async fn who_opens_more_than_there_is_room_for_is_refused_and_then_closed() {
    let (mux, mut far) = one();
    let mut bytes = encoded(&[SETTINGS]);
    (0..5).for_each(|n| bytes.extend_from_slice(&encoded(&[(Kind::Open, 2 * n + 1, 0, b"")])));
    far.write_all(&bytes).await.unwrap();
    let mut answer = vec![0; 4 * HEAD];
    within(far.read_exact(&mut answer)).await.unwrap();
    let cut = Head::parse(*answer[HEAD..].first_chunk().unwrap()).unwrap();
    assert_eq!((cut.kind, cut.id), (Kind::Cut, 5));
    assert!(mux.ended().is_none(), "three are refused");
    // Data for a refused stream was under way.
    bytes.clear();
    bytes.extend_from_slice(&encoded(&[(Kind::Data, 5, 1, b"x")]));
    (5..2000).for_each(|n| bytes.extend_from_slice(&encoded(&[(Kind::Open, 2 * n + 1, 0, b"")])));
    far.write_all(&bytes).await.unwrap();
    assert_eq!(*within(mux.closed()).await, *Violation::TooManyOpens.to_string());
}

#[tokio::test]
async fn random_bytes_close_the_connection() {
    for seed in 0..300 {
        let (mux, mut far) = one();
        let mut noise = if seed % 2 == 0 {
            encoded(&[SETTINGS, (Kind::Open, 1, 1, b"\x00")]).to_vec()
        } else {
            Vec::new()
        };
        noise.extend(bytes(seed, CHUNK));
        // It may be closed before all is written.
        let _ = far.write_all(&noise).await;
        let _ = far.shutdown().await;
        within(mux.closed()).await;
        assert!(mux.shared.with(|table| table.received()) <= LIMITS.bytes as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_is_silent_or_takes_nothing_is_given_up() {
    let (mux, far) = one();
    let reason = timeout(Duration::from_secs(25), mux.closed()).await.unwrap();
    assert!(reason.contains("silent"), "{reason}");
    drop(far);
    // It speaks, but takes nothing.
    let (near, mut far) = duplex(100);
    let mux = Mux::new(near, Role::Called, LIMITS);
    far.write_all(&encoded(&[SETTINGS])).await.unwrap();
    let mut untaken = mux.open("x").await.unwrap();
    untaken.write_all(&[1; 900]).await.unwrap();
    let speaks = async {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            far.write_all(&encoded(&[(Kind::Alive, 0, 0, b"")]))
                .await
                .unwrap();
        }
    };
    let reason = tokio::select! {
        reason = timeout(Duration::from_secs(30), mux.closed()) => reason.unwrap(),
        () = speaks => unreachable!(),
    };
    assert!(reason.contains("takes nothing"), "{reason}");
    // Two correct sides with an open stream stay together over any silence of their users.
    let long = Limits {
        stream_idle: Duration::from_secs(100_000),
        ..LIMITS
    };
    let (near, far) = pair(100, long);
    let _kept = stream(&near, &far).await;
    tokio::time::sleep(Duration::from_secs(5_000)).await;
    assert!(near.ended().is_none() && far.ended().is_none());
}
