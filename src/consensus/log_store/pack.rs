//! Puts entries into rows, and moves them between rows.

use super::disk::Change;
use super::error::corrupt;
use super::index::Chunk;
use super::read::read_payload;
use super::row::{self, Head, MAX_COUNT, MAX_PAYLOAD, RowError};
use super::writer::Writer;
use super::{LogIdOf, log_index};
use openraft::RaftTypeConfig;
use std::io;
use std::sync::PoisonError;

/// Rows dropped in one background step.
const DROPS_A_STEP: usize = 64;

/// The row that is being filled. It never outlives its turn.
#[derive(Debug)]
pub(super) struct Packer {
    first: u64,
    count: u32,
    payload: Vec<u8>,
    /// The chain after the last row that was put.
    chain: u32,
}

impl Packer {
    pub fn new(chain: u32) -> Self {
        Self {
            first: 0,
            count: 0,
            payload: Vec::new(),
            chain,
        }
    }
}

impl<C: RaftTypeConfig> Writer<C> {
    /// Packs entries into rows; returns their encoded size. The last row may stay open until
    /// [`flush_rows`](Self::flush_rows), so that small appends of one turn share it.
    pub(super) fn append(&mut self, first: u64, entries: &[C::Entry]) -> io::Result<usize> {
        let mut bytes = 0;
        for (index, entry) in (first..).zip(entries) {
            if self.packer.count == MAX_COUNT {
                self.flush_rows()?;
            }
            let start = self.packer.payload.len();
            row::push_entry(&mut self.packer.payload, entry).map_err(io::Error::other)?;
            bytes += self.packer.payload.len() - start;
            if self.packer.payload.len() > MAX_PAYLOAD && self.packer.count > 0 {
                let own = self.packer.payload.split_off(start);
                self.flush_rows()?;
                self.packer.payload = own;
            }
            if self.packer.count == 0 {
                self.packer.first = index;
            }
            self.packer.count += 1;
            if self.packer.payload.len() > MAX_PAYLOAD {
                self.flush_rows()?;
            }
        }
        if let Some(last) = entries.last() {
            self.written.durable = Some(super::entry_log_id::<C>(last));
        }
        Ok(bytes)
    }

    /// Puts the open row, if there is one. An entry too large for a row is split, and all its parts
    /// are put in one atomic batch: half an entry is never seen.
    pub(super) fn flush_rows(&mut self) -> io::Result<()> {
        let Packer { first, count, .. } = self.packer;
        if count == 0 {
            return Ok(());
        }
        let payload = std::mem::take(&mut self.packer.payload);
        let pieces: Vec<&[u8]> = payload.chunks(MAX_PAYLOAD).collect();
        // An entry's length is a u32, so it has far fewer parts.
        let parts = pieces.len() as u32;
        let mut rows = Vec::with_capacity(pieces.len());
        for (part, piece) in (0..).zip(pieces) {
            let chain_before = self.packer.chain;
            self.packer.chain = row::extend_chain(chain_before, piece);
            let head = Head {
                part,
                parts,
                count,
                chain_before,
                chain_after: self.packer.chain,
            };
            let key = row::log_key(first, part);
            let bytes = row::encode_row(&key, head, piece);
            rows.push((key, bytes));
        }
        match rows.as_slice() {
            [(key, bytes)] => self.disk.put(key, bytes)?,
            _ => self.disk.apply(
                rows.into_iter()
                    .map(|(key, bytes)| Change::Put(key, bytes))
                    .collect(),
            )?,
        }
        self.shared.view().index.push(
            first,
            Chunk {
                count,
                parts,
                bytes: payload.len(),
            },
        );
        self.packer.count = 0;
        self.packer.payload = payload;
        self.packer.payload.clear();
        Ok(())
    }

    /// Keeps entries up to `last`: lowers the watermark first, then changes the rows in one batch.
    pub(super) fn truncate(&mut self, last: Option<LogIdOf<C>>) -> io::Result<()> {
        self.flush_rows()?;
        let keep = last.as_ref().map(log_index::<C>);
        let end = keep.map_or(0, |index| index + 1);
        self.written.durable.clone_from(&last);
        if self.durable.durable.as_ref().map(log_index::<C>) > keep {
            self.durable.durable = last;
        }
        if self.marked_beyond(keep) {
            self.mark()?;
        }
        let chunks = self.shared.view().index.from(end);
        let Some((first, chunk)) = chunks.first().copied() else {
            return Ok(());
        };
        let (mut payload, before, _) = read_payload(self.disk.as_ref(), first, chunk)?;
        let mut changes: Vec<Change> = chunks
            .iter()
            .flat_map(|(first, chunk)| row_keys(*first, *chunk))
            .map(Change::Remove)
            .collect();
        let mut cut = None;
        self.packer.chain = before;
        if first < end {
            let key = row::log_key(first, 0);
            let ranges = row::entry_ranges(&key, &payload, chunk.count).map_err(corrupt)?;
            // The chunk reaches to `end` or beyond it, so this range is there.
            let count = (end - first) as u32;
            payload.truncate(ranges[count as usize - 1].end);
            let chain_after = row::extend_chain(before, &payload);
            let head = Head {
                part: 0,
                parts: 1,
                count,
                chain_before: before,
                chain_after,
            };
            changes[0] = Change::Put(key.clone(), row::encode_row(&key, head, &payload));
            cut = Some((
                first,
                Chunk {
                    count,
                    parts: 1,
                    bytes: payload.len(),
                },
            ));
            self.packer.chain = chain_after;
        }
        let _rows = self.shared.disk.write().unwrap_or_else(PoisonError::into_inner);
        self.disk.apply(changes)?;
        let mut view = self.shared.view();
        chunks.iter().for_each(|(first, _)| view.index.remove(*first));
        cut.into_iter()
            .for_each(|(first, chunk)| view.index.push(first, chunk));
        Ok(())
    }

    /// Puts the purge marker; the rows go in the background.
    pub(super) fn purge(&mut self, id: LogIdOf<C>) -> io::Result<()> {
        self.flush_rows()?;
        self.put_value(row::PURGED, &id)?;
        self.drop_to = Some(log_index::<C>(&id));
        if self.written.durable.as_ref().map(log_index::<C>) < Some(log_index::<C>(&id)) {
            self.written.durable = Some(id);
        }
        Ok(())
    }

    /// One bounded step of background work: drops purged chunks, else merges a run of small ones.
    pub(super) fn tidy(&mut self) -> io::Result<()> {
        if let Some(purged) = self.drop_to {
            if !self.drop_chunks(purged)? {
                self.drop_to = None;
            }
            return Ok(());
        }
        self.merge_run()
    }

    /// Drops some chunks from the front; false if none is left to drop. A crash between two leaves
    /// the later ones, below the marker.
    fn drop_chunks(&mut self, purged: u64) -> io::Result<bool> {
        let _rows = self.shared.disk.write().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..DROPS_A_STEP {
            let Some((first, chunk)) = self.shared.view().index.first_below(purged) else {
                return Ok(false);
            };
            if chunk.parts == 1 {
                self.disk.remove(&row::log_key(first, 0))?;
            } else {
                self.disk
                    .apply(row_keys(first, chunk).map(Change::Remove).collect())?;
            }
            self.shared.view().index.remove(first);
            failpoint!("purge-rows");
        }
        Ok(true)
    }

    /// Puts the entries of a run of small rows into one row.
    fn merge_run(&mut self) -> io::Result<()> {
        let Some(chunks) = self.shared.view().index.next_run() else {
            return Ok(());
        };
        let Some((first, _)) = chunks.first().copied() else {
            return Ok(());
        };
        let mut payload = Vec::new();
        let mut count = 0;
        let mut chains: Option<(u32, u32)> = None;
        for (at, chunk) in &chunks {
            let (piece, before, after) = read_payload(self.disk.as_ref(), *at, *chunk)?;
            let start = match chains {
                None => before,
                Some((start, end)) if end == before => start,
                Some(_) => return Err(corrupt(RowError::Payload(row::show_key(&row::log_key(*at, 0))))),
            };
            chains = Some((start, after));
            payload.extend_from_slice(&piece);
            count += chunk.count;
        }
        let (chain_before, chain_after) = chains.unwrap_or_default();
        let head = Head {
            part: 0,
            parts: 1,
            count,
            chain_before,
            chain_after,
        };
        let key = row::log_key(first, 0);
        let row = row::encode_row(&key, head, &payload);
        let mut changes = vec![Change::Put(key, row)];
        changes.extend(
            chunks[1..]
                .iter()
                .map(|(at, _)| Change::Remove(row::log_key(*at, 0))),
        );

        let _rows = self.shared.disk.write().unwrap_or_else(PoisonError::into_inner);
        self.disk.apply(changes)?;
        let mut view = self.shared.view();
        chunks.iter().for_each(|(at, _)| view.index.remove(*at));
        view.index.replace(
            first,
            Chunk {
                count,
                parts: 1,
                bytes: payload.len(),
            },
        );
        Ok(())
    }
}

fn row_keys(first: u64, chunk: Chunk) -> impl Iterator<Item = Vec<u8>> {
    (0..chunk.parts).map(move |part| row::log_key(first, part))
}
