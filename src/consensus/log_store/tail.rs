//! The newest entries, in memory: what replication and apply read without touching the disk.

use openraft::RaftTypeConfig;
use std::collections::VecDeque;
use std::sync::Arc;

/// Entries of one append, shared with the writer.
pub(super) struct Batch<C: RaftTypeConfig> {
    /// Grows with each append; names the batch to the writer.
    pub id: u64,
    pub first: u64,
    /// One past the last index that still counts; truncation lowers it.
    pub end: u64,
    pub entries: Arc<Vec<C::Entry>>,
    /// Encoded size, once the writer has put the entries into rows.
    bytes: Option<usize>,
}

/// A gap-free run of batches at the end of the log. Only batches that are on disk may leave it at
/// the front, so that `tail + rows` always covers the log.
pub(super) struct Tail<C: RaftTypeConfig> {
    batches: VecDeque<Batch<C>>,
    next_id: u64,
    limits: TailLimits,
    bytes: usize,
}

/// How much stays in memory once it is on disk.
#[derive(Debug, Clone, Copy)]
pub struct TailLimits {
    /// Entries.
    pub entries: u64,
    /// Encoded bytes.
    pub bytes: usize,
}

impl Default for TailLimits {
    /// Enough for a follower that lags some hundred milliseconds at full load.
    fn default() -> Self {
        Self {
            entries: 16_384,
            bytes: 8 << 20,
        }
    }
}

impl<C: RaftTypeConfig> Tail<C> {
    pub fn new(limits: TailLimits) -> Self {
        Self {
            batches: VecDeque::new(),
            next_id: 0,
            limits,
            bytes: 0,
        }
    }

    /// Adds entries that follow the last one; returns the batch's id.
    pub fn push(&mut self, first: u64, entries: Arc<Vec<C::Entry>>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let end = first + entries.len() as u64;
        self.batches.push_back(Batch {
            id,
            first,
            end,
            entries,
            bytes: None,
        });
        id
    }

    /// The first index in memory.
    pub fn first(&self) -> Option<u64> {
        self.batches.front().map(|batch| batch.first)
    }

    /// Notes that a batch is on disk, and forgets the oldest if there are too many. A batch that was
    /// truncated or purged meanwhile is no longer here, which is fine.
    pub fn written(&mut self, id: u64, bytes: usize) {
        if let Ok(at) = self.batches.binary_search_by_key(&id, |batch| batch.id) {
            self.batches[at].bytes = Some(bytes);
            self.bytes += bytes;
        }
        while let (Some(front), Some(back)) = (self.batches.front(), self.batches.back())
            && front.bytes.is_some()
            && (back.end - front.first > self.limits.entries || self.bytes > self.limits.bytes)
        {
            self.pop_front();
        }
    }

    /// Keeps indexes below `end`.
    pub fn truncate(&mut self, end: u64) {
        while let Some(batch) = self.batches.back_mut() {
            if batch.first < end {
                batch.end = batch.end.min(end);
                break;
            }
            self.bytes -= batch.bytes.unwrap_or(0);
            self.batches.pop_back();
        }
    }

    /// Drops batches that lie wholly at or below `index`.
    pub fn purge(&mut self, index: u64) {
        while self.batches.front().is_some_and(|batch| batch.end <= index + 1) {
            self.pop_front();
        }
    }

    /// The batches and index ranges that make up `start..end`, which must lie inside the tail.
    pub fn slices(&self, start: u64, end: u64) -> Vec<TailSlice<C>> {
        let at = self.batches.partition_point(|batch| batch.end <= start);
        self.batches
            .range(at..)
            .take_while(|batch| batch.first < end)
            .map(|batch| TailSlice {
                entries: Arc::clone(&batch.entries),
                from: (start.max(batch.first) - batch.first) as usize,
                to: (end.min(batch.end) - batch.first) as usize,
                bytes: batch.bytes.unwrap_or(0),
            })
            .collect()
    }

    fn pop_front(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.bytes -= batch.bytes.unwrap_or(0);
        }
    }
}

/// A part of one batch, cheap to take under the lock and copied outside of it.
pub(super) struct TailSlice<C: RaftTypeConfig> {
    entries: Arc<Vec<C::Entry>>,
    from: usize,
    to: usize,
    /// Encoded size of the whole batch; 0 as long as the writer has not come to it.
    pub bytes: usize,
}

impl<C: RaftTypeConfig> TailSlice<C> {
    pub fn entries(&self) -> &[C::Entry] {
        &self.entries[self.from..self.to]
    }
}
