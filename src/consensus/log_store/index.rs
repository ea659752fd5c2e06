//! Which rows hold which entries.

use super::row::{MAX_COUNT, MAX_PAYLOAD};
use std::collections::{BTreeMap, VecDeque};

/// The rows of one run of entries: one row of whole entries, or all parts of one large entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub count: u32,
    pub parts: u32,
    /// Payload bytes of all its rows.
    pub bytes: usize,
}

/// Chunks by their first index.
///
/// It also finds runs of small neighbours (a lone client makes a row an entry) that fit into one row
/// together; the writer merges them when it has nothing better to do. Without that, a quiet cluster
/// would keep a row an entry: 17 times slower to purge and to scan.
#[derive(Debug, Default)]
pub(super) struct Index {
    chunks: BTreeMap<u64, Chunk>,
    /// Of all chunks together.
    bytes: usize,
    mergeable: VecDeque<Run>,
    open: Option<Run>,
}

/// Neighbouring chunks that fit into one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u64,
    /// One past its last entry.
    end: u64,
    chunks: u32,
    bytes: usize,
}

impl Index {
    /// Adds a chunk behind the last one.
    pub fn push(&mut self, first: u64, chunk: Chunk) {
        self.replace(first, chunk);
        let end = first + u64::from(chunk.count);
        if let Some(run) = &mut self.open
            && chunk.parts == 1
            && run.end == first
            && end - run.first <= u64::from(MAX_COUNT)
            && run.bytes + chunk.bytes <= MAX_PAYLOAD
        {
            run.end = end;
            run.chunks += 1;
            run.bytes += chunk.bytes;
            return;
        }
        let next = (chunk.parts == 1).then_some(Run {
            first,
            end,
            chunks: 1,
            bytes: chunk.bytes,
        });
        let closed = std::mem::replace(&mut self.open, next);
        self.mergeable.extend(closed.filter(|run| run.chunks > 1));
    }

    /// The chunks that hold any of `start..end`, in order.
    pub fn covering(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, Chunk)> + '_ {
        let before = self.chunks.range(..start).next_back();
        let from = before.filter(|(first, chunk)| *first + u64::from(chunk.count) > start);
        let from = from.map_or(start, |(first, _)| *first);
        self.chunks
            .range(from..end)
            .map(|(first, chunk)| (*first, *chunk))
    }

    /// The chunks that hold anything at or above `end`.
    pub fn from(&self, end: u64) -> Vec<(u64, Chunk)> {
        self.covering(end, u64::MAX).collect()
    }

    /// The first chunk, if all of it lies at or below `index`.
    pub fn first_below(&self, index: u64) -> Option<(u64, Chunk)> {
        let (first, chunk) = self.chunks.first_key_value()?;
        (first + u64::from(chunk.count) <= index + 1).then_some((*first, *chunk))
    }

    /// Forgets a chunk. No run may reach over a place where a chunk was taken away.
    pub fn remove(&mut self, first: u64) {
        let Some(chunk) = self.chunks.remove(&first) else {
            return;
        };
        self.bytes -= chunk.bytes;
        let end = first + u64::from(chunk.count);
        let clear = |run: &Run| run.end <= first || run.first >= end;
        self.mergeable.retain(clear);
        self.open = self.open.filter(clear);
    }

    /// Puts a chunk where it is not the last.
    pub fn replace(&mut self, first: u64, chunk: Chunk) {
        let before = self.chunks.insert(first, chunk);
        self.bytes = self.bytes + chunk.bytes - before.map_or(0, |before| before.bytes);
    }

    /// Payload bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the newest chunks begin that hold no more than `bytes` together; at least the last one.
    pub fn newest(&self, bytes: usize) -> Option<u64> {
        let mut held = 0;
        let within = self.chunks.iter().rev().take_while(|(_, chunk)| {
            held += chunk.bytes;
            held <= bytes
        });
        let first = within.last().map(|(first, _)| *first);
        first.or_else(|| self.chunks.keys().next_back().copied())
    }

    /// How many runs wait to be merged.
    pub fn mergeable(&self) -> usize {
        self.mergeable.len()
    }

    /// Takes the oldest run that waits.
    pub fn next_run(&mut self) -> Option<Vec<(u64, Chunk)>> {
        let run = self.mergeable.pop_front()?;
        Some(
            self.chunks
                .range(run.first..run.end)
                .map(|(first, chunk)| (*first, *chunk))
                .collect(),
        )
    }

    #[cfg(test)]
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(count: u32, bytes: usize) -> Chunk {
        Chunk {
            count,
            parts: 1,
            bytes,
        }
    }

    #[test]
    fn covering_finds_the_chunk_that_began_before() {
        let mut index = Index::default();
        index.push(0, chunk(10, 1));
        index.push(10, chunk(10, 1));
        index.push(20, chunk(5, 1));
        let firsts = |start, end| {
            index
                .covering(start, end)
                .map(|(first, _)| first)
                .collect::<Vec<_>>()
        };
        assert_eq!(firsts(0, 1), [0]);
        assert_eq!(firsts(9, 11), [0, 10]);
        assert_eq!(firsts(10, 20), [10]);
        assert_eq!(firsts(24, 90), [20]);
        assert_eq!(firsts(25, 90), Vec::<u64>::new());
        assert_eq!(index.first_below(8), None);
        assert_eq!(index.first_below(9), Some((0, chunk(10, 1))));
    }

    #[test]
    fn small_neighbours_become_a_run_and_large_ones_do_not() {
        let mut index = Index::default();
        for first in 0..300 {
            index.push(first, chunk(1, 100));
        }
        let chunks = index.next_run().unwrap();
        assert_eq!((chunks[0].0, chunks[255].0, chunks.len()), (0, 255, 256));
        assert!(index.next_run().is_none());
        index.push(
            300,
            Chunk {
                count: 1,
                parts: 9,
                bytes: 900_000,
            },
        );
        assert_eq!(
            index.next_run().map(|chunks| (chunks[0].0, chunks.len())),
            Some((256, 44))
        );
        index.push(301, chunk(200, 60_000));
        index.push(501, chunk(200, 60_000));
        index.push(701, chunk(200, 60_000));
        assert!(index.next_run().is_none());
    }

    #[test]
    fn bytes_are_those_of_the_chunks_that_are_there() {
        let mut index = Index::default();
        assert_eq!((index.bytes(), index.newest(10)), (0, None));
        for first in 0..4 {
            index.push(first * 10, chunk(10, 100));
        }
        index.replace(10, chunk(10, 50));
        index.remove(0);
        assert_eq!(index.bytes(), 250);
        assert_eq!(
            [0, 99, 100, 200, 249, 250, 999].map(|bytes| index.newest(bytes).unwrap()),
            [30, 30, 30, 20, 20, 10, 10]
        );
    }

    #[test]
    fn a_removed_chunk_takes_its_run_along() {
        let mut index = Index::default();
        for first in 0..257 {
            index.push(first, chunk(1, 100));
        }
        assert_eq!(index.mergeable(), 1);
        index.remove(255);
        assert_eq!(index.mergeable(), 0);
    }
}
