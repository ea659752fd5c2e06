//! How managers speak to each other: framed postcard over streams that are already authenticated.
//!
//! A connection serves one purpose, its [`Lane`], so that a snapshot or a large batch never delays a
//! heartbeat. It begins with a [`Hello`]: which manager, with which data directory, wants which
//! manager. Both sides refuse a manager whose incarnation differs from the one the membership
//! holds: its data were wiped, and its votes and acknowledgements of before with them.
//!
//! The streams come from a [`Dial`] and go to [`serve::Server::serve`]: TLS over TCP in the real
//! program, anything else in a simulation.

mod append;
mod control;
mod link;
mod serve;

use std::{fmt::Debug, io, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

pub(super) use self::{
    append::AppendLane,
    control::Links,
    link::{Link, LinkError},
    serve::serve,
};
use super::{
    error::{MembershipError, ProposeError},
    handle::{Digest, Status},
    types::{SnapshotMeta, TypeConfig, Vote},
};
use crate::{
    command::{Proposal, Reply},
    model::{ContainerId, ManagerId, Member, Millis, PeerInfo, Revision, Sampled, Sight},
    wire::{self, WireError},
};

/// The version of the types below.
const PROTOCOL: u32 = 3;

/// The largest frame between managers: a batch of entries, each with a config of up to 256 KiB.
pub(super) const MAX_FRAME_BYTES: usize = 64 << 20;

/// How long dialling and the first two frames may take.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// Any two-way byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A stream whose other end is known.
pub type BoxedStream = Box<dyn Stream>;

/// Opens authenticated streams to other managers.
pub trait Dial: Debug + Send + Sync + 'static {
    /// Connects to the peer address of a manager.
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<BoxedStream>>;
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Lane {
    /// Pipelined log entries; nothing else.
    Append,
    /// Heartbeats, votes, handing over leadership.
    Control,
    /// Snapshots.
    Snapshot,
    /// Proposals, reads, digests and membership changes on their way to the leader; questions to any manager.
    Forward,
    /// Questions of a manager that is no member yet.
    Join,
}

/// The first frame of a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    protocol: u32,
    from: ManagerId,
    incarnation: u64,
    to: ManagerId,
    lane: Lane,
}

#[cfg(feature = "fuzzing")]
impl Hello {
    pub fn sample(lane: Lane) -> Self {
        Self {
            protocol: PROTOCOL,
            from: 1,
            incarnation: 2,
            to: 3,
            lane,
        }
    }
}

/// The answer to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Welcome {
    Open { incarnation: u64 },
    Refused { reason: String },
}

/// A request on any lane but `Append`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Heartbeat(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    Transfer(TransferLeaderRequest<TypeConfig>),
    SnapshotBegin {
        vote: Vote,
        meta: SnapshotMeta,
    },
    SnapshotPart(Bytes),
    SnapshotEnd,
    Propose(Vec<Proposal>),
    /// With the vote of the manager that asks, taken after its reads arrived.
    ReadIndex(Vote),
    Status,
    Digest(Digest),
    AddManager {
        id: ManagerId,
        member: Member,
    },
    RemoveManager {
        id: ManagerId,
    },
    TransferLeadership {
        to: Option<ManagerId>,
    },
    Probe,
    Look,
    /// What the manager that is asked holds of a container, from a moment on.
    Samples {
        container: ContainerId,
        since: Millis,
    },
    /// What the manager that is asked sees of its neighbours.
    Sight,
}

/// The answer to a request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Response {
    Heartbeat(AppendEntriesResponse<TypeConfig>),
    Vote(VoteResponse<TypeConfig>),
    Transfer(TransferLeaderResponse<TypeConfig>),
    Taken,
    Snapshot(SnapshotResponse<TypeConfig>),
    Proposed(Vec<Result<Reply, ForwardError>>),
    ReadIndex(Revision),
    Status(Status),
    Membership(Result<(), MembershipError>),
    Probe(Probe),
    Failed(String),
    Samples(Vec<Sampled>),
    Sight(Sight),
}

/// Why a forwarded proposal has no reply.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum ForwardError {
    /// It had no effect; another leader may take it.
    NotTaken(String),
    /// Its fate is unknown.
    Unknown(String),
}

impl From<ForwardError> for ProposeError {
    fn from(error: ForwardError) -> Self {
        match error {
            ForwardError::NotTaken(why) => Self::NotTaken(why),
            ForwardError::Unknown(why) => Self::Unknown(why),
        }
    }
}

/// What a manager says of itself to one that is about to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Probe {
    /// Who answers: at an address that was known, another manager may live by now.
    pub id: ManagerId,
    /// Whether it has a membership.
    pub initialized: bool,
    /// The incarnation that its membership holds for the one who asks.
    pub knows: Option<u64>,
}

/// This manager's side of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Me {
    pub id: ManagerId,
    pub incarnation: u64,
}

/// Connects, says hello and checks who answers.
pub(super) async fn open(
    dial: &dyn Dial,
    me: Me,
    lane: Lane,
    target: ManagerId,
    info: &PeerInfo,
    expected: Option<u64>,
) -> io::Result<(BoxedStream, u64)> {
    let handshake = async {
        let mut stream = dial.dial(info.peer.clone()).await?;
        let hello = Hello {
            protocol: PROTOCOL,
            from: me.id,
            incarnation: me.incarnation,
            to: target,
            lane,
        };
        wire::write_frame(&mut stream, &hello, MAX_FRAME_BYTES)
            .await
            .map_err(io_error)?;
        let welcome = wire::read_frame(&mut stream, MAX_FRAME_BYTES)
            .await
            .map_err(io_error)?;
        match welcome {
            Some(Welcome::Open { incarnation }) if expected.is_none_or(|e| e == incarnation) => {
                Ok((stream, incarnation))
            }
            Some(Welcome::Open { .. }) => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "manager {target} answers with another data directory than the cluster knows: remove it and join it again as a new manager"
                ),
            )),
            Some(Welcome::Refused { reason }) => {
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason))
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    timeout(HANDSHAKE, handshake)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn io_error(error: WireError) -> io::Error {
    match error {
        WireError::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
