//! What the tasks behind the handle share: the raft core, the ways to other managers, and the answers
//! to what they ask.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use openraft::{ReadPolicy, alias::SnapshotOf, async_runtime::watch::WatchReceiver};
use tokio::sync::oneshot;

use super::{
    error::{MembershipError, ReadError},
    handle::{Digest, DigestAck, MembershipRequest, Shared},
    peers::{Dial, Lane, Link, Me, Probe, Request, Response},
    proposer,
    snapshot_store::{Incoming, SnapshotFile, SnapshotStore},
    types::{Raft, SnapshotMeta, TypeConfig, Vote},
};
use crate::model::{ManagerId, Member, Revision};

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
    /// The way to the leader, kept while it leads.
    pub leader_link: Mutex<Option<(ManagerId, Arc<Link>)>>,
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
    There(Arc<Link>),
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
        let mut kept = self.leader_link.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((id, link)) = kept.as_ref().filter(|(id, _)| *id == leader) {
            let _ = id;
            return Route::There(link.clone());
        }
        let link = Arc::new(Link::new(
            self.dial.clone(),
            self.me,
            Lane::Forward,
            leader,
            member,
        ));
        *kept = Some((leader, link.clone()));
        Route::There(link)
    }

    /// Waits until another manager leads, or `at_most`.
    pub async fn leader_change(&self, at_most: Duration) {
        let mut metrics = self.raft.server_metrics();
        let before = metrics.borrow_watched().current_leader;
        let changed = async {
            while metrics.borrow_watched().current_leader == before {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(at_most, changed).await;
    }

    /// An index that every write acknowledged before this call is at or below. Only on the leader.
    pub async fn read_index(&self) -> Result<Revision, String> {
        let linearizer = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
        linearizer
            .map(|l| l.read_log_id().index())
            .map_err(|error| error.to_string())
    }

    /// Joins the next read round of this manager.
    pub async fn join_read_round(&self) -> Result<Revision, ReadError> {
        let (answer, wait) = oneshot::channel();
        self.shared
            .reads
            .send(answer)
            .await
            .map_err(|_| ReadError::Stopping)?;
        wait.await.unwrap_or(Err(ReadError::Stopping))
    }

    /// Counts a digest on the leader; the acknowledgement comes after a quorum confirmed it.
    pub async fn count(&self, digest: &Digest) -> Result<DigestAck, ReadError> {
        (self.on_digest)(digest);
        self.join_read_round().await.map(|_| DigestAck)
    }

    /// Answers a request of another manager.
    pub async fn answer(&self, from: ManagerId, lane: Lane, request: Request) -> Response {
        match (lane, request) {
            (Lane::Control, request) => self.answer_control(request).await,
            (Lane::Forward, request) => self.answer_forward(request).await,
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
                Ok(answer) => Response::Heartbeat(answer),
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
            _ => failed("this request does not belong on the control lane".into()),
        }
    }

    async fn answer_forward(&self, request: Request) -> Response {
        let not_leader = || Response::Failed("this manager does not lead".into());
        let leads = matches!(self.route(), Route::Here);
        match request {
            Request::Propose(proposals) => {
                Response::Proposed(proposer::take_forwarded(self, proposals).await)
            }
            Request::Status if leads => Response::Status(self.shared.status.borrow().clone()),
            Request::ReadIndex if leads => match self.join_read_round().await {
                Ok(revision) => Response::ReadIndex(revision),
                Err(error) => Response::Failed(error.to_string()),
            },
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
        match self.standing(from) {
            Standing::Unformed => Probe {
                initialized: false,
                knows: None,
            },
            Standing::Member { incarnation } => Probe {
                initialized: true,
                knows: Some(incarnation),
            },
            Standing::Stranger => Probe {
                initialized: true,
                knows: None,
            },
        }
    }

    /// Puts a received snapshot into place.
    pub async fn install(&self, vote: Vote, meta: SnapshotMeta, receiver: Incoming) -> Response {
        let finished = tokio::task::spawn_blocking(move || receiver.install()).await;
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
