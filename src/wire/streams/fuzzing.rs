//! Frames of a multiplexed connection, whatever they are.

use bytes::BytesMut;
use tokio::time::Instant;

use super::{
    Limits, Role,
    frame::{CHUNK, HEAD, Head, Kind},
    table::Table,
};

const LIMITS: Limits = Limits {
    incoming: 3,
    outgoing: 2,
    window: 64,
    widest: 256,
    bytes: 512,
    idle: std::time::Duration::from_secs(60),
    stream_idle: std::time::Duration::from_secs(60),
};

/// Frames until one is refused. Some streams are accepted, read and written meanwhile; what is held stays bounded.
///
/// # Panics
/// When something does not hold.
pub fn mux_frames(data: &[u8]) {
    let Some((choice, mut rest)) = data.split_first() else {
        return;
    };
    let now = Instant::now();
    let role = if choice % 2 == 0 {
        Role::Dialled
    } else {
        Role::Called
    };
    let (mut table, mut woken, mut out) = (Table::new(role, LIMITS, now), Vec::new(), BytesMut::new());
    let mut mine = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<HEAD>() {
        let Ok(head) = Head::parse(*head) else { return };
        let Some((body, after)) = after.split_at_checked(head.body()) else {
            return;
        };
        rest = after;
        if table.take(head, body, now, &mut woken).is_err() || table.ended().is_some() {
            return;
        }
        mine.extend(table.accept().and_then(Result::ok).map(|(id, _)| id));
        mine.extend(table.open(&b"h"[..].into(), now).and_then(Result::ok));
        for id in &mine {
            if choice & 2 != 0 {
                let _ = table.with(*id, now, |flow| flow.read(&mut [0; 16]));
            }
            let _ = table.with(*id, now, |flow| flow.write(&[7; 300]));
        }
        if choice & 4 != 0 && mine.len() > 2 {
            table.leave(mine.remove(0), super::Why::Dropped, now);
        }
        assert!(
            table.received() <= LIMITS.bytes as usize,
            "more is held than the windows"
        );
        out.clear();
        table.send(&mut out, CHUNK, now, &mut woken);
    }
}

/// Inputs to begin with.
pub fn mux_seeds() -> Vec<Vec<u8>> {
    let frames: &[(Kind, u32, u32, &[u8])] = &[
        (Kind::Settings, 4, 100, b""),
        (Kind::Open, 2, 2, b"hi"),
        (Kind::Data, 2, 3, b"abc"),
        (Kind::Credit, 2, 50, b""),
        (Kind::Open, 4, 0, b""),
        (Kind::Data, 1, 1, b"x"),
        (Kind::End, 2, 0, b""),
        (Kind::Cut, 4, 3, b""),
        (Kind::Alive, 0, 0, b""),
        (Kind::Close, 0, 4, b"done"),
    ];
    (0..8)
        .map(|choice| {
            let mut bytes = BytesMut::from(&[choice][..]);
            for (kind, id, number, body) in frames {
                Head::new(*kind, *id, *number).put(&mut bytes);
                bytes.extend_from_slice(body);
            }
            bytes.to_vec()
        })
        .collect()
}
