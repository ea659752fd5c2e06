//! What must hold at every step, of every manager that runs.

use std::{cmp::Ordering, collections::BTreeMap};

use futures::FutureExt;
use openraft::{
    RaftTypeConfig,
    storage::{RaftLogReader, RaftLogStorage},
};
use quorate::{
    consensus::{TypeConfig, log_store::LogStore},
    model::{ManagerId, Revision},
    state::State,
};

use crate::{
    oracle::{NAMES, value_of},
    truth::{print, print_of},
    world::World,
};

type Vote = <TypeConfig as RaftTypeConfig>::Vote;

/// Revisions after which a state is compared byte by byte.
const COMPARE_EVERY: u64 = 64;

/// What was last seen of a manager.
#[derive(Debug, Default)]
pub struct Seen {
    /// Kept across restarts: what was durable must come back.
    pub vote: Option<Vote>,
    committed: Option<u64>,
    revision: Option<Revision>,
    purged: Option<u64>,
    /// The next index of its log to hold against the truth.
    next: u64,
    /// The revision from which on the next comparison byte by byte is due.
    compare_at: Revision,
}

impl Seen {
    /// A new process starts from what is durable.
    pub fn begin(&mut self) {
        *self = Self {
            vote: self.vote,
            ..Self::default()
        };
    }

    pub fn revision(&self) -> Option<Revision> {
        self.revision
    }
}

/// Who led in each term.
#[derive(Debug, Default)]
pub struct Leaders(BTreeMap<u64, ManagerId>);

/// What one look at a manager's log shows.
struct Look {
    vote: Option<Vote>,
    committed: Option<u64>,
    purged: Option<u64>,
}

fn look(log: &mut LogStore<TypeConfig>) -> Option<Look> {
    // None of these waits for anything.
    let vote = log.read_vote().now_or_never()?.ok()?;
    let committed = log.read_committed().now_or_never()?.ok()?;
    let state = log.get_log_state().now_or_never()?.ok()?;
    Some(Look {
        vote,
        committed: committed.map(|id| id.index),
        purged: state.last_purged_log_id.map(|id| id.index),
    })
}

/// Looks at every running manager.
pub fn step(world: &mut World, leaders: &mut Leaders) -> Result<(), String> {
    for id in world.live() {
        check(world, leaders, id).map_err(|why| format!("m{id}: {why}"))?;
    }
    world.oracle.judge()
}

fn check(world: &mut World, leaders: &mut Leaders, id: ManagerId) -> Result<(), String> {
    let node = world.nodes.get_mut(&id).expect("it is live");
    let Some(live) = &mut node.live else { return Ok(()) };
    let changed = live.applied.has_changed().unwrap_or(false);
    let revision = *live.applied.borrow_and_update();
    let (mut log, consensus) = (live.log.clone(), live.consensus.clone());
    let Some(look) = look(&mut log) else { return Ok(()) };
    check_vote(world, leaders, id, look.vote)?;

    let seen = &mut world.node(id).seen;
    if look.committed < seen.committed {
        return Err(format!(
            "committed went from {:?} to {:?}",
            seen.committed, look.committed
        ));
    }
    if seen.revision.is_some_and(|before| revision < before) {
        return Err(format!("applied went from {:?} to {revision}", seen.revision));
    }
    let moved = look.committed != seen.committed || changed || seen.revision.is_none();
    let installed = look.purged != seen.purged;
    seen.committed = look.committed;
    seen.purged = look.purged;
    if !moved && !installed {
        return Ok(());
    }
    if !compare_log(world, id, &mut log, &look, revision)? {
        // Its storage died in this tick; what it did not show any more, others will.
        return Ok(());
    }
    let state = consensus.state();
    world.node(id).seen.revision = Some(revision);
    compare_state(world, id, &state, installed)
}

fn check_vote(
    world: &mut World,
    leaders: &mut Leaders,
    id: ManagerId,
    vote: Option<Vote>,
) -> Result<(), String> {
    let seen = &mut world.node(id).seen;
    if vote == seen.vote {
        return Ok(());
    }
    // Two votes may be such that neither is before the other: that is wrong as well.
    if !matches!(vote.partial_cmp(&seen.vote), Some(Ordering::Greater)) {
        return Err(format!("its vote went from {:?} to {vote:?}", seen.vote));
    }
    seen.vote = vote;
    world.note(format!(
        "m{id} vote {}",
        vote.map_or_else(String::new, |v| v.to_string())
    ));
    let Some(vote) = vote.filter(|vote| vote.committed) else {
        return Ok(());
    };
    let (term, leader) = (vote.leader_id.term, vote.leader_id.voted_for);
    let known = *leaders.0.entry(term).or_insert_with(|| {
        world.happened.leaders += 1;
        leader
    });
    if known == leader {
        return Ok(());
    }
    Err(format!("in term {term} both {known} and {leader} were elected"))
}

/// Holds the committed part of a manager's log against the truth, and extends the truth. False if the
/// log can't be read any more.
fn compare_log(
    world: &mut World,
    id: ManagerId,
    log: &mut LogStore<TypeConfig>,
    look: &Look,
    revision: Revision,
) -> Result<bool, String> {
    let end = look.committed.map_or(0, |at| at + 1).max(revision + 1);
    let from = world.node(id).seen.next.max(look.purged.map_or(0, |at| at + 1));
    let Some(Ok(entries)) = log.try_get_log_entries(from..end).now_or_never() else {
        return Ok(false);
    };
    for entry in &entries {
        let index = entry.log_id.index;
        match world.truth.print_at(index) {
            Some(known) if known == print_of(entry) => {}
            Some(_) => return Err(format!("it committed another entry at {index}: {entry}")),
            None => {
                world.truth.take(entry, &mut world.oracle)?;
                world.note(format!("m{id} commits {} {:016x}", entry.log_id, print_of(entry)));
            }
        }
        world.node(id).seen.next = index + 1;
    }
    Ok(true)
}

fn compare_state(world: &mut World, id: ManagerId, state: &State, installed: bool) -> Result<(), String> {
    let revision = state.revision();
    if state.term() == 0 && revision == 0 {
        return Ok(());
    }
    let Some(replayed) = world.truth.state(revision) else {
        return Err(format!("it has applied {revision}, and nobody committed that"));
    };
    for name in NAMES {
        let (here, expected) = (value_of(state, name), world.oracle.value(name, revision));
        if here != expected {
            return Err(format!(
                "at {revision} it has {name} as {here:?}, not {expected:?}"
            ));
        }
    }
    let seen = &world.nodes[&id].seen;
    if !installed && revision < seen.compare_at {
        return Ok(());
    }
    let (here, there) = (bytes(state), bytes(replayed));
    if here != there {
        return Err(format!(
            "its state at {revision} is {:016x}, a replay gives {:016x}",
            print(&here),
            print(&there)
        ));
    }
    state.check().map_err(|violation| violation.to_string())?;
    world.happened.full_checks += 1;
    world.node(id).seen.compare_at = revision + COMPARE_EVERY;
    world.note(format!("m{id} has {:016x} at {revision}", print(&here)));
    Ok(())
}

fn bytes(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.write_to(&mut bytes).expect("memory takes it");
    bytes
}

/// Compares every serving manager's state byte by byte: at the end, when all is quiet.
pub fn all_equal(world: &mut World) -> Result<(), String> {
    for id in world.live() {
        let state = world.nodes[&id].live.as_ref().map(|live| live.consensus.state());
        if let Some(state) = state {
            compare_state(world, id, &state, true).map_err(|why| format!("m{id}: {why}"))?;
        }
    }
    world.oracle.judge()?;
    world.oracle.finish()
}
