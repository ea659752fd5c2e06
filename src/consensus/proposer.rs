//! Takes proposals to the leader, in batches, wherever it is.
//!
//! What may become of a proposal, and what the client is told:
//!
//! - no leader took it before its deadline: it certainly had no effect (`NotTaken`);
//! - a leader refused it before append (`ForwardToLeader`), or the frame never left: it is offered
//!   again, to whoever leads then;
//! - it was appended, or may have been, and its fate is not known at the deadline, or its leader
//!   fell: `Unknown`, unless it carries an idempotency key, when offering it again is safe.

use std::{mem, sync::Arc, time::Duration};

use futures::StreamExt;
use openraft::error::ClientWriteError;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout_at},
};

use super::{
    core::{Core, LeaderLinks, Route},
    error::ProposeError,
    handle::{DEADLINE, Pending},
    questions::{ForwardError, Propose},
};
use crate::{
    command::{Proposal, Reply},
    peers::AskError,
};

/// Proposals that travel together at most.
const BATCH: usize = 512;

/// Bytes that travel together at most.
const BATCH_BYTES: usize = 8 << 20;

/// Batches on their way to another leader at most; what comes meanwhile travels together.
const UNDER_WAY: usize = 3;

/// How long the answer of a leader may take beyond the deadline of the proposals themselves.
const MARGIN: Duration = Duration::from_millis(200);

/// Drains what waits and carries it on, until the handle is gone.
pub(super) async fn run(core: Arc<Core>, mut queue: mpsc::UnboundedReceiver<Pending>) {
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    let mut waiting = Vec::with_capacity(BATCH);
    loop {
        if waiting.is_empty() && queue.recv_many(&mut waiting, BATCH).await == 0 {
            return;
        }
        // In the order of their deadlines. Who waits for a place is answered in time like any other.
        let first = waiting
            .first()
            .map_or_else(Instant::now, |p: &Pending| p.deadline);
        let place = timeout_at(first, places.clone().acquire_owned()).await;
        // What came meanwhile travels along.
        while waiting.len() < BATCH
            && let Ok(more) = queue.try_recv()
        {
            waiting.push(more);
        }
        let Ok(Ok(place)) = place else {
            let now = Instant::now();
            waiting
                .extract_if(.., |p| p.deadline <= now)
                .for_each(Pending::give_up);
            continue;
        };
        // Raft batches by itself: the leader's own proposals need no places.
        let mut place = (!matches!(core.route(), Route::Here)).then_some(place);
        for batch in by_bytes(mem::take(&mut waiting)) {
            let (core, place) = (core.clone(), place.take());
            tokio::spawn(async move {
                carry(&core, batch).await;
                drop(place);
            });
        }
    }
}

fn by_bytes(pending: Vec<Pending>) -> Vec<Vec<Pending>> {
    let (mut batches, mut bytes) = (vec![Vec::new()], 0);
    for one in pending {
        let size = one.bytes;
        if bytes > 0 && bytes + size > BATCH_BYTES {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        // There always is a last batch.
        if let Some(batch) = batches.last_mut() {
            batch.push(one);
        }
    }
    batches
}

/// Offers a batch until each proposal is answered.
async fn carry(core: &Core, mut batch: Vec<Pending>) {
    loop {
        let now = Instant::now();
        let (left, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(|p| p.deadline > now);
        late.into_iter().for_each(Pending::give_up);
        if left.is_empty() {
            return;
        }
        batch = match core.route() {
            Route::Here => offer_here(core, left).await,
            Route::There(links) => offer_there(core, &links, left).await,
            Route::Nowhere => left,
        };
        if !batch.is_empty() {
            core.leader_change(Duration::from_millis(20)).await;
        }
    }
}

/// What became of one offer.
pub(super) enum Offered {
    Answered(Reply),
    NotTaken,
    Unknown(String),
}

impl Pending {
    /// Answers at the deadline.
    fn give_up(self) {
        let why = format!("none did within {DEADLINE:?}");
        // An earlier offer may still take effect.
        let error = if self.uncertain {
            ProposeError::Unknown(why)
        } else {
            ProposeError::NotTaken(why)
        };
        let _ = self.answer.send(Err(error));
    }

    /// Passes the answer on, or gives the proposal back to be offered again.
    fn settle(mut self, offered: Offered) -> Option<Self> {
        let answer = match offered {
            Offered::Answered(reply) => Ok(reply),
            Offered::NotTaken => return Some(self),
            Offered::Unknown(why) if planted!(TimeoutAsFailed) => Err(ProposeError::NotTaken(why)),
            // With a key the next offer finds the first one's answer, if it had one.
            Offered::Unknown(_)
                if (self.proposal.key.is_some() || planted!(RetryWithoutKey))
                    && self.deadline > Instant::now() =>
            {
                self.uncertain = true;
                return Some(self);
            }
            Offered::Unknown(why) => Err(ProposeError::Unknown(why)),
        };
        failpoint!("reply");
        // Nobody waits any more: the client went away, the effect stays.
        let _ = self.answer.send(answer);
        None
    }
}

/// Offers a batch to the raft core here. Returns what was not taken.
async fn offer_here(core: &Core, batch: Vec<Pending>) -> Vec<Pending> {
    let deadline = latest(&batch);
    let proposals = batch.iter().map(|p| p.proposal.clone()).collect();
    let offers = append(core, proposals, deadline).await;
    batch
        .into_iter()
        .zip(offers)
        .filter_map(|(pending, offered)| pending.settle(offered))
        .collect()
}

/// Appends proposals and waits for each one's fate until `deadline`.
async fn append(core: &Core, mut proposals: Vec<Proposal>, deadline: Instant) -> Vec<Offered> {
    planted!(CommitOnAppend => return super::planted::answered_early(core, proposals).await;);
    let count = proposals.len();
    // One clock for all: the leader's. A follower's that is wrong must not move log time.
    let now = core.clock.now();
    proposals.iter_mut().for_each(|proposal| proposal.at = now);
    let mut offers = Vec::with_capacity(count);
    let mut results = match core.raft.client_write_many(proposals).await {
        // Fused: raft that stops ends it early, and it may not be asked again then.
        Ok(results) => results.fuse(),
        Err(fatal) => {
            offers.resize_with(count, || Offered::Unknown(fatal.to_string()));
            return offers;
        }
    };
    while offers.len() < count {
        offers.push(match timeout_at(deadline, results.next()).await {
            Ok(Some(Ok(Ok(written)))) => Offered::Answered(written.response),
            Ok(Some(Ok(Err(ClientWriteError::ForwardToLeader(_))))) => Offered::NotTaken,
            Ok(Some(Ok(Err(error)))) => Offered::Unknown(error.to_string()),
            Ok(Some(Err(fatal))) => Offered::Unknown(fatal.to_string()),
            Ok(None) => Offered::Unknown("raft gave no answer".into()),
            Err(_) => Offered::Unknown("no quorum confirmed it in time".into()),
        });
    }
    offers
}

/// Offers a batch to the leader elsewhere. Returns what was not taken.
async fn offer_there(core: &Core, links: &LeaderLinks, batch: Vec<Pending>) -> Vec<Pending> {
    let proposals = Propose(batch.iter().map(|p| p.proposal.clone()).collect());
    let limit = latest(&batch).saturating_duration_since(Instant::now()) + MARGIN;
    let settle_all = |batch: Vec<Pending>, offered: &dyn Fn() -> Offered| {
        batch
            .into_iter()
            .filter_map(|pending| pending.settle(offered()))
            .collect()
    };
    failpoint!("forward");
    // A leader that fell silently must not hold its proposals until their deadline.
    let answer = tokio::select! {
        answer = links.proposals.ask(&proposals, limit) => answer,
        () = core.leads_no_more(links.leader) => Err(AskError::Lost("another manager leads now".into())),
    };
    failpoint!("forwarded");
    match answer {
        Ok(results) if results.len() == batch.len() => {
            let offered = results.into_iter().map(|result| match result {
                Ok(reply) => Offered::Answered(reply),
                Err(ForwardError::NotTaken(_)) => Offered::NotTaken,
                Err(ForwardError::Unknown(why)) => Offered::Unknown(why),
            });
            batch
                .into_iter()
                .zip(offered)
                .filter_map(|(pending, offered)| pending.settle(offered))
                .collect()
        }
        Err(AskError::NotSent(_) | AskError::Refused(_)) => batch,
        Ok(_) => settle_all(batch, &|| {
            Offered::Unknown("the leader's answer makes no sense".into())
        }),
        Err(error) => settle_all(batch, &|| {
            Offered::Unknown(format!("the leader was lost on the way: {error}"))
        }),
    }
}

/// The leader's side of a forwarded batch: one offer, and no passing on, so that no frame circles.
pub(super) async fn take_forwarded(
    core: &Core,
    proposals: Vec<Proposal>,
) -> Vec<Result<Reply, ForwardError>> {
    let into_result = |offered| match offered {
        Offered::Answered(reply) => Ok(reply),
        Offered::NotTaken => Err(ForwardError::NotTaken("this manager does not lead".into())),
        Offered::Unknown(why) => Err(ForwardError::Unknown(why)),
    };
    planted!(ForwardAnsweredEarly => {
        let early = super::planted::answered_early(core, proposals).await;
        return early.into_iter().map(into_result).collect();
    });
    let offered = append(core, proposals, Instant::now() + DEADLINE).await;
    failpoint!("reply-forwarded");
    offered.into_iter().map(into_result).collect()
}

fn latest(batch: &[Pending]) -> Instant {
    batch
        .iter()
        .map(|p| p.deadline)
        .max()
        .unwrap_or_else(Instant::now)
}
