//! Reads the whole log once, at open, and refuses it unless it is complete.

use super::disk::LogDisk;
use super::error::{Damage, LoadError};
use super::index::Chunk;
use super::read::decode_chunk;
use super::row::{self, Head};
use super::shared::View;
use super::tail::TailLimits;
use super::watermark::Watermark;
use super::{LogIdOf, entry_log_id};
use openraft::RaftTypeConfig;

/// No log gets this far. Beyond it, counting on from an index would overflow.
const LAST_INDEX: u64 = u64::MAX - u32::MAX as u64 - 1;

/// What the writer goes on from.
pub(super) struct Loaded<C: RaftTypeConfig> {
    /// The chain after the last row.
    pub chain: u32,
    /// What the rows say.
    pub written: Watermark<LogIdOf<C>>,
    /// What the watermark says.
    pub watermark: Watermark<LogIdOf<C>>,
    /// Chunks wholly at or below it may still be there.
    pub purged: Option<u64>,
    /// No log was here: nothing was ever acknowledged.
    pub fresh: bool,
}

/// Scans all rows, checks each and how they fit together, and compares the result with the
/// watermark. Rows at or below the purged index may be anything: a crash can stop the background
/// dropping anywhere, and it runs again.
pub(super) fn load<C: RaftTypeConfig>(
    disk: &dyn LogDisk,
    limits: TailLimits,
) -> Result<(View<C>, Loaded<C>), LoadError> {
    let mut scan: Scan<C> = Scan {
        values: Values::default(),
        chunks: Vec::new(),
        open: None,
    };
    let mut outcome = Ok(());
    disk.scan(&mut |key, bytes| {
        outcome = scan.row(key, bytes);
        outcome.is_ok()
    })?;
    outcome?;
    if let Some(open) = scan.open {
        return Err(Damage::MissingPart(open.first).into());
    }
    let mark = disk.read_mark()?;
    let watermark: Watermark<LogIdOf<C>> = match mark.as_slice() {
        [] => Watermark::default(),
        bytes => postcard::from_bytes(bytes).map_err(|e| Damage::Watermark(e.to_string()))?,
    };

    let mut view = View::empty(limits);
    let (votes, vote) = scan
        .values
        .vote
        .map_or((0, None), |(votes, vote)| (votes, Some(vote)));
    view.vote = vote;
    view.committed = scan.values.committed;
    view.purged = scan.values.purged;
    let mut chain = 0;
    let mut expected: Option<(u64, u32)> = None;
    for ChunkSeen {
        first,
        chunk,
        before,
        after,
    } in scan.chunks
    {
        let end = first + u64::from(chunk.count);
        // Also those at or below the purged index: their rows wait to be dropped.
        if end > view.start() {
            check_order(view.start(), expected, first, before)?;
            expected = Some((end, after));
        }
        chain = after;
        view.index.push(first, chunk);
    }
    view.last = match expected {
        Some((end, _)) => Some(entry_log_id::<C>(&read_entry::<C>(disk, &view, end - 1)?)),
        None => view.purged.clone(),
    };
    check_watermark(disk, &view, &watermark, votes)?;
    let written = Watermark {
        votes,
        durable: view.last.clone(),
    };
    let purged = view.purged.as_ref().map(|id| id.index);
    Ok((
        view,
        Loaded {
            chain,
            written,
            watermark,
            purged,
            fresh: mark.is_empty(),
        },
    ))
}

/// A chunk as its rows describe it.
struct ChunkSeen {
    first: u64,
    chunk: Chunk,
    before: u32,
    after: u32,
}

struct Values<C: RaftTypeConfig> {
    vote: Option<(u64, C::Vote)>,
    committed: Option<LogIdOf<C>>,
    purged: Option<LogIdOf<C>>,
}

impl<C: RaftTypeConfig> Default for Values<C> {
    fn default() -> Self {
        Self {
            vote: None,
            committed: None,
            purged: None,
        }
    }
}

struct Scan<C: RaftTypeConfig> {
    values: Values<C>,
    chunks: Vec<ChunkSeen>,
    /// A large entry whose parts are not all seen yet.
    open: Option<ChunkSeen>,
}

impl<C: RaftTypeConfig> Scan<C> {
    fn row(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), LoadError> {
        if let Some((first, part)) = row::parse_log_key(key) {
            check_index(key, first)?;
            let (head, payload) = row::decode_row(key, bytes)?;
            return self.log_row(first, part, head, payload.len());
        }
        match key {
            row::VOTE => self.values.vote = Some(row::decode_value(key, bytes)?),
            row::COMMITTED => self.values.committed = row::decode_value(key, bytes)?,
            row::PURGED => {
                let purged: LogIdOf<C> = row::decode_value(key, bytes)?;
                check_index(key, purged.index)?;
                self.values.purged = Some(purged);
            }
            _ => return Err(row::RowError::UnknownKey(row::show_key(key)).into()),
        }
        Ok(())
    }

    fn log_row(&mut self, first: u64, part: u32, head: Head, bytes: usize) -> Result<(), LoadError> {
        if part != head.part || head.part >= head.parts || head.count == 0 {
            return Err(Damage::MissingPart(first).into());
        }
        let seen = match self.open.take() {
            None if part == 0 => ChunkSeen {
                first,
                chunk: Chunk {
                    count: head.count,
                    parts: 1,
                    bytes,
                },
                before: head.chain_before,
                after: head.chain_after,
            },
            Some(mut open)
                if open.first == first && open.chunk.parts == part && open.after == head.chain_before =>
            {
                open.chunk.parts += 1;
                open.chunk.bytes += bytes;
                open.after = head.chain_after;
                open
            }
            Some(open) => return Err(Damage::MissingPart(open.first).into()),
            None => return Err(Damage::MissingPart(first).into()),
        };
        if seen.chunk.parts == head.parts {
            self.chunks.push(seen);
        } else {
            self.open = Some(seen);
        }
        Ok(())
    }
}

fn check_index(key: &[u8], index: u64) -> Result<(), row::RowError> {
    if index > LAST_INDEX {
        return Err(row::RowError::Malformed(
            row::show_key(key),
            "no log gets to this index",
        ));
    }
    Ok(())
}

/// Checks that a chunk that is not wholly purged begins where the one before ends.
fn check_order(start: u64, expected: Option<(u64, u32)>, first: u64, before: u32) -> Result<(), Damage> {
    match expected {
        None if first > start => Err(Damage::Gap {
            from: start,
            to: first - 1,
        }),
        None => Ok(()),
        Some((end, _)) if first > end => Err(Damage::Gap {
            from: end,
            to: first - 1,
        }),
        Some((end, _)) if first < end => Err(Damage::Overlap(first)),
        Some((_, chain)) if chain != before => Err(Damage::Stale(first)),
        Some(_) => Ok(()),
    }
}

/// Checks what was durable against what is here.
fn check_watermark<C: RaftTypeConfig>(
    disk: &dyn LogDisk,
    view: &View<C>,
    watermark: &Watermark<LogIdOf<C>>,
    votes: u64,
) -> Result<(), LoadError> {
    if votes < watermark.votes {
        return Err(Damage::LostVote {
            found: votes,
            durable: watermark.votes,
        }
        .into());
    }
    let last = view.last.as_ref().map(|id| id.index);
    if let Some(durable) = &watermark.durable {
        if last.is_none_or(|last| last < durable.index) {
            return Err(Damage::LostTail {
                found: last,
                durable: durable.index,
            }
            .into());
        }
        let here = match &view.purged {
            Some(purged) if purged.index > durable.index => durable.clone(),
            Some(purged) if purged.index == durable.index => purged.clone(),
            _ => entry_log_id::<C>(&read_entry::<C>(disk, view, durable.index)?),
        };
        if here != *durable {
            return Err(Damage::ChangedEntry(durable.index).into());
        }
    }
    match &view.committed {
        // The writer puts the committed id behind the entries it covers, so they cannot be missing.
        Some(committed) if last.is_none_or(|last| last < committed.index) => Err(Damage::LostCommitted {
            last,
            committed: committed.index,
        }
        .into()),
        _ => Ok(()),
    }
}

/// One entry that the index says is there.
fn read_entry<C: RaftTypeConfig>(
    disk: &dyn LogDisk,
    view: &View<C>,
    index: u64,
) -> Result<C::Entry, LoadError> {
    let mut entries = Vec::with_capacity(1);
    if let Some((first, chunk)) = view.index.covering(index, index + 1).next() {
        decode_chunk::<C>(disk, first, chunk, index..index + 1, &mut entries)?;
    }
    entries.pop().ok_or_else(|| {
        Damage::Gap {
            from: index,
            to: index,
        }
        .into()
    })
}
