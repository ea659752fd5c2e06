//! Linearizable reads: one ReadIndex round for all that wait.
//!
//! A round begins after each of its reads arrived, so its index covers every write acknowledged
//! before any of them. While one round is under way the next one's reads gather. On the leader a
//! round asks a quorum; elsewhere it asks the leader.
//!
//! The question to the leader carries the vote of the manager that asks, taken after its reads arrived.
//! If that is still for the leader, and both of them together are a quorum, no round of the leader is
//! needed: a later leader that was elected before the reads arrived would have had the vote of one of the
//! two, and neither had given it. So the leader has committed all that was acknowledged before them.
//! This takes no clock and no lease. In a cluster of more than three the leader's own next round is joined.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use openraft::{RaftState, vote::RaftLeaderId};
use tokio::{sync::mpsc, time::Instant};

use super::{
    core::{Core, ROUND, Route},
    error::ReadError,
    handle::ReadWaiter,
    questions::ReadIndex,
    types::{TypeConfig, Vote},
};
use crate::model::{ManagerId, Revision};

/// What the way to the leader and back may add to a round.
const MARGIN: Duration = Duration::from_millis(100);

/// Pause after a round without a leader; a change of leader ends it early.
const PAUSE: Duration = Duration::from_millis(20);

/// Serves waiting reads until the handle is gone.
pub(super) async fn run(core: Arc<Core>, mut queue: mpsc::Receiver<ReadWaiter>) {
    let mut waiting: Vec<ReadWaiter> = Vec::new();
    loop {
        if waiting.is_empty() && queue.recv_many(&mut waiting, usize::MAX).await == 0 {
            return;
        }
        while let Ok(more) = queue.try_recv() {
            waiting.push(more);
        }
        let began = Instant::now();
        let index = round(&core).await;
        core.shared.figures.round_seconds.record(began.elapsed());
        match index {
            Some(index) => {
                for waiter in mem::take(&mut waiting) {
                    // Nobody waits any more: the client went away.
                    let _ = waiter.send(Ok(index));
                }
            }
            None => {
                // Readers give up by themselves at their deadline.
                waiting.retain(|waiter| !waiter.is_closed());
                core.leader_change(PAUSE).await;
            }
        }
    }
}

async fn round(core: &Core) -> Option<Revision> {
    match core.route() {
        Route::Here => tokio::time::timeout(ROUND, core.read_index()).await.ok()?.ok(),
        Route::There(_) if planted!(LocalReadOnFollower) => {
            Some(core.shared.revision.load(Ordering::Acquire))
        }
        Route::There(links) => {
            let question = ReadIndex(core.vote().await?);
            links.questions.ask(&question, ROUND + MARGIN).await.ok()
        }
        Route::Nowhere => None,
    }
}

/// On manager `me`, in its raft core: the index for reads that wait at `from`, whose vote was `vote` after
/// they arrived. `None` when that does not prove that `me` leads: not elected by this vote, nothing of
/// its own term committed yet (what was committed before it is not known then), or too few to be a quorum.
pub(super) fn confirmed(
    state: &RaftState<TypeConfig>,
    me: ManagerId,
    from: ManagerId,
    vote: Vote,
) -> Option<Revision> {
    let vote = if planted!(AskersVoteIgnored) {
        *state.vote_ref()
    } else {
        vote
    };
    let leads = vote.committed && *vote.leader_id.node_id() == me && *state.vote_ref() == vote;
    let committed = state.local_committed().filter(|_| leads)?;
    if *committed.committed_leader_id() != vote.leader_id.to_committed() {
        return None;
    }
    let quorum = |voters: &std::collections::BTreeSet<ManagerId>| {
        let agree = [me, from].iter().filter(|id| voters.contains(id)).count();
        agree * 2 > voters.len()
    };
    let membership = state.membership_state.effective();
    (me != from && membership.get_joint_config().iter().all(quorum)).then_some(committed.index())
}

/// Confirms that this manager leads, each time by a round of its own. The shared round would not do: it goes
/// on at another leader.
pub(super) async fn run_confirmations(core: Arc<Core>, mut queue: mpsc::Receiver<ReadWaiter>) {
    while let Some(answer) = queue.recv().await {
        let core = core.clone();
        tokio::spawn(async move {
            let confirmed = match tokio::time::timeout(ROUND, core.read_index()).await {
                Ok(Ok(index)) => Ok(index),
                Ok(Err(why)) => Err(ReadError::NoQuorum(why)),
                Err(_) => Err(ReadError::NoQuorum(format!("none within {ROUND:?}"))),
            };
            // Nobody waits any more: the connection of whoever asked has ended.
            let _ = answer.send(confirmed);
        });
    }
}
