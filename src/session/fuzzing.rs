//! Bytes from runners, and from whoever else finds the session port.

use super::accept;
use crate::{
    model::{
        AgentId, Assessment, Labels, ManagerId, PeerInfo, PlacementId, PlacementRole, ReplicaId, Sample,
        session::{Assignment, FromManager, FromRunner, Hello, MAX_FRAME_BYTES, PROTOCOL, PlacementReport},
    },
    wire::{self, fuzzing::frames},
};

/// Frames of a runner, as first frames and as later ones, and of a manager.
///
/// # Panics
/// When something does not hold.
pub fn session_frames(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    match kind % 3 {
        0 => frames::<FromRunner>(rest, MAX_FRAME_BYTES, |frame| {
            if let FromRunner::Assessed(found) = frame {
                let (bounded, _) = found.bounded();
                assert_eq!(bounded.clone().bounded(), (bounded, vec![]));
            }
        }),
        1 => frames::<FromManager>(rest, MAX_FRAME_BYTES, |_| {}),
        _ => accept::fuzzing(rest),
    }
}

fn found() -> Assessment {
    Assessment {
        number: 2,
        kernel: "6.1.0".into(),
        cpus: 4,
        cpu_limit_millis: Some(500),
        memory_limit_bytes: Some(1 << 27),
        gpus: vec!["nvidia0".into()],
        interpreters: [("python3".into(), "3.11.2".into())].into(),
        declared: vec!["camera".into()],
        ..Assessment::default()
    }
}

/// Inputs to begin with.
///
/// # Panics
/// Never: all of them encode.
pub fn session_seeds() -> Vec<Vec<u8>> {
    let spec = serde_json::from_str(r#"{"name":"web","command":"/bin/true","args":["-v"],"env":{"A":"b"}}"#);
    let (placement, agent) = (PlacementId(3), AgentId(7));
    let replica = ReplicaId { agent, ordinal: 1 };
    let report = PlacementReport {
        placement,
        replica,
        epoch: 12,
        generation: 1,
        state: crate::model::AgentState::Running,
        reason: "it runs".into(),
        restarts: 1,
    };
    let hello = Hello {
        name: "box-1".parse().expect("a name"),
        boot: 5,
        engine_container: Some("0123456789ab".into()),
        labels: Labels::lenient([("zone".to_owned(), "a".to_owned())]),
        capabilities: Default::default(),
        resources: Default::default(),
        assessment: Some(found()),
        placements: vec![report.clone()],
    };
    let enroll = FromRunner::Enroll {
        protocol: PROTOCOL,
        token: "quorate-join-x".into(),
        csr: "-----BEGIN".into(),
        hello: hello.clone(),
    };
    let join = FromRunner::JoinManager {
        protocol: PROTOCOL,
        token: "x".into(),
        incarnation: 9,
    };
    let from_runner = [
        enroll,
        join,
        FromRunner::Hello {
            protocol: PROTOCOL,
            hello,
        },
        FromRunner::Heartbeat { seq: 1, applied: 2 },
        FromRunner::Report(report),
        FromRunner::Renew { csr: String::new() },
        FromRunner::Goodbye,
        FromRunner::Streams {
            container: crate::model::ContainerId(3),
            boot: 5,
            ticket: crate::model::StreamTicket([7; 16]),
        },
        FromRunner::Assessed(found()),
        FromRunner::Sample(Sample {
            cpu_millis: 500,
            memory_bytes: 1 << 27,
            ..Sample::default()
        }),
    ];
    let told = FromManager::Spec {
        agent,
        generation: 1,
        spec: spec.expect("a spec"),
    };
    let desired = FromManager::Desired {
        revision: 4,
        placements: vec![Assignment {
            placement,
            replica,
            epoch: 12,
            generation: 1,
            role: PlacementRole::Active,
            run: true,
        }],
        last: true,
    };
    let managers: Vec<(ManagerId, PeerInfo)> = Vec::new();
    let from_manager = [
        told,
        desired,
        FromManager::HeartbeatAck { seq: 3 },
        FromManager::OpenStreams {
            ticket: crate::model::StreamTicket([7; 16]),
        },
        FromManager::StreamsOpen,
        FromManager::Admitted {
            id: 4,
            ca_key: "k".into(),
            managers,
        },
        FromManager::Refused {
            reason: "no".into(),
            retry: true,
        },
    ];
    let mut seeds = Vec::new();
    for frame in &from_runner {
        let bytes = wire::fuzzing::frame(frame);
        seeds.push([&[0], &bytes[..]].concat());
        seeds.push([&[2], &bytes[wire::HEADER..]].concat());
    }
    seeds.extend(
        from_manager
            .iter()
            .map(|frame| [&[1], &wire::fuzzing::frame(frame)[..]].concat()),
    );
    seeds
}
