//! What raft's metrics mean for the rest of the program: status, leadership, and the end.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use openraft::{Instant, ServerState, alias::InstantOf, async_runtime::watch::WatchReceiver};

use super::{
    core::{Core, Route},
    handle::{Leadership, ManagerStatus, Status},
    questions::AskStatus,
    types::{Raft, TypeConfig},
};
use crate::model::{ManagerId, Revision};

/// A manager that has acknowledged nothing to the leader for this long is not healthy.
pub(super) const HEALTHY: Duration = Duration::from_secs(2);

/// How often the status is looked at again without a change of raft's metrics.
const REFRESH: Duration = Duration::from_millis(500);

/// Why this manager must not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// What is agreed on can't be followed any more, or not as this manager.
    #[error("{0}")]
    Consensus(String),
    /// What was written may not be kept.
    #[error("{0}")]
    Storage(String),
}

/// Called when this manager must not go on; ends the process.
pub type Fatal = Arc<dyn Fn(Halt) + Send + Sync>;

/// What the leader knows of another manager.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follower {
    pub healthy: bool,
    /// When the last message that it acknowledged was sent.
    pub heard: Option<InstantOf<TypeConfig>>,
    pub matched: Option<Revision>,
}

/// What the leader knows of the others; empty elsewhere.
pub(super) fn followers(raft: &Raft) -> BTreeMap<ManagerId, Follower> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let heard = metrics.heartbeat.iter().flatten();
    heard
        .map(|(id, at)| {
            let heard = at.as_deref().copied();
            let matched = metrics
                .replication
                .as_ref()
                .and_then(|r| r.get(id).cloned().flatten());
            (
                *id,
                Follower {
                    healthy: heard.is_some_and(|at| at.elapsed() < HEALTHY),
                    heard,
                    matched: matched.map(|log_id| log_id.index),
                },
            )
        })
        .collect()
}

/// What this manager knows by itself.
pub(super) fn look(core: &Core) -> Status {
    let followers = followers(&core.raft);
    let applied = core.shared.revision.load(Ordering::Acquire);
    let metrics = core.raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = metrics.membership_config.membership();
    // Raft remembers the last leader for ever; one that is silent leads nobody.
    let silent = core.silence() > HEALTHY;
    let leader = metrics
        .current_leader
        .filter(|leader| *leader == core.me.id || !silent);
    let managers = membership.nodes().map(|(id, member)| {
        let me = *id == core.me.id;
        let follower = followers.get(id);
        let status = ManagerStatus {
            id: *id,
            info: member.info.clone(),
            voter: membership.voter_ids().any(|voter| voter == *id),
            healthy: me || leader == Some(*id) || follower.is_some_and(|f| f.healthy),
            applied: if me {
                Some(applied)
            } else {
                follower.and_then(|f| f.matched)
            },
        };
        (*id, status)
    });
    Status {
        id: core.me.id,
        leader,
        term: metrics.current_term,
        applied,
        managers: managers.collect(),
    }
}

/// Keeps the status of the handle current.
pub(super) async fn run(core: Arc<Core>) {
    let mut changes = core.raft.server_metrics();
    loop {
        let plain = look(&core);
        // A change of leader is told at once; the rest may wait for the leader's view.
        core.shared.status.send_if_modified(|known| {
            let changed = (known.leader, known.term) != (plain.leader, plain.term);
            if changed {
                known.clone_from(&plain);
            }
            changed
        });
        let status = with_leaders_view(&core, plain).await;
        core.shared.figures.show(&status);
        core.shared.status.send_if_modified(|known| {
            let changed = *known != status;
            *known = status;
            changed
        });
        if let Ok(Err(_)) = tokio::time::timeout(REFRESH, changes.changed()).await {
            return;
        }
    }
}

/// Only the leader hears from everybody: elsewhere its view of the others is added, when it answers.
async fn with_leaders_view(core: &Core, mut status: Status) -> Status {
    let Route::There(links) = core.route() else {
        return status;
    };
    if let Ok(view) = links.questions.ask(&AskStatus, REFRESH / 2).await {
        for (id, manager) in &mut status.managers {
            if *id != core.me.id
                && let Some(seen) = view.managers.get(id)
            {
                manager.healthy = seen.healthy;
                manager.applied = seen.applied;
            }
        }
    }
    status
}

/// Announces leadership once everything committed before it is applied here, and its end at once.
pub(super) async fn run_leadership(core: Arc<Core>) {
    let mut changes = core.raft.server_metrics();
    loop {
        let term = {
            let metrics = changes.borrow_watched();
            (metrics.state == ServerState::Leader).then_some(metrics.vote.leader_id.term)
        };
        let announced = core.shared.leadership.borrow().map(|l| l.term);
        if announced.is_some() && announced != term {
            core.shared.leadership.send_replace(None);
        }
        // Where it is not confirmed: look again soon, unless something changes before.
        if let Some(term) = term.filter(|term| announced != Some(*term))
            && confirm(&core).await
            && still_leads(&core, term)
        {
            core.shared.leadership.send_replace(Some(Leadership { term }));
        }
        if let Ok(Err(_)) = tokio::time::timeout(REFRESH, changes.changed()).await {
            return;
        }
    }
}

fn still_leads(core: &Core, term: u64) -> bool {
    let metrics = core.raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics.state == ServerState::Leader && metrics.current_term == term
}

async fn confirm(core: &Core) -> bool {
    let confirmed = async {
        if !matches!(core.route(), Route::Here) {
            return false;
        }
        let Ok(index) = core.read_index().await else {
            return false;
        };
        let mut applied = core.shared.applied.subscribe();
        applied.wait_for(|now| *now >= index).await.is_ok()
    };
    tokio::time::timeout(REFRESH, confirmed).await.unwrap_or(false)
}

/// Ends the process when raft's core has ended: it may do so while everything around it lives on.
pub(super) async fn run_watch(raft: Raft, fatal: Fatal) {
    let mut metrics = raft.metrics();
    loop {
        let state = metrics.borrow_watched().running_state.clone();
        match state {
            Ok(()) => {}
            Err(openraft::error::Fatal::Stopped) => return,
            Err(error) => {
                let why = format!("the raft core ended: {error}");
                return fatal(match error {
                    openraft::error::Fatal::StorageError(_) => Halt::Storage(why),
                    _ => Halt::Consensus(why),
                });
            }
        }
        if metrics.changed().await.is_err() {
            // Without a stop the channel only closes when the core is gone.
            return fatal(Halt::Consensus("the raft core ended without a word".into()));
        }
    }
}
