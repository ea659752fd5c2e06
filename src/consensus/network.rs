//! Raft's network: what openraft asks for, carried over the lanes.

use std::{future::Future, io, sync::Arc, time::Duration};

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
    append::AppendLane,
    questions::{AskPreVote, AskVote, Heartbeat, Transfer},
    snapshot_lane::{self, STEP},
    snapshot_store::SnapshotFile,
    types::{Snapshot, TypeConfig, Vote},
};
use crate::{
    model::{ManagerId, Member},
    peers::{AskError, Link, Peers, Question},
};

/// Votes wait for a durable write on the other side; heartbeats' limit is shorter than that.
const VOTE: Duration = Duration::from_secs(1);

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
    pub peers: Peers,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    // For replication and for votes: raft makes a client of this kind for each vote it asks for.
    async fn new_client(&mut self, target: ManagerId, node: &Member) -> Peer {
        let append = AppendLane::new(self.peers.clone(), target, node.clone());
        self.peer(target, node, Some(append))
    }

    async fn new_heartbeat_client(&mut self, target: ManagerId, node: &Member) -> Peer {
        self.peer(target, node, None)
    }

    async fn new_snapshot_client(&mut self, target: ManagerId, node: &Member) -> Peer {
        self.peer(target, node, None)
    }
}

impl Network {
    fn peer(&self, target: ManagerId, member: &Member, append: Option<AppendLane>) -> Peer {
        Peer {
            peers: self.peers.clone(),
            target,
            member: member.clone(),
            control: self.peers.control(target, member),
            append,
        }
    }
}

/// The way to one manager.
#[derive(Debug)]
pub(super) struct Peer {
    peers: Peers,
    target: ManagerId,
    member: Member,
    control: Arc<Link>,
    /// Where streams of entries go; without it they go one by one over the control lane, as heartbeats do:
    /// raft makes a stream of each, and a connection for each would be made twenty times a second.
    append: Option<AppendLane>,
}

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

impl Peer {
    async fn ask<Q: Question>(&self, action: RPCTypes, question: Q, limit: Duration) -> Rpc<Q::Answer> {
        let answer = self.control.ask(&question, limit).await;
        answer.map_err(|error| self.failed(action, limit, error))
    }

    fn failed(&self, action: RPCTypes, limit: Duration, error: AskError) -> RPCError<TypeConfig> {
        match error {
            AskError::Refused(why) => NetworkError::from_string(why).into(),
            AskError::NotSent(_) => Unreachable::new(&error).into(),
            AskError::Lost(_) => Timeout {
                action,
                id: self.peers.me().id,
                target: self.target,
                timeout: limit,
            }
            .into(),
        }
    }

    fn unreachable(error: &io::Error) -> RPCError<TypeConfig> {
        RPCError::Unreachable(Unreachable::new(error))
    }
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
        self.ask(RPCTypes::AppendEntries, Heartbeat(rpc), limit).await
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
        let limit = option.soft_ttl().max(VOTE);
        self.ask(RPCTypes::Vote, AskVote(rpc), limit).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        self.ask(RPCTypes::Vote, AskPreVote(rpc), option.soft_ttl()).await
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        let limit = option.soft_ttl().max(VOTE);
        self.ask(RPCTypes::TransferLeader, Transfer(req), limit).await
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
            sent = snapshot_lane::send(&self.peers, self.target, &self.member, vote, snapshot) => {
                Ok(sent.map_err(|error| self.failed(RPCTypes::InstallSnapshot, STEP, error))?)
            }
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let last = BACKOFF[BACKOFF.len() - 1];
        Some(Backoff::new(BACKOFF.into_iter().chain(std::iter::repeat(last))))
    }
}
