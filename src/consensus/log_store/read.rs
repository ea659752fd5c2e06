//! Reading entries back: from the tail if they are there, else from their rows.

use super::disk::LogDisk;
use super::entry_index;
use super::error::corrupt;
use super::index::Chunk;
use super::row::{self, RowError};
use super::shared::{Shared, Stop};
use super::tail::TailSlice;
use openraft::RaftTypeConfig;
use std::io;
use std::ops::Range;
use std::sync::PoisonError;

/// When to stop reading early.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    /// Read the whole range.
    None,
    /// Stop after the chunk or batch that reaches so many bytes; at least one entry is read.
    Bytes(usize),
}

impl Limit {
    fn reached(self, bytes: usize) -> bool {
        matches!(self, Self::Bytes(limit) if bytes >= limit)
    }
}

/// Where the entries of a range are.
struct Plan<C: RaftTypeConfig> {
    rows: Range<u64>,
    chunks: Vec<(u64, Chunk)>,
    slices: Vec<TailSlice<C>>,
}

impl<C: RaftTypeConfig> Plan<C>
where
    C::Entry: Clone,
{
    fn copy_tail(&self, mut entries: Vec<C::Entry>, limit: Limit) -> Vec<C::Entry> {
        let mut bytes = 0;
        for slice in &self.slices {
            entries.extend_from_slice(slice.entries());
            bytes += slice.bytes;
            if limit.reached(bytes) {
                break;
            }
        }
        entries
    }
}

impl<C: RaftTypeConfig> Shared<C>
where
    C::Entry: Clone,
{
    /// The entries of `range` that the log contains, as of one moment, without a hole.
    pub fn read(&self, range: Range<u64>, limit: Limit) -> io::Result<Vec<C::Entry>> {
        let plan = self.plan(&range)?;
        if plan.rows.is_empty() {
            return Ok(plan.copy_tail(Vec::new(), limit));
        }
        // Held until the rows are read; the index is looked up again under it. See `Shared::disk`.
        let disk = self.disk.read().unwrap_or_else(PoisonError::into_inner);
        let plan = self.plan(&range)?;
        let mut entries = Vec::new();
        if !plan.rows.is_empty() {
            let disk = disk.as_deref().ok_or_else(|| Stop::Closed.error())?;
            self.read_rows(disk, plan.rows.clone(), &plan.chunks, limit, &mut entries)?;
        }
        drop(disk);
        if (entries.len() as u64) < plan.rows.end - plan.rows.start {
            return Ok(entries);
        }
        Ok(plan.copy_tail(entries, limit))
    }

    /// What of `range` is there now, and where.
    fn plan(&self, range: &Range<u64>) -> io::Result<Plan<C>> {
        let view = self.view();
        view.check_not_failed()?;
        let start = range.start.max(view.start());
        let end = range.end.min(view.end());
        if start >= end {
            return Ok(Plan {
                rows: 0..0,
                chunks: Vec::new(),
                slices: Vec::new(),
            });
        }
        // Below the border entries are in rows, from it on in the tail.
        let border = view.tail.first().unwrap_or(end).clamp(start, end);
        let chunks = view.index.covering(start, border).collect();
        Ok(Plan {
            rows: start..border,
            chunks,
            slices: view.tail.slices(border, end),
        })
    }

    fn read_rows(
        &self,
        disk: &dyn LogDisk,
        range: Range<u64>,
        chunks: &[(u64, Chunk)],
        limit: Limit,
        entries: &mut Vec<C::Entry>,
    ) -> io::Result<()> {
        let mut next = range.start;
        let mut bytes = 0;
        for (first, chunk) in chunks {
            decode_chunk::<C>(disk, *first, *chunk, range.clone(), entries)
                .map_err(|e| self.fail("reading the log", &e))?;
            let end = (first + u64::from(chunk.count)).min(range.end);
            if *first > next || entries.len() as u64 != end - range.start {
                let hole = corrupt(RowError::Malformed(
                    format!("l|{first}"),
                    "entries before it are missing",
                ));
                return Err(self.fail("reading the log", &hole));
            }
            next = end;
            bytes += chunk.bytes;
            if limit.reached(bytes) {
                return Ok(());
            }
        }
        if next < range.end {
            let hole = corrupt(RowError::Malformed(format!("l|{next}"), "the row is missing"));
            return Err(self.fail("reading the log", &hole));
        }
        Ok(())
    }
}

/// A chunk's payload, all parts together, and the chains before and after it.
pub(super) fn read_payload(disk: &dyn LogDisk, first: u64, chunk: Chunk) -> io::Result<(Vec<u8>, u32, u32)> {
    let mut payload = Vec::with_capacity(chunk.bytes);
    let mut chain: Option<(u32, u32)> = None;
    for part in 0..chunk.parts {
        let key = row::log_key(first, part);
        let malformed = |why| corrupt(RowError::Malformed(row::show_key(&key), why));
        let bytes = disk.get(&key)?.ok_or_else(|| malformed("the row is missing"))?;
        let (head, piece) = row::decode_row(&key, &bytes).map_err(corrupt)?;
        if (head.part, head.parts, head.count) != (part, chunk.parts, chunk.count) {
            return Err(malformed("the row is not the one that was written"));
        }
        let before = match chain {
            None => head.chain_before,
            Some((before, after)) if after == head.chain_before => before,
            Some(_) => return Err(malformed("the part does not continue the one before")),
        };
        chain = Some((before, head.chain_after));
        payload.extend_from_slice(piece);
    }
    let (before, after) = chain.unwrap_or_default();
    Ok((payload, before, after))
}

/// Appends those entries of a chunk that lie in `range`.
pub(super) fn decode_chunk<C: RaftTypeConfig>(
    disk: &dyn LogDisk,
    first: u64,
    chunk: Chunk,
    range: Range<u64>,
    entries: &mut Vec<C::Entry>,
) -> io::Result<()> {
    let (payload, ..) = read_payload(disk, first, chunk)?;
    let key = row::log_key(first, 0);
    let ranges = row::entry_ranges(&key, &payload, chunk.count).map_err(corrupt)?;
    for (index, bytes) in (first..).zip(ranges) {
        if range.contains(&index) {
            let entry: C::Entry = row::decode_entry(&key, &payload[bytes]).map_err(corrupt)?;
            if entry_index::<C>(&entry) != index {
                return Err(corrupt(RowError::Malformed(
                    row::show_key(&key),
                    "an entry has another index",
                )));
            }
            entries.push(entry);
        }
    }
    Ok(())
}
