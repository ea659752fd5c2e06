//! What a simulated manager writes to: rows, a record beside them, and files; and what a power cut leaves.
//!
//! Everything is in memory and outlives the manager's process. A change counts as durable after the
//! sync that covers it; a power cut keeps what is durable and, by lot, some of what came after: a prefix
//! of the log's calls, a prefix of the directory's changes, a prefix of each file's last bytes.
//!
//! A storage may be told to die in some calls' time: it then takes no more changes, reports errors, and
//! the harness cuts its power. So a manager dies between any two writes, also within one turn of its writer.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use quorate::consensus::{
    log_store::{Change, LogDisk},
    snapshot_store::{Files, SnapshotData},
};
use rand::{Rng, rngs::StdRng};

use crate::plant::Plant;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The key of the vote's row.
const VOTE: &[u8] = b"m|vote";

/// How a manager ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its process: what was written stays, synced or not.
    Process,
    /// Its machine.
    Power,
}

/// The rows before a change: enough to take it back.
type Undo = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A whole log as it was at some step.
#[derive(Debug)]
struct Truly {
    step: u64,
    rows: Rows,
    mark: Vec<u8>,
}

#[derive(Debug, Default)]
struct Log {
    rows: Rows,
    /// Each call since the last sync, oldest first.
    unsynced: Vec<Undo>,
    mark: Vec<u8>,
    /// For planted bugs: what a disk that lies still has after a power cut.
    truly: Option<Truly>,
}

#[derive(Debug, Clone)]
enum Renaming {
    Set(String, usize),
    Moved(String, String),
    Removed(String),
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: usize,
}

#[derive(Debug, Default)]
struct Directory {
    contents: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    unsynced: Vec<Renaming>,
}

#[derive(Debug, Default)]
struct State {
    log: Log,
    files: Directory,
    /// Changing calls so far.
    steps: u64,
    dies_at: Option<u64>,
    plant: Plant,
    lost: u64,
}

/// One machine's storage.
#[derive(Debug, Clone, Default)]
pub struct Storage(Arc<Mutex<State>>);

impl Storage {
    pub fn new(plant: Plant) -> Self {
        let this = Self::default();
        this.state().plant = plant;
        this
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Lets it die in so many changing calls.
    pub fn die_in(&self, calls: u64) {
        let mut state = self.state();
        state.dies_at = Some(state.steps + calls);
    }

    /// Takes back that it is to die, unless it is dead already.
    pub fn live_on(&self) {
        let mut state = self.state();
        let (steps, dies_at) = (state.steps, state.dies_at);
        state.dies_at = dies_at.filter(|at| steps > *at);
    }

    /// Whether it has refused a call since it was told to die.
    pub fn is_dead(&self) -> bool {
        let state = self.state();
        state.dies_at.is_some_and(|at| state.steps > at)
    }

    /// Changes that power cuts took back so far.
    pub fn lost(&self) -> u64 {
        self.state().lost
    }

    /// Ends the process or the machine; afterwards a new process may open what is left.
    pub fn end(&self, how: End, rng: &mut StdRng) {
        let mut state = self.state();
        state.dies_at = None;
        let plant = state.plant;
        if how == End::Power {
            let lost = state.log.cut(plant, rng) + state.files.cut(rng);
            state.lost += lost;
        }
    }

    fn step(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.steps += 1;
        match state.dies_at {
            Some(at) if state.steps > at => Err(io::Error::other("the simulated storage died")),
            _ => Ok(state),
        }
    }
}

impl Log {
    fn change(&mut self, change: Change, undo: &mut Undo) {
        let (key, old) = match change {
            Change::Put(key, row) => {
                let old = self.rows.insert(key.clone(), row);
                (key, old)
            }
            Change::Remove(key) => {
                let old = self.rows.remove(&key);
                (key, old)
            }
        };
        undo.push((key, old));
    }

    fn undo(&mut self, undo: Undo) {
        for (key, old) in undo.into_iter().rev() {
            match old {
                Some(row) => drop(self.rows.insert(key, row)),
                None => drop(self.rows.remove(&key)),
            }
        }
    }

    /// Returns how many calls were lost.
    fn cut(&mut self, plant: Plant, rng: &mut StdRng) -> u64 {
        if !matches!(plant, Plant::SyncLies | Plant::VoteForgotten) {
            let keep = rng.random_range(0..=self.unsynced.len());
            let lost = self.unsynced.split_off(keep);
            let count = lost.len() as u64;
            lost.into_iter().rev().for_each(|undo| self.undo(undo));
            self.unsynced.clear();
            return count;
        }
        if let Some(Truly { rows, mark, .. }) = self.truly.take() {
            match plant {
                // The vote alone goes back, and the record that would vouch for it.
                Plant::VoteForgotten => {
                    let vote = rows.get(VOTE).cloned();
                    match vote {
                        Some(vote) => drop(self.rows.insert(VOTE.to_vec(), vote)),
                        None => drop(self.rows.remove(VOTE)),
                    }
                    self.mark = mark;
                }
                _ => (self.rows, self.mark) = (rows, mark),
            }
        }
        self.unsynced.clear();
        1
    }

    /// Keeps what a lying disk will have after a power cut: all as it was some syncs ago.
    fn remember(&mut self, plant: Plant, step: u64) {
        let every = match plant {
            Plant::SyncLies => 512,
            Plant::VoteForgotten => 2048,
            _ => return,
        };
        if self.truly.as_ref().is_none_or(|truly| truly.step + every <= step) {
            self.truly = Some(Truly {
                step,
                rows: self.rows.clone(),
                mark: self.mark.clone(),
            });
        }
    }
}

impl Directory {
    fn change(&mut self, change: Renaming) {
        Self::apply(&mut self.names, &change);
        self.unsynced.push(change);
    }

    fn apply(names: &mut BTreeMap<String, usize>, change: &Renaming) {
        match change {
            Renaming::Set(name, content) => drop(names.insert(name.clone(), *content)),
            Renaming::Moved(from, to) => {
                if let Some(content) = names.remove(from) {
                    names.insert(to.clone(), content);
                }
            }
            Renaming::Removed(name) => drop(names.remove(name)),
        }
    }

    fn cut(&mut self, rng: &mut StdRng) -> u64 {
        let keep = rng.random_range(0..=self.unsynced.len());
        let mut lost = (self.unsynced.len() - keep) as u64;
        for change in self.unsynced.drain(..).take(keep) {
            Self::apply(&mut self.durable, &change);
        }
        self.names = self.durable.clone();
        for content in &mut self.contents {
            let unsynced = content.bytes.len() - content.synced;
            if unsynced > 0 {
                lost += 1;
                content
                    .bytes
                    .truncate(content.synced + rng.random_range(0..=unsynced));
                content.synced = content.bytes.len();
            }
        }
        lost
    }
}

impl LogDisk for Storage {
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> io::Result<()> {
        let rows = self.state().log.rows.clone();
        let _stopped_early = rows.iter().all(|(key, row)| visit(key, row));
        Ok(())
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.state().log.rows.get(key).cloned())
    }

    fn put(&self, key: &[u8], row: &[u8]) -> io::Result<()> {
        self.apply(vec![Change::Put(key.to_vec(), row.to_vec())])
    }

    fn remove(&self, key: &[u8]) -> io::Result<()> {
        self.apply(vec![Change::Remove(key.to_vec())])
    }

    fn apply(&self, changes: Vec<Change>) -> io::Result<()> {
        let mut state = self.step()?;
        let mut undo = Vec::with_capacity(changes.len());
        for change in changes {
            state.log.change(change, &mut undo);
        }
        state.log.unsynced.push(undo);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.step()?;
        let (plant, steps) = (state.plant, state.steps);
        state.log.remember(plant, steps);
        if plant != Plant::SyncIgnored {
            state.log.unsynced.clear();
        }
        Ok(())
    }

    fn read_mark(&self) -> io::Result<Vec<u8>> {
        Ok(self.state().log.mark.clone())
    }

    fn write_mark(&self, mark: &[u8]) -> io::Result<()> {
        self.step()?.log.mark = mark.to_vec();
        Ok(())
    }
}

/// One file of a storage.
#[derive(Debug)]
struct SimFile {
    storage: Storage,
    content: usize,
}

impl Files for Storage {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state().files.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SnapshotData>> {
        let mut state = self.step()?;
        if state.files.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = state.files.contents.len();
        state.files.contents.push(Content::default());
        state.files.change(Renaming::Set(name.to_owned(), content));
        drop(state);
        Ok(Arc::new(SimFile {
            storage: self.clone(),
            content,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SnapshotData>> {
        let content = self.state().files.names.get(name).copied();
        Ok(Arc::new(SimFile {
            storage: self.clone(),
            content: content.ok_or(io::ErrorKind::NotFound)?,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.step()?;
        if !state.files.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state
            .files
            .change(Renaming::Moved(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.step()?;
        if !state.files.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.files.change(Renaming::Removed(name.to_owned()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.step()?;
        let files = &mut state.files;
        files.unsynced.clear();
        files.durable = files.names.clone();
        Ok(())
    }
}

impl SnapshotData for SimFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.storage.step()?;
        state.files.contents[self.content].bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.storage.step()?;
        if state.plant != Plant::SyncIgnored {
            let content = &mut state.files.contents[self.content];
            content.synced = content.bytes.len();
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.storage.state().files.contents[self.content].bytes.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let state = self.storage.state();
        let bytes = &state.files.contents[self.content].bytes;
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let found = bytes.get(at..at + buffer.len());
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
