//! What planted bugs of the proposer do; see [`planted`](crate::planted).

use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::Mutex;

use super::{
    core::{Core, Route},
    proposer::Offered,
};
use crate::{command::Proposal, state::State};

/// The term, and the state as it will be once all that was answered early is applied.
static AHEAD: Mutex<Option<(u64, State)>> = Mutex::const_new(None);

/// Proposals whose retries nobody recognizes.
pub(super) fn without_keys(mut proposals: Vec<Proposal>) -> Vec<Proposal> {
    proposals.iter_mut().for_each(|proposal| proposal.key = None);
    proposals
}

/// Appends proposals and answers what they will come to, if all goes well.
pub(super) async fn answered_early(core: &Core, mut proposals: Vec<Proposal>) -> Vec<Offered> {
    let refused = |count| (0..count).map(|_| Offered::NotTaken).collect();
    if !matches!(core.route(), Route::Here) {
        return refused(proposals.len());
    }
    // Held until they are in the log, so that the guess at their indexes is right.
    let mut ahead = AHEAD.lock().await;
    let (term, last) = {
        let metrics = core.raft.metrics();
        let metrics = metrics.borrow_watched();
        (metrics.current_term, metrics.last_log_index.unwrap_or(0))
    };
    let now = core.clock.now();
    proposals.iter_mut().for_each(|proposal| proposal.at = now);
    let mut state = match ahead.take() {
        Some((then, state)) if then == term && state.revision() >= last => state,
        _ => core.shared.lock().clone(),
    };
    let first = state.revision().max(last) + 1;
    let count = proposals.len();
    let replies: Vec<_> = (first..)
        .zip(&proposals)
        .map(|(revision, proposal)| Offered::Answered(state.apply(revision, term, proposal)))
        .collect();
    if core.raft.client_write_many(proposals).await.is_err() {
        return refused(count);
    }
    *ahead = Some((term, state));
    replies
}
