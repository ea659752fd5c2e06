//! Raft's network: what openraft asks for, carried over the lanes.

use std::{
    future::Future,
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use openraft::{
    OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2,
    error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{Backoff, RPCOption, stream_append_sequential},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};

use super::{
    peers::{AppendLane, Dial, Lane, Link, LinkError, Links, Me, Request, Response},
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

/// Makes the lanes to each target.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub dial: Arc<dyn Dial>,
    pub me: Me,
    pub control: Arc<Links>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    // For replication and for votes: raft makes a client of this kind for each vote it asks for.
    async fn new_client(&mut self, target: ManagerId, node: &Member) -> Peer {
        let append = AppendLane::new(self.dial.clone(), self.me, target, node.clone());
        self.peer(self.control.to(target, node), Some(append), target)
    }

    async fn new_heartbeat_client(&mut self, target: ManagerId, node: &Member) -> Peer {
        self.peer(self.control.to(target, node), None, target)
    }

    async fn new_snapshot_client(&mut self, target: ManagerId, node: &Member) -> Peer {
        let (dial, me) = (self.dial.clone(), self.me);
        let link = Link::new(dial, me, Lane::Snapshot, target, node.clone());
        self.peer(Arc::new(link), None, target)
    }
}

impl Network {
    fn peer(&self, link: Arc<Link>, append: Option<AppendLane>, target: ManagerId) -> Peer {
        Peer {
            me: self.me.id,
            target,
            link,
            append,
        }
    }
}

/// The way to one manager.
#[derive(Debug)]
pub(super) struct Peer {
    me: ManagerId,
    target: ManagerId,
    link: Arc<Link>,
    /// Where streams of entries go; without it they go one by one over the link, as heartbeats do: raft
    /// makes a stream of each, and a connection for each would be made twenty times a second.
    append: Option<AppendLane>,
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
        // All the time there is: raft ends the wait by itself.
        let limit = option.hard_ttl();
        match self
            .ask(RPCTypes::AppendEntries, Request::Heartbeat(rpc), limit)
            .await?
        {
            Response::Heartbeat(answer) => Ok(answer),
            _ => unexpected(),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let Some(append) = self.append.clone() else {
            return stream_append_sequential(self, input, option);
        };
        async move {
            // An answer waits for the other side's disk: its limit is not the heartbeat's.
            let answers = append.stream(input, Duration::from_secs(2)).await;
            let answers = answers.map_err(|error| Self::unreachable(&error))?;
            Ok(answers.map(|r| r.map_err(|e| Self::unreachable(&e))).boxed())
        }
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
