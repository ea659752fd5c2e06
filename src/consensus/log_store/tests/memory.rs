//! A disk in memory that loses what was not synced, fails at a chosen step, or hangs.

use super::*;
use std::collections::BTreeMap;
use std::sync::{Condvar, MutexGuard};

pub(super) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Default)]
struct State {
    rows: Rows,
    synced: Rows,
    /// What was done since the last sync, one element a call.
    unsynced: Vec<Vec<Change>>,
    mark: Vec<u8>,
    /// Mutating calls so far.
    steps: usize,
    /// The call at which it dies.
    dies_at: Option<usize>,
    calls_after_death: usize,
    hangs: bool,
}

#[derive(Default)]
pub(super) struct MemoryDisk {
    state: Mutex<State>,
    woken: Condvar,
}

impl MemoryDisk {
    pub fn dying_at(step: usize) -> Arc<Self> {
        let disk = Self::default();
        disk.state().dies_at = Some(step);
        Arc::new(disk)
    }

    /// What a power cut leaves: what was synced, and the first `keep` calls after it.
    pub fn after_power_cut(&self, keep: usize) -> Arc<Self> {
        let old = self.state();
        let mut rows = old.synced.clone();
        old.unsynced
            .iter()
            .take(keep)
            .flatten()
            .for_each(|change| apply(&mut rows, change.clone()));
        let disk = Self::default();
        {
            let mut state = disk.state();
            state.synced.clone_from(&rows);
            state.rows = rows;
            state.mark.clone_from(&old.mark);
        }
        Arc::new(disk)
    }

    pub fn rows(&self) -> Rows {
        self.state().rows.clone()
    }

    /// A disk with this one's mark and other rows.
    pub fn with_rows(&self, rows: &Rows) -> Arc<Self> {
        let disk = self.after_power_cut(0);
        disk.state().rows.clone_from(rows);
        disk
    }

    pub fn unsynced(&self) -> usize {
        self.state().unsynced.len()
    }

    pub fn steps(&self) -> usize {
        self.state().steps
    }

    pub fn dead(&self) -> bool {
        let state = self.state();
        state.dies_at.is_some_and(|at| state.steps > at)
    }

    pub fn calls_after_death(&self) -> usize {
        self.state().calls_after_death
    }

    pub fn hang(&self) {
        self.state().hangs = true;
    }

    pub fn go_on(&self) {
        self.state().hangs = false;
        self.woken.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn step(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.woken.wait_while(self.state(), |state| state.hangs).unwrap();
        let step = state.steps;
        state.steps += 1;
        match state.dies_at {
            Some(at) if step >= at => {
                state.calls_after_death += step - at;
                Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full"))
            }
            _ => Ok(state),
        }
    }
}

fn apply(rows: &mut Rows, change: Change) {
    match change {
        Change::Put(key, row) => drop(rows.insert(key, row)),
        Change::Remove(key) => drop(rows.remove(&key)),
    }
}

impl LogDisk for MemoryDisk {
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> io::Result<()> {
        let rows = self.state().rows.clone();
        let _stopped_early = rows.iter().all(|(key, row)| visit(key, row));
        Ok(())
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.state().rows.get(key).cloned())
    }

    fn put(&self, key: &[u8], row: &[u8]) -> io::Result<()> {
        self.apply(vec![Change::Put(key.to_vec(), row.to_vec())])
    }

    fn remove(&self, key: &[u8]) -> io::Result<()> {
        self.apply(vec![Change::Remove(key.to_vec())])
    }

    fn apply(&self, changes: Vec<Change>) -> io::Result<()> {
        let mut state = self.step()?;
        changes
            .iter()
            .for_each(|change| apply(&mut state.rows, change.clone()));
        state.unsynced.push(changes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.step()?;
        state.unsynced.clear();
        state.synced = state.rows.clone();
        Ok(())
    }

    fn read_mark(&self) -> io::Result<Vec<u8>> {
        Ok(self.state().mark.clone())
    }

    fn write_mark(&self, mark: &[u8]) -> io::Result<()> {
        self.step()?.mark = mark.to_vec();
        Ok(())
    }
}
