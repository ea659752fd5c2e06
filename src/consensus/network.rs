//! Raft's network: what openraft asks for, carried over the lanes.

use std::{
    future::Future,
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, TryFutureExt, future::BoxFuture, stream::BoxStream};
use openraft::{
    OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2,
    error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};

use super::{
    peers::{AppendLane, Dial, Lane, Link, LinkError, Me, Request, Response},
    runtime::blocking,
    snapshot_store::SnapshotFile,
    types::{Snapshot, TypeConfig, Vote},
};
use crate::model::{ManagerId, Member};

/// Votes wait for a durable write on the other side; heartbeats' limit is shorter than that.
const VOTE: Duration = Duration::from_secs(1);

/// Bytes of a snapshot sent at a time.
const PART: usize = 1 << 20;

/// One part of a snapshot, or its installation, may take this long.
const SNAPSHOT_STEP: Duration = Duration::from_secs(60);

/// After a failure: short at first, so that a restarted manager is found at once, and never longer
/// than an election takes.
const BACKOFF: [Duration; 4] = [
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
];

/// Makes a connection's worth of lanes for each target.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub dial: Arc<dyn Dial>,
    pub me: Me,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: ManagerId, node: &Member) -> Peer {
        self.peer(Lane::Control, target, node)
    }

    // Each client has connections of its own, so these two never share one with replication.
    async fn new_heartbeat_client(&mut self, target: ManagerId, node: &Member) -> Peer {
        self.peer(Lane::Control, target, node)
    }

    async fn new_snapshot_client(&mut self, target: ManagerId, node: &Member) -> Peer {
        self.peer(Lane::Snapshot, target, node)
    }
}

impl Network {
    fn peer(&self, lane: Lane, target: ManagerId, member: &Member) -> Peer {
        let (dial, me, member) = (self.dial.clone(), self.me, member.clone());
        let link = Link::new(dial.clone(), me, lane, target, member.clone());
        Peer {
            me: me.id,
            target,
            link,
            append: AppendLane {
                dial,
                me,
                target,
                member,
            },
        }
    }
}

/// The way to one manager.
#[derive(Debug)]
pub(super) struct Peer {
    me: ManagerId,
    target: ManagerId,
    link: Link,
    append: AppendLane,
}

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

impl Peer {
    async fn ask(&self, action: RPCTypes, request: Request, limit: Duration) -> Rpc<Response> {
        match self.link.call(request, limit).await {
            Ok(Response::Failed(why)) => Err(NetworkError::from_string(why).into()),
            Ok(response) => Ok(response),
            Err(error @ LinkError::NotSent(_)) => Err(Unreachable::new(&error).into()),
            Err(LinkError::Lost(_)) => Err(Timeout {
                action,
                id: self.me,
                target: self.target,
                timeout: limit,
            }
            .into()),
        }
    }

    fn unreachable(error: &io::Error) -> RPCError<TypeConfig> {
        RPCError::Unreachable(Unreachable::new(error))
    }
}

fn unexpected<T>() -> Rpc<T> {
    Err(NetworkError::from_string("the answer is of another kind than the question").into())
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        match self
            .ask(
                RPCTypes::AppendEntries,
                Request::Heartbeat(rpc),
                option.soft_ttl(),
            )
            .await?
        {
            Response::Heartbeat(answer) => Ok(answer),
            _ => unexpected(),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        // An answer waits for the other side's disk: its limit is not the heartbeat's.
        let answers = self.append.stream(input, Duration::from_secs(2));
        let to_rpc = |stream: BoxStream<'static, io::Result<_>>| {
            stream.map(|r| r.map_err(|e| Self::unreachable(&e))).boxed()
        };
        answers
            .map_ok(to_rpc)
            .map_err(|error| Self::unreachable(&error))
            .boxed()
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        match self
            .ask(RPCTypes::Vote, Request::Vote(rpc), option.soft_ttl().max(VOTE))
            .await?
        {
            Response::Vote(answer) => Ok(answer),
            _ => unexpected(),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        match self
            .ask(RPCTypes::Vote, Request::PreVote(rpc), option.soft_ttl())
            .await?
        {
            Response::Vote(answer) => Ok(answer),
            _ => unexpected(),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        match self
            .ask(
                RPCTypes::TransferLeader,
                Request::Transfer(req),
                option.soft_ttl().max(VOTE),
            )
            .await?
        {
            Response::Transfer(answer) => Ok(answer),
            _ => unexpected(),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot) => Ok(sent?),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let last = BACKOFF[BACKOFF.len() - 1];
        Some(Backoff::new(BACKOFF.into_iter().chain(std::iter::repeat(last))))
    }
}

impl Peer {
    async fn send_snapshot(&self, vote: Vote, snapshot: Snapshot) -> Rpc<SnapshotResponse<TypeConfig>> {
        let step = |request| self.ask(RPCTypes::InstallSnapshot, request, SNAPSHOT_STEP);
        step(Request::SnapshotBegin {
            vote,
            meta: snapshot.meta,
        })
        .await?;
        let mut file = snapshot.snapshot.raw_reader();
        loop {
            let read = move || {
                let mut part = Vec::with_capacity(PART);
                (&mut file)
                    .take(PART as u64)
                    .read_to_end(&mut part)
                    .map(|_| (file, part))
            };
            let (left, part) = blocking(read)
                .await
                .flatten()
                .map_err(|error| Self::unreachable(&error))?;
            if part.is_empty() {
                break;
            }
            file = left;
            step(Request::SnapshotPart(part.into())).await?;
        }
        match step(Request::SnapshotEnd).await? {
            Response::Snapshot(answer) => Ok(answer),
            _ => unexpected(),
        }
    }
}
