//! The handle that the rest of the program holds.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};

use super::{
    error::{MembershipError, ProposeError, ReadError},
    figures::Figures,
};
use crate::{
    command::{Command, Principal, Proposal, Reply, RequestKey},
    model::{ManagerId, Member, Millis, PeerInfo, Revision},
    peers::MAX_FRAME_BYTES,
    state::State,
};

/// How long a write or a linearizable read waits for a leader and a quorum before it says so.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// Bytes of proposals that one manager holds at most.
pub(super) const PROPOSAL_BYTES: usize = 64 << 20;

/// Entries that are replicated together at most.
pub(super) const ENTRIES_TOGETHER: u64 = 128;

/// Bytes of one proposal at most. Entries travel together in one frame: were they larger, followers could not be
/// sent what was committed.
pub const MAX_PROPOSAL_BYTES: usize = 500 << 10;

/// Room in a frame of entries for what is not a proposal, for each.
const ENTRY_HEAD: usize = 1 << 10;
const _: () = assert!(ENTRIES_TOGETHER as usize * (MAX_PROPOSAL_BYTES + ENTRY_HEAD) < MAX_FRAME_BYTES);

/// What a proposal takes in memory besides its own bytes, about.
const PENDING_BYTES: usize = 256;

/// Reads that wait for a round at most.
pub(super) const READ_QUEUE: usize = 16 * 1024;

/// A proposal on its way, with the place for its answer.
#[derive(Debug)]
pub(super) struct Pending {
    pub proposal: Proposal,
    /// Of the proposal, in a frame.
    pub bytes: usize,
    pub deadline: Instant,
    /// An earlier offer may have had its effect.
    pub uncertain: bool,
    pub answer: oneshot::Sender<Result<Reply, ProposeError>>,
    /// Its share of what this manager holds at most.
    pub _place: OwnedSemaphorePermit,
}

/// A linearizable read that waits for a round.
pub(super) type ReadWaiter = oneshot::Sender<Result<Revision, ReadError>>;

/// A change of the managers, carried out on the leader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum MembershipRequest {
    Add { id: ManagerId, member: Member },
    Remove { id: ManagerId },
    Transfer { to: Option<ManagerId> },
}

pub(super) type MembershipCall = (MembershipRequest, oneshot::Sender<Result<(), MembershipError>>);

/// Whether this manager leads, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// The term it leads in.
    pub term: u64,
}

/// One manager as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerStatus {
    /// Its id.
    pub id: ManagerId,
    /// Where it is reached.
    pub info: PeerInfo,
    /// Whether it votes; a learner only copies the log.
    pub voter: bool,
    /// Whether the leader heard from it lately (a follower only knows this of itself and the leader).
    pub healthy: bool,
    /// The log index it is known to hold; its own applied revision for this manager.
    pub applied: Option<Revision>,
}

/// The cluster as this manager sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// This manager.
    pub id: ManagerId,
    /// Who leads, as far as is known here.
    pub leader: Option<ManagerId>,
    /// The term.
    pub term: u64,
    /// What is applied here.
    pub applied: Revision,
    /// All managers.
    pub managers: BTreeMap<ManagerId, ManagerStatus>,
}

/// Everything behind the handle that readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub id: ManagerId,
    /// The state as of the last entry. Apply holds the lock while it works through a chunk of entries,
    /// others only while they clone, which costs a few reference counts.
    pub current: Mutex<State>,
    /// A version of it that readers share. Behind it by nothing but writes of configs: publishing a
    /// version makes the next writes copy what they touch, so it is done when someone looks.
    pub published: ArcSwap<State>,
    pub revision: AtomicU64,
    pub objects: watch::Sender<Revision>,
    pub figures: Figures,
    pub applied: watch::Sender<Revision>,
    pub status: watch::Sender<Status>,
    pub leadership: watch::Sender<Option<Leadership>>,
    /// Bytes of proposals that may be under way; bounds the queue below.
    pub places: Arc<Semaphore>,
    pub proposals: mpsc::UnboundedSender<Pending>,
    pub reads: mpsc::Sender<ReadWaiter>,
    pub membership: mpsc::Sender<MembershipCall>,
    pub confirmations: mpsc::Sender<ReadWaiter>,
}

impl Shared {
    /// The state as of the last entry, published for whoever looks next.
    pub fn state(&self) -> Arc<State> {
        let published = self.published.load();
        if published.revision() >= self.revision.load(Ordering::Acquire) {
            return Arc::clone(&published);
        }
        drop(published);
        self.publish(&self.lock())
    }

    /// Publishes what the lock holds. Under it, so that versions are published in their order.
    pub fn publish(&self, current: &MutexGuard<'_, State>) -> Arc<State> {
        let version = Arc::new((**current).clone());
        self.published.store(version.clone());
        version
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        // Apply does not panic; if it did, raft's core would end, and the process with it.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Proposes, reads, watches. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Consensus {
    pub(super) shared: Arc<Shared>,
}

impl Consensus {
    /// This manager's id.
    pub fn id(&self) -> ManagerId {
        self.shared.id
    }

    /// Proposes a command and waits for its answer.
    ///
    /// The proposal does not depend on the caller: one that goes away cancels nothing.
    ///
    /// # Errors
    /// [`ProposeError`]: without an effect, or with an unknown one.
    pub async fn propose(
        &self,
        by: Principal,
        key: Option<RequestKey>,
        command: Command,
    ) -> Result<Reply, ProposeError> {
        let (answer, wait) = oneshot::channel();
        let proposal = Proposal {
            at: Millis::default(), // stamped by the leader
            by,
            key,
            command,
        };
        let bytes = proposal.bytes();
        if bytes > MAX_PROPOSAL_BYTES {
            return Err(ProposeError::TooLarge { bytes });
        }
        // Far below u32::MAX.
        let size = (bytes + PENDING_BYTES) as u32;
        let places = self.shared.places.clone();
        let place = places
            .try_acquire_many_owned(size)
            .map_err(|_| ProposeError::Overloaded)?;
        let began = Instant::now();
        let deadline = began + DEADLINE;
        let pending = Pending {
            proposal,
            bytes,
            deadline,
            uncertain: false,
            answer,
            _place: place,
        };
        self.shared
            .proposals
            .send(pending)
            .map_err(|_| ProposeError::Stopping)?;
        // The proposer answers each pending proposal; it only drops one when the process ends.
        let answer = wait.await;
        self.shared.figures.proposals.increment(1);
        self.shared.figures.proposal_seconds.record(began.elapsed());
        answer.unwrap_or_else(|_| Err(ProposeError::Unknown("this manager stopped".into())))
    }

    /// The state as of now or later: everything acknowledged anywhere before this call is in it.
    ///
    /// # Errors
    /// [`ReadError::NoQuorum`] within [`DEADLINE`].
    pub async fn read(&self) -> Result<Arc<State>, ReadError> {
        let deadline = Instant::now() + DEADLINE;
        let (answer, wait) = oneshot::channel();
        self.shared.reads.try_send(answer).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => ReadError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => ReadError::Stopping,
        })?;
        match timeout_at(deadline, wait).await {
            Ok(Ok(Ok(_))) if planted!(ReadBeforeApply) => Ok(self.state()),
            Ok(Ok(Ok(index))) => self.at_least(index, deadline).await,
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(_)) => Err(ReadError::Stopping),
            Err(_) => Err(ReadError::NoQuorum(format!("none within {DEADLINE:?}"))),
        }
    }

    /// The state as it is here, which may be old.
    pub fn state(&self) -> Arc<State> {
        self.shared.state()
    }

    /// As [`Self::state`], without the latest writes of configs, and cheaper: for a short look, not to be
    /// held across an await.
    pub fn objects(&self) -> Guard<Arc<State>> {
        self.shared.published.load()
    }

    /// The state once this manager has applied `revision`.
    ///
    /// # Errors
    /// [`ReadError::Behind`] at `deadline`.
    pub async fn at_least(&self, revision: Revision, deadline: Instant) -> Result<Arc<State>, ReadError> {
        if self.shared.revision.load(Ordering::Acquire) >= revision {
            return Ok(self.state());
        }
        let mut applied = self.shared.applied.subscribe();
        let reached = timeout_at(deadline, applied.wait_for(|now| *now >= revision)).await;
        match reached {
            Ok(Ok(_)) => Ok(self.state()),
            Ok(Err(_)) => Err(ReadError::Stopping),
            Err(_) => Err(ReadError::Behind {
                wanted: revision,
                applied: self.state().revision(),
            }),
        }
    }

    /// Wakes after each applied batch, with the revision that is published.
    pub fn watch_applied(&self) -> watch::Receiver<Revision> {
        self.shared.applied.subscribe()
    }

    /// Wakes after a command about anything but configs, with its revision; [`Self::objects`] has it.
    pub fn watch_objects(&self) -> watch::Receiver<Revision> {
        self.shared.objects.subscribe()
    }

    /// Wakes when this manager starts or stops leading. `Some` means it was elected and has applied
    /// everything that was committed before.
    pub fn watch_leadership(&self) -> watch::Receiver<Option<Leadership>> {
        self.shared.leadership.subscribe()
    }

    /// The cluster as this manager sees it.
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Who leads, as far as is known here.
    pub fn leader(&self) -> Option<ManagerId> {
        self.shared.status.borrow().leader
    }

    /// Where runners reach the managers, voters that are known to be well first.
    pub fn session_addresses(&self) -> Vec<String> {
        let status = self.shared.status.borrow();
        let mut managers: Vec<_> = status.managers.values().collect();
        managers.sort_by_key(|manager| !(manager.voter && (manager.healthy || manager.id == self.id())));
        let sessions = managers.into_iter().map(|manager| manager.info.session.clone());
        sessions.filter(|address| !address.is_empty()).collect()
    }

    /// Wakes when the status changes.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// Removes a manager for ever, unless that would cost the quorum.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn remove_manager(&self, id: ManagerId) -> Result<(), MembershipError> {
        self.change(MembershipRequest::Remove { id }).await
    }

    /// Hands leadership to another voter: `to`, or the one furthest ahead.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn transfer_leadership(&self, to: Option<ManagerId>) -> Result<(), MembershipError> {
        self.change(MembershipRequest::Transfer { to }).await
    }

    async fn change(&self, request: MembershipRequest) -> Result<(), MembershipError> {
        let stopping = || "this manager is stopping".to_owned();
        let (answer, wait) = oneshot::channel();
        let sent = self.shared.membership.send((request, answer)).await;
        sent.map_err(|_| MembershipError::NotTaken(stopping()))?;
        wait.await
            .unwrap_or_else(|_| Err(MembershipError::Unconfirmed(stopping())))
    }

    /// Returns once a quorum has confirmed, after this call began, that this manager leads.
    ///
    /// # Errors
    /// When it did not lead all the while, or nobody confirmed it in time.
    pub async fn confirm_leading(&self) -> Result<(), ReadError> {
        let (answer, wait) = oneshot::channel();
        self.shared
            .confirmations
            .send(answer)
            .await
            .map_err(|_| ReadError::Stopping)?;
        wait.await.unwrap_or(Err(ReadError::Stopping)).map(|_| ())
    }
}
