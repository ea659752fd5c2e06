//! Fan-out: from each applied batch to the sessions whose container it changes.
//!
//! One task a manager looks at all its sessions after each batch, at most every [`PAUSE`] and for at
//! most about a tenth of one processor, so that a manager with thousands of sessions and thousands of
//! batches a second stays free for other things. A look costs two lookups and two pointer comparisons
//! a session: the state's values are shared between its versions, so what has the same address has not
//! changed. Only for a container that did change is the list of its agents made, and it is only sent
//! if it differs from the last one in what a runner acts on.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    slot::{Over, Slot},
    table::Table,
};
use crate::{
    consensus::Consensus,
    model::{
        Agent, AgentId, AgentState, Container, ContainerId, ContainerState, Desired, Revision,
        session::Assignment,
    },
    state::{Placed, State},
};

/// Between two looks at least.
const PAUSE: Duration = Duration::from_millis(5);

/// And at least this many times as long as the last look took.
const REST: u32 = 9;

/// What a session's container was when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Seen {
    revision: Revision,
    container: Option<Arc<Container>>,
    placed: Option<Placed>,
    /// What the runner was sent; `None` before the first list, which is sent even if it is empty.
    sent: Option<Vec<(AgentId, Revision, bool)>>,
}

/// Looks until `end`.
pub(super) async fn run(consensus: Consensus, table: Arc<Table>, end: CancellationToken) {
    let mut applied = consensus.watch_applied();
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            changed = applied.changed() => if changed.is_err() { return },
        }
        let began = Instant::now();
        // In this order: a session is listed only once its opening is in the state.
        let slots = table.all();
        let state = consensus.state();
        for slot in slots {
            look(&slot, &state);
        }
        sleep(PAUSE.max(began.elapsed() * REST)).await;
    }
}

/// Tells a session what changed for it, if anything did. `state` is not older than the session.
pub(super) fn look(slot: &Slot, state: &State) {
    let mut seen = slot.seen.lock().unwrap_or_else(PoisonError::into_inner);
    if state.revision() < seen.revision {
        return;
    }
    seen.revision = state.revision();
    let Some(container) = state.container(slot.container) else {
        return slot.end(Over::Removed);
    };
    if !seen.container.as_ref().is_some_and(|c| Arc::ptr_eq(c, container)) {
        if container.boot != slot.boot {
            return slot.end(replaced(container));
        }
        if container.fenced || container.state == ContainerState::Lost {
            return slot.end(Over::Lost(container.reason.clone()));
        }
        seen.container = Some(container.clone());
    }
    let placed = state.placed(slot.container);
    let same = match (placed, &seen.placed) {
        (Some(now), Some(then)) => now.agents.ptr_eq(&then.agents),
        (None, None) => true,
        _ => false,
    };
    if same && seen.sent.is_some() {
        return;
    }
    seen.placed = placed.cloned();
    let list = assignments(state, slot.container);
    let essence: Vec<_> = list.iter().map(|a| (a.agent, a.epoch, a.run)).collect();
    if seen.sent.as_ref() != Some(&essence) {
        seen.sent = Some(essence);
        slot.list(state.revision(), list);
    }
}

/// Zero stands for no living runner: this one's start was declared over.
fn replaced(container: &Container) -> Over {
    match container.boot {
        0 => Over::Lost(container.reason.clone()),
        _ => Over::Replaced,
    }
}

/// All agents that a container shall have. One whose process ended for good is not among them: its
/// runner has nothing left to do for it, and a restarted runner must not run it again.
fn assignments(state: &State, container: ContainerId) -> Vec<Assignment> {
    let over = |agent: &Agent| matches!(agent.state, AgentState::Stopped | AgentState::Failed);
    let assign = |agent: Arc<Agent>| Assignment {
        agent: agent.id,
        epoch: agent.epoch,
        run: agent.desired == Desired::Running,
        spec: agent.spec.clone(),
    };
    state
        .agents_of(container)
        .filter(|agent| !over(agent))
        .map(assign)
        .collect()
}
