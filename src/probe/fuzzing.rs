//! Bytes from whoever listens or dials where a scan and a runner meet.

use super::{
    FRAME_BYTES, PROTOCOL,
    message::{Ask, Refusal, Reply, Say, Tell},
    open_engine,
};
use crate::wire::fuzzing::{frame, frames};

/// Frames of either side, and what may be an engine's answer.
///
/// # Panics
/// When something does not hold.
pub fn probe_frames(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    match kind % 5 {
        0 => frames::<Ask>(rest, FRAME_BYTES, |_| {}),
        1 => frames::<Tell>(rest, FRAME_BYTES, |_| {}),
        2 => frames::<Say>(rest, FRAME_BYTES, |_| {}),
        3 => frames::<Reply>(rest, FRAME_BYTES, |_| {}),
        _ => {
            let version = open_engine::parse(rest);
            assert!(version.is_none_or(|version| version.bytes().all(|byte| byte.is_ascii_graphic())));
        }
    }
}

/// Inputs to begin with.
///
/// # Panics
/// Never: all of them encode.
pub fn probe_seeds() -> Vec<Vec<u8>> {
    let ask = Ask {
        protocol: PROTOCOL,
        nonce: [1; 32],
    };
    let tells = [
        Tell::Version(2),
        Tell::Runner {
            name: "box-1".parse().expect("a name"),
            token: Some(7),
            nonce: [2; 32],
        },
    ];
    let says = [
        Say::Prove([3; 32]),
        Say::Invite {
            managers: vec!["10.0.0.1:7402".into()],
            token: Some("qjt_x".into()),
        },
    ];
    let replies = [
        Reply::Proved([4; 32]),
        Reply::Taken,
        Reply::Refused(Refusal::Addresses),
    ];
    let engine = b"\x04HTTP/1.0 200 OK\r\n\r\n{\"Version\":\"28.1.1\",\"ApiVersion\":\"1.49\"}";
    let of = |kind: u8, frame: &[u8]| [&[kind], frame].concat();
    let mut seeds = vec![engine.to_vec(), of(0, &frame(&ask))];
    seeds.extend(tells.iter().map(|tell| of(1, &frame(tell))));
    seeds.extend(says.iter().map(|say| of(2, &frame(say))));
    seeds.extend(replies.iter().map(|reply| of(3, &frame(reply))));
    seeds
}
