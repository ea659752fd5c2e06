//! What the tasks behind the handle share: the raft core, the ways to other managers, and the answers
//! to what they ask.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use openraft::{ReadPolicy, alias::SnapshotOf, async_runtime::watch::WatchReceiver, raft::SnapshotResponse};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{Instant, timeout},
};

use super::{
    append,
    error::{MembershipError, ReadError},
    handle::{MembershipRequest, Shared},
    proposer,
    questions::{
        AskPreVote, AskStatus, AskVote, Change, ForwardError, Heartbeat, Join, Probe, Probed, Propose,
        ReadIndex, Transfer,
    },
    reads,
    runtime::blocking,
    snapshot_lane,
    snapshot_store::{Incoming, SnapshotFile, SnapshotStore},
    types::{Raft, SnapshotMeta, TypeConfig, Vote},
};
use crate::{
    command::{Proposal, Reply},
    model::{ManagerId, Member, Millis, Revision},
    peers::{Lane, Link, Me, Members, Peers, Standing},
};

/// How long one round of a quorum may take before it is given up.
pub(super) const ROUND: Duration = Duration::from_millis(500);

/// Shared by the tasks of one manager.
pub(super) struct Core {
    pub me: Me,
    pub raft: Raft,
    pub shared: Arc<Shared>,
    pub snapshots: Arc<SnapshotStore>,
    pub peers: Peers,
    /// The ways to the leader, kept while it leads.
    pub leader_links: Mutex<Option<LeaderLinks>>,
    /// One change of the managers at a time.
    pub changing: Semaphore,
    pub clock: Clock,
    pub began: Instant,
    /// When a leader was last heard, in milliseconds after `began`.
    pub silent_since: AtomicU64,
}

/// Proposals have a connection of their own: an answer that is late on the other one, where it may be
/// given up soon, must not cost them theirs.
#[derive(Debug, Clone)]
pub(super) struct LeaderLinks {
    pub leader: ManagerId,
    pub proposals: Arc<Link>,
    pub questions: Arc<Link>,
}

/// The clock that proposals are stamped with: the wall clock of the start, carried on by the monotonic
/// one. A wall clock that jumps later moves nothing.
#[derive(Debug)]
pub struct Clock {
    wall: Millis,
    began: Instant,
}

impl Clock {
    /// Starts with this machine's wall clock.
    pub fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::starting_at(Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Starts now with `wall`.
    pub fn starting_at(wall: Millis) -> Self {
        Self {
            wall,
            began: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Millis {
        self.wall.after(self.began.elapsed())
    }
}

fn millis_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

/// Where a request for the leader goes.
pub(super) enum Route {
    Here,
    There(LeaderLinks),
    Nowhere,
}

impl Core {
    /// The way to whoever leads, as far as is known here.
    pub fn route(&self) -> Route {
        let (leader, member) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let Some(leader) = metrics.current_leader else {
                return Route::Nowhere;
            };
            (
                leader,
                metrics.membership_config.membership().get_node(&leader).cloned(),
            )
        };
        if leader == self.me.id {
            return Route::Here;
        }
        let Some(member) = member else {
            return Route::Nowhere;
        };
        let mut kept = self.leader_links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(links) = kept.as_ref().filter(|links| links.leader == leader) {
            return Route::There(links.clone());
        }
        let link = || Arc::new(self.peers.link(Lane::FORWARD, leader, member.clone()));
        let links = LeaderLinks {
            leader,
            proposals: link(),
            questions: link(),
        };
        *kept = Some(links.clone());
        Route::There(links)
    }

    /// Returns once `leader` leads no more, as far as is known here.
    pub async fn leads_no_more(&self, leader: ManagerId) {
        let mut metrics = self.raft.server_metrics();
        while metrics.borrow_watched().current_leader == Some(leader) {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until another manager leads, or `at_most`.
    pub async fn leader_change(&self, at_most: Duration) {
        let mut metrics = self.raft.server_metrics();
        let before = metrics.borrow_watched().current_leader;
        let changed = async {
            while metrics.borrow_watched().current_leader == before {
                if metrics.changed().await.is_err() {
                    // The raft core is gone. Who waits here asks again afterwards: it must not do so at once.
                    std::future::pending::<()>().await;
                }
            }
        };
        let _ = tokio::time::timeout(at_most, changed).await;
    }

    /// An index that every write acknowledged before this call is at or below. Only on the leader.
    pub async fn read_index(&self) -> Result<Revision, String> {
        planted!(SkipReadindexQuorum => return Ok(self.shared.revision.load(Ordering::Acquire)););
        let linearizer = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
        linearizer
            .map(|l| l.read_log_id().index())
            .map_err(|error| error.to_string())
    }

    /// This manager's vote: whom it follows, as of some moment within this call. `None` when raft has ended.
    pub async fn vote(&self) -> Option<Vote> {
        self.raft.with_raft_state(|state| *state.vote_ref()).await.ok()
    }

    /// An index for the reads that wait at manager `from`, whose vote was `vote` after they arrived. Where the
    /// two managers are a quorum that question is the whole round; else a round of this manager has to follow.
    async fn read_index_for(&self, from: ManagerId, vote: Vote) -> Result<Revision, ReadError> {
        let me = self.me.id;
        let asked = self
            .raft
            .with_raft_state(move |state| reads::confirmed(state, me, from, vote));
        match asked.await {
            Ok(Some(index)) => Ok(index),
            Ok(None) => self.join_read_round().await,
            Err(_) => Err(ReadError::Stopping),
        }
    }

    /// Joins the next read round of this manager.
    async fn join_read_round(&self) -> Result<Revision, ReadError> {
        let (answer, wait) = oneshot::channel();
        self.shared
            .reads
            .send(answer)
            .await
            .map_err(|_| ReadError::Stopping)?;
        wait.await.unwrap_or(Err(ReadError::Stopping))
    }

    /// Notes that the leader was heard.
    pub fn heard(&self) {
        self.silent_since
            .store(millis_since(self.began), Ordering::Relaxed);
    }

    /// For how long no leader was heard. Raft remembers the last leader for ever.
    pub fn silence(&self) -> Duration {
        let now = millis_since(self.began);
        Duration::from_millis(now.saturating_sub(self.silent_since.load(Ordering::Relaxed)))
    }

    /// A joiner may ask any manager; this one finds the leader.
    async fn answer_join(&self, id: ManagerId, member: Member) -> Result<(), MembershipError> {
        let (answer, wait) = oneshot::channel();
        let call = (MembershipRequest::Add { id, member }, answer);
        let stopping = || MembershipError::Unconfirmed("this manager is stopping".into());
        if self.shared.membership.send(call).await.is_err() {
            return Err(stopping());
        }
        wait.await.unwrap_or_else(|_| Err(stopping()))
    }

    fn probed(&self, from: ManagerId) -> Probed {
        let (initialized, knows) = match self.standing(from) {
            Standing::Unformed => (false, None),
            Standing::Member { incarnation } => (true, Some(incarnation)),
            Standing::Stranger => (true, None),
        };
        Probed {
            id: self.me.id,
            initialized,
            knows,
        }
    }

    /// Puts a received snapshot into place.
    pub async fn install(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        receiver: Incoming,
    ) -> Result<SnapshotResponse<TypeConfig>, String> {
        self.heard();
        let finished = blocking(move || receiver.install()).await;
        let file: SnapshotFile = finished.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        let snapshot: SnapshotOf<TypeConfig, SnapshotFile> = openraft::Snapshot { meta, snapshot: file };
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        installed.map_err(|error| error.to_string())
    }

    /// Refuses what only the leader can answer.
    fn leads(&self) -> Result<(), String> {
        match self.route() {
            Route::Here => Ok(()),
            _ => Err("this manager does not lead".into()),
        }
    }

    async fn answer_proposals(&self, proposals: Vec<Proposal>) -> Vec<Result<Reply, ForwardError>> {
        #[cfg(feature = "planted")]
        let proposals = if planted!(IdempotencyIgnoredOnForward) {
            super::planted::without_keys(proposals)
        } else {
            proposals
        };
        proposer::take_forwarded(self, proposals).await
    }

    async fn answer_read_index(&self, from: ManagerId, vote: Vote) -> Result<Revision, String> {
        match timeout(ROUND, self.read_index_for(from, vote)).await {
            Ok(Ok(revision)) => Ok(revision),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no quorum confirmed this manager".into()),
        }
    }
}

impl Members for Core {
    fn standing(&self, id: ManagerId) -> Standing {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        if membership.nodes().next().is_none() {
            return Standing::Unformed;
        }
        match membership.get_node(&id) {
            Some(member) => Standing::Member {
                incarnation: member.incarnation,
            },
            None => Standing::Stranger,
        }
    }

    fn others(&self) -> BTreeMap<ManagerId, Member> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.membership().nodes();
        let others = nodes.filter(|(id, _)| **id != self.me.id);
        others.map(|(id, member)| (*id, member.clone())).collect()
    }
}

/// Registers what this manager's consensus answers others.
pub(super) fn register(core: &Arc<Core>) {
    let peers = &core.peers;
    peers.set_members(core);
    peers.take(Lane::APPEND, core, |core, _, stream| append::serve(core, stream));
    peers.take(Lane::SNAPSHOT, core, |core, _, stream| {
        snapshot_lane::serve(core, stream)
    });
    register_votes(core);
    peers.answer(Lane::FORWARD, core, |core, _, Propose(proposals)| async move {
        Ok(core.answer_proposals(proposals).await)
    });
    peers.answer(Lane::FORWARD, core, |core, from, ReadIndex(vote)| async move {
        core.leads()?;
        core.answer_read_index(from, vote).await
    });
    peers.answer(Lane::FORWARD, core, |core, _, AskStatus| async move {
        core.leads()?;
        Ok(core.shared.status.borrow().clone())
    });
    peers.answer(Lane::FORWARD, core, |core, _, Change(request)| async move {
        core.leads()?;
        Ok(core.change(request).await)
    });
    peers.answer(Lane::JOIN, core, |core, from, Probe| async move {
        Ok(core.probed(from))
    });
    peers.answer(Lane::JOIN, core, |core, from, Join { member }| async move {
        Ok(core.answer_join(from, member).await)
    });
}

fn register_votes(core: &Arc<Core>) {
    let peers = &core.peers;
    peers.answer(Lane::CONTROL, core, |core, _, Heartbeat(rpc)| async move {
        let answer = core.raft.append_entries(rpc).await.map_err(|e| e.to_string())?;
        core.heard();
        Ok(answer)
    });
    peers.answer(Lane::CONTROL, core, |core, _, AskVote(rpc)| async move {
        core.raft.vote(rpc).await.map_err(|e| e.to_string())
    });
    peers.answer(Lane::CONTROL, core, |core, _, AskPreVote(rpc)| async move {
        core.raft.pre_vote(rpc).await.map_err(|e| e.to_string())
    });
    peers.answer(Lane::CONTROL, core, |core, _, Transfer(rpc)| async move {
        core.raft
            .handle_transfer_leader(rpc)
            .await
            .map_err(|e| e.to_string())
    });
}
