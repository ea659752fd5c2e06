//! Any rows as a log: sealed with right checksums or not, in right order or not.

use super::{
    Change, LogDisk, LogStore, TailLimits,
    row::{self, Head},
};
use crate::consensus::{TypeConfig, fuzzing};
use futures::FutureExt;
use openraft::{
    Entry, EntryPayload, RaftTypeConfig,
    storage::{RaftLogReader, RaftLogStorage},
};
use serde::{Serialize, Serializer, ser::SerializeTuple};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

/// Rows in memory.
#[derive(Default)]
struct Rows {
    rows: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    mark: Mutex<Vec<u8>>,
}

impl Rows {
    fn change(&self, change: Change) {
        let mut rows = self.rows.lock().expect("nobody panics under it");
        match change {
            Change::Put(key, row) => drop(rows.insert(key, row)),
            Change::Remove(key) => drop(rows.remove(&key)),
        }
    }
}

impl LogDisk for Rows {
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> io::Result<()> {
        let rows = self.rows.lock().expect("nobody panics under it").clone();
        let _stopped_early = rows.iter().all(|(key, row)| visit(key, row));
        Ok(())
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self
            .rows
            .lock()
            .expect("nobody panics under it")
            .get(key)
            .cloned())
    }

    fn put(&self, key: &[u8], row: &[u8]) -> io::Result<()> {
        self.change(Change::Put(key.to_vec(), row.to_vec()));
        Ok(())
    }

    fn remove(&self, key: &[u8]) -> io::Result<()> {
        self.change(Change::Remove(key.to_vec()));
        Ok(())
    }

    fn apply(&self, changes: Vec<Change>) -> io::Result<()> {
        changes.into_iter().for_each(|change| self.change(change));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn read_mark(&self) -> io::Result<Vec<u8>> {
        Ok(self.mark.lock().expect("nobody panics under it").clone())
    }

    fn write_mark(&self, mark: &[u8]) -> io::Result<()> {
        *self.mark.lock().expect("nobody panics under it") = mark.to_vec();
        Ok(())
    }
}

/// Bytes that postcard writes as they are.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
        tuple.end()
    }
}

/// Takes input from the front; zeros where there is none left.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    /// Mostly small, at times anything.
    fn number(&mut self) -> u64 {
        match self.byte() {
            255 => {
                let mut bytes = [0; 8];
                bytes.fill_with(|| self.byte());
                u64::from_le_bytes(bytes)
            }
            small => u64::from(small),
        }
    }
}

/// The rows that an input describes.
fn rows(data: &[u8]) -> Rows {
    let disk = Rows::default();
    let mut input = Input(data);
    let mut chain = 0;
    while !input.0.is_empty() {
        let (key, row) = match input.byte() % 6 {
            0 => (input.bytes().to_vec(), input.bytes().to_vec()),
            1 => {
                let key = [row::VOTE, row::COMMITTED, row::PURGED][usize::from(input.byte() % 3)];
                let row = row::encode_value(key, &Raw(input.bytes())).expect("bytes encode");
                (key.to_vec(), row)
            }
            2 => {
                *disk.mark.lock().expect("nobody panics under it") = input.bytes().to_vec();
                continue;
            }
            3 => {
                let key = row::log_key(input.number(), u32::from(input.byte()));
                let head = [input.byte(), input.byte(), input.byte()].map(u32::from);
                let payload = input.bytes();
                sealed(key, head, payload, &mut chain)
            }
            // Entries as they should be, but for their place.
            _ => {
                let (first, count, term) = (input.number(), input.byte() % 4, input.number());
                let mut payload = Vec::new();
                for n in 0..u64::from(count) {
                    let entry = entry(term, first.wrapping_add(n), input.byte());
                    row::push_entry(&mut payload, &entry).expect("an entry encodes");
                }
                let key = row::log_key(first, 0);
                sealed(key, [0, 1, u32::from(count)], &payload, &mut chain)
            }
        };
        disk.change(Change::Put(key, row));
    }
    disk
}

fn sealed(key: Vec<u8>, head: [u32; 3], payload: &[u8], chain: &mut u32) -> (Vec<u8>, Vec<u8>) {
    let [part, parts, count] = head;
    let chain_before = *chain;
    *chain = row::extend_chain(chain_before, payload);
    let head = Head {
        part,
        parts,
        count,
        chain_before,
        chain_after: *chain,
    };
    let row = row::encode_row(&key, head, payload);
    (key, row)
}

fn entry(term: u64, index: u64, which: u8) -> <TypeConfig as RaftTypeConfig>::Entry {
    let mut proposals = fuzzing::proposals();
    let payload = match usize::from(which) % (proposals.len() + 1) {
        0 => EntryPayload::Blank,
        n => EntryPayload::Normal(proposals.swap_remove(n - 1)),
    };
    Entry {
        log_id: fuzzing::log_id(term, index),
        payload,
    }
}

/// Opens what the input describes as a log. It is refused, or can be read, written and tidied.
///
/// # Panics
/// When something does not hold.
pub fn log_rows(data: &[u8]) {
    let disk = Arc::new(rows(data));
    let Ok((mut store, mut writer)) =
        LogStore::<TypeConfig>::on_disk(disk.clone(), TailLimits::default(), Arc::new(|_| {}))
    else {
        return;
    };
    let state = store.get_log_state().now_or_never().expect("no waiting");
    let state = state.expect("an open log has a state");
    if let Some(entries) = store.try_get_log_entries(..).now_or_never()
        && let Ok(entries) = entries
        && let Some(last) = entries.last()
    {
        assert_eq!(Some(last.log_id.index), state.last_log_id.map(|id| id.index));
    }
    let next = state.last_log_id.map_or(0, |id| id.index.saturating_add(1));
    let appended = store.append([entry(9, next, 0)], openraft::storage::IOFlushed::noop());
    let _ = appended.now_or_never();
    let _ = store.purge(fuzzing::log_id(1, next / 2)).now_or_never();
    while writer.turn_async(std::future::ready(())).now_or_never() == Some(true) {}
    writer.finish();
    drop(store);
}

/// Inputs to begin with.
pub fn log_seeds() -> Vec<Vec<u8>> {
    vec![
        vec![4, 0, 3, 1, 0, 1, 2, 4, 3, 2, 1, 0, 3],
        vec![1, 0, 3, 1, 2, 1, 4, 0, 2, 1, 0, 0],
        vec![1, 2, 4, 1, 1, 1, 1, 4, 2, 1, 1, 0],
        vec![3, 0, 0, 0, 2, 1, 2, 7, 7, 3, 0, 1, 1, 2, 1, 2, 7, 7],
    ]
}
