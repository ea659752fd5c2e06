//! Bytes from other managers and from disk.

use std::{fs::File, io::Write, sync::Arc};

use nix::sys::memfd::{MFdFlags, memfd_create};
use openraft::{
    Entry, EntryPayload,
    raft::{AppendEntriesRequest, StreamAppendResult},
    vote::RaftLeaderId,
};

pub use super::log_store::fuzzing::{log_rows, log_seeds};
use super::{
    handle::MembershipRequest,
    questions::{AskVote, Change, Probe, Propose, ReadIndex},
    snapshot_lane::{Piece, Taken},
    snapshot_store::{SnapshotFile, format},
    state_machine::{decode_meta, read_state},
    types::{LogId, SnapshotMeta, StoredMembership, TypeConfig, Vote},
};
use crate::{
    command::{
        ClusterCommand, Command, Condition, ConfigCommand, ContainerCommand, DiscoveryCommand, Proposal,
        RequestKey,
    },
    model::{
        ContainerId, JoinRole, JoinToken, JoinTokenId, Met, Millis, ScanCount, ScanId, ScanPlan, ScanState,
        TokenId,
    },
    peers::{Answered, Asked, Hello, Lane, MAX_FRAME_BYTES, Question, Welcome},
    state::State,
    wire::fuzzing::{frame, frames},
};

/// Frames of another manager: the first ones, requests, answers and batches of entries. What is proposed or
/// replicated is applied.
///
/// # Panics
/// When something does not hold.
pub fn peer_frames(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let mut state = State::default();
    let mut apply = |proposal: &Proposal| {
        state.apply(state.revision() + 1, 1, proposal);
    };
    match kind % 8 {
        0 => frames::<Hello>(rest, 1024, |_| {}),
        1 => frames::<Welcome>(rest, 4096, |_| {}),
        2 => frames::<Asked>(rest, MAX_FRAME_BYTES, |asked| {
            if asked.id == Propose::ID
                && let Ok(Propose(proposals)) = postcard::from_bytes(&asked.body)
            {
                proposals.iter().for_each(&mut apply);
            }
        }),
        3 => frames::<(u64, Answered)>(rest, MAX_FRAME_BYTES, |_| {}),
        5 => frames::<Piece>(rest, MAX_FRAME_BYTES, |_| {}),
        6 => frames::<Taken>(rest, MAX_FRAME_BYTES, |_| {}),
        4 => frames::<AppendEntriesRequest<TypeConfig>>(rest, MAX_FRAME_BYTES, |request| {
            for entry in request.entries {
                if let EntryPayload::Normal(proposal) = entry.payload {
                    apply(&proposal);
                }
            }
        }),
        _ => frames::<StreamAppendResult<TypeConfig>>(rest, MAX_FRAME_BYTES, |_| {}),
    }
    if let Err(violation) = state.check() {
        panic!("{violation}");
    }
}

pub(super) fn log_id(term: u64, index: u64) -> LogId {
    LogId {
        leader_id: Vote::new_committed(term, 1).leader_id.to_committed(),
        index,
    }
}

/// A scan that finds somebody, who is approved.
fn scanned() -> Vec<Command> {
    let (id, term) = (ScanId(4), 1);
    let plan = ScanPlan::new(vec!["10.0.0.0/28".parse().expect("a network")], None);
    let met = Met {
        id: ContainerId(6),
        name: "box".parse().expect("a name"),
        address: ([10, 0, 0, 1], 7997).into(),
        fingerprint: "aa".into(),
    };
    let token = JoinToken {
        id: JoinTokenId(7),
        role: JoinRole::Runner,
        hash: [1; 32],
        expires_at: None,
        uses_left: Some(1),
        version: 0,
    };
    vec![
        Command::Discovery(DiscoveryCommand::Scan {
            id,
            plan: plan.expect("a plan that ends"),
            scheduled: false,
        }),
        Command::Discovery(DiscoveryCommand::Progress {
            id,
            term,
            count: ScanCount::default(),
            met: vec![met],
            findings: Vec::new(),
        }),
        Command::Discovery(DiscoveryCommand::End {
            id,
            term,
            state: ScanState::Done,
            complete: true,
            reason: "x".into(),
        }),
        Command::Container(ContainerCommand::Approve {
            id: ContainerId(6),
            fingerprint: "aa".into(),
            token,
            condition: Condition::Any,
        }),
        Command::Container(ContainerCommand::Adopt {
            id: ContainerId(6),
            term,
            engine_container: "ab".into(),
            token: None,
            adopted: false,
            reason: "x".into(),
        }),
    ]
}

/// Some commands, as proposals.
pub(super) fn proposals() -> Vec<Proposal> {
    let put = ConfigCommand::Put {
        name: "a".parse().expect("a name"),
        content_type: "text/plain".into(),
        value: vec![1, 2, 3].into(),
        condition: Condition::Version(vec![7]),
    };
    let commands = [
        Command::Config(put),
        Command::Cluster(ClusterCommand::AllocateManager {
            token: JoinTokenId(1),
            incarnation: 2,
        }),
        Command::Cluster(ClusterCommand::RetireManager(3)),
    ];
    let commands = commands.into_iter().chain(scanned());
    let keyed = |command| Proposal {
        at: Millis(5),
        by: crate::command::Principal::Manager,
        key: Some(RequestKey {
            principal: TokenId(1),
            key: "k".into(),
            fingerprint: 9,
        }),
        command,
    };
    commands.map(keyed).collect()
}

fn asked<Q: Question>(question: &Q) -> Asked {
    Asked {
        number: 1,
        id: Q::ID,
        body: postcard::to_stdvec(question).expect("a question encodes").into(),
    }
}

/// Inputs to begin with.
pub fn peer_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for lane in [
        Lane::APPEND,
        Lane::CONTROL,
        Lane::SNAPSHOT,
        Lane::FORWARD,
        Lane::JOIN,
    ] {
        seeds.push([&[0], &frame(&Hello::sample(lane))[..]].concat());
    }
    let open = Welcome::Open {
        incarnation: 3,
        version: 4,
    };
    seeds.push([&[1], &frame(&open)[..]].concat());
    let vote = Vote::new_committed(3, 1);
    let asked = [
        asked(&Propose(proposals())),
        asked(&ReadIndex(vote)),
        asked(&AskVote(openraft::raft::VoteRequest::new(
            vote,
            Some(log_id(2, 9)),
        ))),
        asked(&Change(MembershipRequest::Transfer { to: Some(2) })),
        asked(&Probe),
    ];
    seeds.extend(asked.iter().map(|asked| [&[2], &frame(asked)[..]].concat()));
    let answers = [
        Answered::Done(vec![4].into()),
        Answered::Refused("x".into()),
        Answered::Lost("x".into()),
    ];
    seeds.extend(
        answers
            .iter()
            .map(|answer| [&[3], &frame(&(1_u64, answer))[..]].concat()),
    );
    let pieces = [
        Piece::Begin { vote, meta: meta() },
        Piece::Part(vec![1; 20].into()),
        Piece::End,
    ];
    seeds.extend(pieces.iter().map(|piece| [&[5], &frame(piece)[..]].concat()));
    seeds.extend(
        [Taken::More, Taken::Failed("x".into())]
            .iter()
            .map(|taken| [&[6], &frame(taken)[..]].concat()),
    );
    let entries = (1..)
        .zip(proposals())
        .map(|(index, proposal)| Entry {
            log_id: log_id(3, index),
            payload: EntryPayload::Normal(proposal),
        })
        .collect();
    let append = AppendEntriesRequest::<TypeConfig> {
        vote,
        prev_log_id: Some(log_id(2, 0)),
        entries,
        leader_commit: None,
    };
    seeds.push([&[4], &frame(&append)[..]].concat());
    seeds
}

/// A snapshot file: any bytes, or a whole one around any head and any state.
///
/// # Panics
/// When something does not hold.
pub fn snapshot_file(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let file = memfd_create(c"snapshot", MFdFlags::empty()).expect("a file in memory");
    let mut file = File::from(file);
    if kind % 2 == 0 {
        file.write_all(rest).expect("memory");
    } else {
        let Some((length, rest)) = rest.split_first() else {
            return;
        };
        let (meta, payload) = rest.split_at(usize::from(*length).min(rest.len()));
        format::write(&file, 5, meta, |out| out.write_all(payload)).expect("memory");
    }
    let Ok(snapshot) = SnapshotFile::check(Arc::new(file)) else {
        return;
    };
    let _ = decode_meta(&snapshot);
    let Ok(state) = read_state(&snapshot) else { return };
    let mut once = Vec::new();
    state.write_to(&mut once).expect("memory");
    let again = State::read_from(&once[..]).expect("what was written is read");
    let mut twice = Vec::new();
    again.write_to(&mut twice).expect("memory");
    assert_eq!(twice, once);
}

fn meta() -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(log_id(1, 3)),
        last_membership: StoredMembership::default(),
    }
}

/// Inputs to begin with.
pub fn snapshot_seeds() -> Vec<Vec<u8>> {
    let mut state = State::default();
    for proposal in proposals() {
        state.apply(state.revision() + 1, 1, &proposal);
    }
    let mut payload = Vec::new();
    state.write_to(&mut payload).expect("memory");
    let meta = postcard::to_stdvec(&meta()).expect("a head can be written");
    let mut raw = vec![0];
    format::write(&mut raw, 3, &meta, |out| out.write_all(&payload)).expect("memory");
    // Well below 256 bytes.
    let sealed = [&[1, meta.len() as u8], &meta[..], &payload].concat();
    vec![raw, sealed]
}
