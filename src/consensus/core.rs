//! What the tasks behind the handle share: the raft core, the ways to other managers, and the answers
//! to what they ask.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use openraft::{ReadPolicy, alias::SnapshotOf, async_runtime::watch::WatchReceiver};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{Instant, timeout},
};

use super::{
    elsewhere::Held,
    error::{MembershipError, ReadError},
    handle::{Digest, DigestAck, MembershipRequest, Shared},
    peers::{Dial, Lane, Link, Links, Me, Probe, Request, Response},
    proposer, reads,
    runtime::blocking,
    snapshot_store::{Incoming, SnapshotFile, SnapshotStore},
    types::{Raft, SnapshotMeta, TypeConfig, Vote},
};
use crate::model::{ManagerId, Member, Millis, Revision};

/// How long one round of a quorum may take before it is given up.
pub(super) const ROUND: Duration = Duration::from_millis(500);

/// Told of each digest that reaches the leader, before a quorum confirms it.
pub type OnDigest = Arc<dyn Fn(&Digest) + Send + Sync>;

/// Shared by the tasks of one manager.
pub(super) struct Core {
    pub me: Me,
    pub raft: Raft,
    pub shared: Arc<Shared>,
    pub snapshots: Arc<SnapshotStore>,
    pub dial: Arc<dyn Dial>,
    pub on_digest: OnDigest,
    pub held: Arc<dyn Held>,
    /// The ways to all others for what can't wait.
    pub control: Arc<Links>,
    /// The ways to all others, for what each of them holds.
    pub questions: Links,
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

/// What the membership here says of a manager.
pub(super) enum Standing {
    /// There is no membership yet.
    Unformed,
    /// It is a member, with this data directory.
    Member { incarnation: u64 },
    /// There is a membership, without it.
    Stranger,
}

/// Where a request for the leader goes.
pub(super) enum Route {
    Here,
    There(LeaderLinks),
    Nowhere,
}

impl Core {
    pub fn standing(&self, id: ManagerId) -> Standing {
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
        let link = || {
            Arc::new(Link::new(
                self.dial.clone(),
                self.me,
                Lane::Forward,
                leader,
                member.clone(),
            ))
        };
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

    /// Counts a digest, and is confirmed by a quorum afterwards; fails unless this manager led all the
    /// while. The shared round would not do: it goes on at another leader, which counted nothing.
    pub async fn count(&self, digest: &Digest) -> Result<DigestAck, ReadError> {
        (self.on_digest)(digest);
        match timeout(ROUND, self.read_index()).await {
            Ok(Ok(_)) => Ok(DigestAck),
            Ok(Err(why)) => Err(ReadError::NoQuorum(why)),
            Err(_) => Err(ReadError::NoQuorum(format!("none within {ROUND:?}"))),
        }
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

    /// Answers a request of another manager.
    pub async fn answer(&self, from: ManagerId, lane: Lane, request: Request) -> Response {
        match (lane, request) {
            (Lane::Control, request) => self.answer_control(request).await,
            (Lane::Forward, request) => self.answer_forward(from, request).await,
            (Lane::Join, Request::Probe) => Response::Probe(self.probe(from)),
            (Lane::Join, Request::AddManager { id, member }) if id == from => {
                self.answer_add(id, member).await
            }
            _ => Response::Failed("this request does not belong on this lane".into()),
        }
    }

    async fn answer_control(&self, request: Request) -> Response {
        let failed = |error: String| Response::Failed(error);
        match request {
            Request::Heartbeat(rpc) => match self.raft.append_entries(rpc).await {
                Ok(answer) => {
                    self.heard();
                    Response::Heartbeat(answer)
                }
                Err(error) => failed(error.to_string()),
            },
            Request::Vote(rpc) => match self.raft.vote(rpc).await {
                Ok(answer) => Response::Vote(answer),
                Err(error) => failed(error.to_string()),
            },
            Request::PreVote(rpc) => match self.raft.pre_vote(rpc).await {
                Ok(answer) => Response::Vote(answer),
                Err(error) => failed(error.to_string()),
            },
            Request::Transfer(rpc) => match self.raft.handle_transfer_leader(rpc).await {
                Ok(answer) => Response::Transfer(answer),
                Err(error) => failed(error.to_string()),
            },
            Request::Look => Response::Taken,
            _ => failed("this request does not belong on the control lane".into()),
        }
    }

    async fn answer_forward(&self, from: ManagerId, request: Request) -> Response {
        let not_leader = || Response::Failed("this manager does not lead".into());
        let leads = matches!(self.route(), Route::Here);
        match request {
            #[cfg(feature = "planted")]
            Request::Propose(proposals) if planted!(IdempotencyIgnoredOnForward) => {
                let keyless = super::planted::without_keys(proposals);
                Response::Proposed(proposer::take_forwarded(self, keyless).await)
            }
            Request::Propose(proposals) => {
                Response::Proposed(proposer::take_forwarded(self, proposals).await)
            }
            Request::Samples { container, since } => Response::Samples(self.held.samples(container, since)),
            Request::Sight => Response::Sight(self.sight()),
            Request::Status if leads => Response::Status(self.shared.status.borrow().clone()),
            Request::ReadIndex(vote) if leads => {
                match timeout(ROUND, self.read_index_for(from, vote)).await {
                    Ok(Ok(revision)) => Response::ReadIndex(revision),
                    Ok(Err(error)) => Response::Failed(error.to_string()),
                    Err(_) => Response::Failed("no quorum confirmed this manager".into()),
                }
            }
            Request::Digest(digest) if leads => match self.count(&digest).await {
                Ok(DigestAck) => Response::Taken,
                Err(error) => Response::Failed(error.to_string()),
            },
            Request::RemoveManager { id } if leads => {
                Response::Membership(self.change(MembershipRequest::Remove { id }).await)
            }
            Request::TransferLeadership { to } if leads => {
                Response::Membership(self.change(MembershipRequest::Transfer { to }).await)
            }
            Request::AddManager { id, member } if leads => {
                Response::Membership(self.change(MembershipRequest::Add { id, member }).await)
            }
            _ => not_leader(),
        }
    }

    /// A joiner may ask any manager; this one finds the leader.
    async fn answer_add(&self, id: ManagerId, member: Member) -> Response {
        let (answer, wait) = oneshot::channel();
        let call = (MembershipRequest::Add { id, member }, answer);
        let stopping = || MembershipError::Unconfirmed("this manager is stopping".into());
        if self.shared.membership.send(call).await.is_err() {
            return Response::Membership(Err(stopping()));
        }
        Response::Membership(wait.await.unwrap_or_else(|_| Err(stopping())))
    }

    fn probe(&self, from: ManagerId) -> Probe {
        let (initialized, knows) = match self.standing(from) {
            Standing::Unformed => (false, None),
            Standing::Member { incarnation } => (true, Some(incarnation)),
            Standing::Stranger => (true, None),
        };
        Probe {
            id: self.me.id,
            initialized,
            knows,
        }
    }

    /// Puts a received snapshot into place.
    pub async fn install(&self, vote: Vote, meta: SnapshotMeta, receiver: Incoming) -> Response {
        self.heard();
        let finished = blocking(move || receiver.install()).await;
        let file: SnapshotFile = match finished {
            Ok(Ok(file)) => file,
            Ok(Err(error)) => return Response::Failed(error.to_string()),
            Err(error) => return Response::Failed(error.to_string()),
        };
        let snapshot: SnapshotOf<TypeConfig, SnapshotFile> = openraft::Snapshot { meta, snapshot: file };
        match self.raft.install_full_snapshot(vote, snapshot).await {
            Ok(answer) => Response::Snapshot(answer),
            Err(error) => Response::Failed(error.to_string()),
        }
    }
}
