//! The committed log, as put together from the managers' logs, and its replay.
//!
//! The first manager that commits an index says what stands there; whoever has something else at an
//! index that it counts as committed, then or later, breaks the most basic promise.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{EntryPayload, RaftTypeConfig};
use quorate::{
    command::{Outcome, Reply},
    consensus::TypeConfig,
    model::{ManagerId, Revision},
    state::State,
};

use crate::oracle::Oracle;

pub type Entry = <TypeConfig as RaftTypeConfig>::Entry;

#[derive(Default)]
pub struct Truth {
    /// A fingerprint of each entry, by index.
    prints: Vec<u64>,
    /// The replayed state after each entry.
    states: Vec<State>,
    voters: Vec<BTreeSet<ManagerId>>,
    members: BTreeMap<ManagerId, u64>,
    /// The data directory that each id ever had.
    directories: BTreeMap<ManagerId, u64>,
    gone: BTreeSet<ManagerId>,
    last_term: u64,
}

/// A fingerprint of bytes.
pub fn print(bytes: &[u8]) -> u64 {
    // FNV-1a: the same each time and everywhere, and no adversary here.
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A fingerprint of an entry, all of it.
pub fn print_of(entry: &Entry) -> u64 {
    print(&postcard::to_stdvec(entry).expect("what the log stores has this form"))
}

impl Truth {
    /// The first index that is not known yet.
    pub fn end(&self) -> u64 {
        self.prints.len() as u64
    }

    pub fn print_at(&self, index: u64) -> Option<u64> {
        self.prints.get(usize::try_from(index).ok()?).copied()
    }

    /// The replayed state at a revision.
    pub fn state(&self, revision: Revision) -> Option<&State> {
        self.states.get(usize::try_from(revision).ok()?)
    }

    /// Every manager in the newest committed membership.
    pub fn members(&self) -> BTreeSet<ManagerId> {
        self.members.keys().copied().collect()
    }

    /// Whether the others can go on when this one never comes back.
    pub fn spares(&self, id: ManagerId) -> bool {
        self.voters
            .iter()
            .all(|voters| !voters.contains(&id) || voters.len() > 2)
    }

    /// Whether a manager was a member and was removed.
    pub fn lost_member(&self, id: ManagerId) -> bool {
        self.gone.contains(&id)
    }

    /// Whether a manager that was given its id lost the right to it: it is being removed.
    pub fn is_retired(&self, id: ManagerId, incarnation: u64, founders: u64) -> bool {
        id > founders
            && self
                .states
                .last()
                .is_some_and(|state| !state.may_join(id, incarnation))
    }

    /// Whether no change of the membership is half done.
    pub fn is_settled(&self) -> bool {
        self.voters.len() == 1
    }

    /// Takes the next entry.
    pub fn take(&mut self, entry: &Entry, oracle: &mut Oracle) -> Result<(), String> {
        let (index, term) = (entry.log_id.index, entry.log_id.committed_leader_id().term);
        if index != self.end() {
            return Err(format!(
                "an entry at {index} follows the committed ones, which end before {}",
                self.end()
            ));
        }
        if term < self.last_term {
            return Err(format!(
                "the entry at {index} is of term {term}, the one before of {}",
                self.last_term
            ));
        }
        self.last_term = term;
        let mut state = self.states.last().cloned().unwrap_or_default();
        match &entry.payload {
            EntryPayload::Normal(proposal) => {
                let reply = state.apply(index, term, proposal);
                oracle.take(index, Some(proposal), &reply)?;
            }
            EntryPayload::Blank => state.advance(index, term),
            EntryPayload::Membership(membership) => {
                state.advance(index, term);
                let nodes = membership.nodes().map(|(id, m)| (*id, m.incarnation)).collect();
                self.take_membership(index, membership.get_joint_config().clone(), nodes)?;
            }
        }
        if !matches!(entry.payload, EntryPayload::Normal(_)) {
            let none = Reply {
                revision: index,
                replayed: false,
                result: Ok(Outcome::Done),
            };
            oracle.take(index, None, &none)?;
        }
        self.states.push(state);
        self.prints.push(print_of(entry));
        Ok(())
    }

    /// One change at a time, and an id never with another data directory.
    fn take_membership(
        &mut self,
        index: u64,
        voters: Vec<BTreeSet<ManagerId>>,
        members: BTreeMap<ManagerId, u64>,
    ) -> Result<(), String> {
        let small = |a: &BTreeSet<_>, b: &BTreeSet<_>| a.symmetric_difference(b).count() <= 1;
        let fits = match (self.voters.as_slice(), voters.as_slice()) {
            ([], [_]) => true,
            ([old], [new]) => old == new || small(old, new),
            ([old], [first, new]) => old == first && small(old, new),
            ([_, old], [new]) => old == new,
            ([a, b], [c, d]) => (a, b) == (c, d),
            _ => false,
        };
        if !fits {
            return Err(format!(
                "the membership at {index} goes from {:?} to {voters:?} in one step",
                self.voters
            ));
        }
        for (id, directory) in &members {
            let known = *self.directories.entry(*id).or_insert(*directory);
            if known != *directory {
                return Err(format!(
                    "manager {id} comes back at {index} with another data directory"
                ));
            }
            if self.gone.contains(id) {
                return Err(format!("manager {id} comes back at {index} after it was removed"));
            }
        }
        let gone = self.members.keys().filter(|id| !members.contains_key(id));
        self.gone.extend(gone);
        self.voters = voters;
        self.members = members;
        Ok(())
    }
}
