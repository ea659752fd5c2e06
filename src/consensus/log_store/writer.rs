//! The one writer of a log: what is written in which order, and when it is acknowledged.
//!
//! A **turn** takes everything that waits: puts it into rows in order, syncs once, then completes the
//! callbacks in order. Nothing here knows of threads or clocks; [`driver`](super::driver) runs turns on
//! a thread, a simulation can run them in a task.
//!
//! **If the process dies between two steps:**
//!
//! - between rows of a turn, or before its sync: none of the turn was acknowledged. The disk keeps a
//!   prefix of the calls; a large entry is one atomic batch; so the log is whole, perhaps longer than
//!   what was acknowledged, which Raft allows.
//! - after the sync, before the callbacks: durable, not acknowledged. The same.
//! - vote synced, watermark not: the vote is there, the watermark vouches for the one before.
//! - truncation: watermark lowered, rows still there: the log is longer than it vouches for; the
//!   leader sends the truncation's cause again. Rows gone (one atomic batch): done.
//! - purge marker written, rows still there: reads clamp by the marker, and the rows are found below
//!   it at the next open and dropped then. The marker is put before the first row goes.
//! - merge: one atomic batch that keeps the entries and the chain.

use super::disk::LogDisk;
use super::load::Loaded;
use super::pack::Packer;
use super::row;
use super::shared::{Shared, Stop};
use super::watermark::Watermark;
use super::{LogIdOf, VoteOf};
use crate::telemetry::{LOG_BATCH_ENTRIES, LOG_SYNC_SECONDS};
use metrics::{Histogram, histogram};
use openraft::RaftTypeConfig;
use openraft::storage::IOFlushed;
use serde::Serialize;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

/// One thing to do, and whom to tell once it is durable.
pub(super) struct Op<C: RaftTypeConfig> {
    pub work: Work<C>,
    pub done: Done<C>,
}

/// What the store's front asks for; done strictly in order.
pub(super) enum Work<C: RaftTypeConfig> {
    /// Entries from `first` on, which stand in the tail as `batch`.
    Append {
        batch: u64,
        first: u64,
        entries: Arc<Vec<C::Entry>>,
    },
    Vote(VoteOf<C>),
    Committed(Option<LogIdOf<C>>),
    /// Keep entries up to this one.
    Truncate(Option<LogIdOf<C>>),
    /// Drop entries up to this one.
    Purge(LogIdOf<C>),
    /// Bring the watermark up to date.
    Mark,
    /// Stop after this turn.
    Close,
}

/// Who waits for an operation.
pub(super) enum Done<C: RaftTypeConfig> {
    Nobody,
    Raft(IOFlushed<C>),
    Caller(oneshot::Sender<io::Result<()>>),
}

/// A busy writer does one background step a turn once so many runs wait to be merged.
const MERGE_BACKLOG: usize = 16;
/// Operations a turn takes at most, so that a flood cannot delay the first callback for ever.
const MAX_TURN: usize = 4096;

/// The writer of a log; see the module's text.
pub struct Writer<C: RaftTypeConfig> {
    pub(super) shared: Arc<Shared<C>>,
    pub(super) disk: Arc<dyn LogDisk>,
    queue: UnboundedReceiver<Op<C>>,
    pub(super) packer: Packer,
    /// What the rows say; the next sync makes it durable.
    pub(super) written: Watermark<LogIdOf<C>>,
    /// What the last sync made durable.
    pub(super) durable: Watermark<LogIdOf<C>>,
    /// What the record beside the rows says; never more than is durable.
    marked: Watermark<LogIdOf<C>>,
    /// Chunks wholly at or below it wait to be dropped.
    pub(super) drop_to: Option<u64>,
    closing: bool,
    closers: Vec<Done<C>>,
    failed: bool,
    figures: Figures,
}

/// Handles of the metrics recorded here, looked up once.
struct Figures {
    sync_seconds: Histogram,
    batch_entries: Histogram,
}

/// What a turn has gathered so far.
struct Turn<C: RaftTypeConfig> {
    result: io::Result<()>,
    /// Something waits for a sync.
    sync: bool,
    vote: Option<VoteOf<C>>,
    /// Batches of the tail that are in rows, with their encoded size.
    written: Vec<(u64, usize)>,
    entries: usize,
    done: Vec<Done<C>>,
}

impl<C: RaftTypeConfig> Writer<C> {
    pub(super) fn new(
        shared: Arc<Shared<C>>,
        disk: Arc<dyn LogDisk>,
        queue: UnboundedReceiver<Op<C>>,
        from: Loaded<C>,
    ) -> Self {
        Self {
            shared,
            disk,
            queue,
            packer: Packer::new(from.chain),
            durable: from.written.clone(),
            written: from.written,
            marked: from.watermark,
            drop_to: from.purged,
            closing: false,
            closers: Vec::new(),
            failed: false,
            figures: Figures {
                sync_seconds: histogram!(LOG_SYNC_SECONDS),
                batch_entries: histogram!(LOG_BATCH_ENTRIES),
            },
        }
    }

    /// Waits for work, blocking the thread, and does one turn; one step of background work if nothing
    /// waits. `busy` is called when the waiting is over. False once the store is closed; then
    /// [`finish`](Self::finish) is due.
    pub fn turn_blocking(&mut self, busy: impl FnOnce()) -> bool {
        if self.should_tidy() {
            busy();
            self.tidy_or_fail();
            return true;
        }
        let first = self.queue.blocking_recv();
        busy();
        self.turn(first)
    }

    /// As [`turn_blocking`](Self::turn_blocking), for a task of a simulation: waits without blocking,
    /// calls the disk inline, `pause` before it does.
    pub async fn turn_async(&mut self, pause: impl Future<Output = ()>) -> bool {
        if self.should_tidy() {
            self.tidy_or_fail();
            return true;
        }
        let first = self.queue.recv().await;
        pause.await;
        self.turn(first)
    }

    /// Does what still waits, vouches for all that is durable, lets go of the disk and answers who
    /// closed. After a failure the disk is leaked instead: sled's destructor waits for its threads,
    /// which may be dead.
    pub fn finish(mut self) {
        self.queue.close();
        let mut rest = Vec::new();
        while let Ok(op) = self.queue.try_recv() {
            rest.push(op);
        }
        self.run(rest);
        if !self.failed
            && let Err(e) = self.sync().and_then(|()| self.mark())
        {
            self.fail("closing the log", &e);
        }
        let disk = self
            .shared
            .disk
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if self.failed {
            std::mem::forget((disk, self.disk));
        } else {
            drop((disk, self.disk));
        }
        complete(self.closers, &Ok(()));
    }

    /// Does a turn if anything waits; false if nothing does.
    #[cfg(test)]
    pub(super) fn turn_now(&mut self) -> bool {
        self.queue.try_recv().is_ok_and(|first| self.turn(Some(first)))
    }

    fn turn(&mut self, first: Option<Op<C>>) -> bool {
        let Some(first) = first else { return false };
        let mut ops = vec![first];
        while ops.len() < MAX_TURN
            && let Ok(op) = self.queue.try_recv()
        {
            ops.push(op);
        }
        self.run(ops);
        if self.drop_to.is_some() || self.shared.view().index.mergeable() > MERGE_BACKLOG {
            self.tidy_or_fail();
        }
        !self.closing
    }

    /// Does the operations in order, makes them durable, completes them in order.
    fn run(&mut self, ops: Vec<Op<C>>) {
        let mut turn = Turn {
            result: self.shared.view().check_not_failed(),
            sync: false,
            vote: None,
            written: Vec::new(),
            entries: 0,
            done: Vec::with_capacity(ops.len()),
        };
        for Op { work, done } in ops {
            match work {
                Work::Close => self.closers.push(done),
                _ => turn.done.push(done),
            }
            if turn.result.is_ok() || matches!(work, Work::Close) {
                turn.result = self.step(work, &mut turn);
            }
        }
        if turn.result.is_ok() {
            turn.result = self.settle(&mut turn);
        }
        complete(turn.done, &turn.result);
        if let Err(e) = turn.result {
            self.fail("writing the log", &e);
        }
    }

    fn step(&mut self, work: Work<C>, turn: &mut Turn<C>) -> io::Result<()> {
        match work {
            Work::Append {
                batch,
                first,
                entries,
            } => {
                turn.sync = true;
                let bytes = self.append(first, &entries)?;
                failpoint!("rows");
                turn.entries += entries.len();
                turn.written.push((batch, bytes));
                Ok(())
            }
            Work::Vote(vote) => {
                failpoint!("vote");
                planted!(VoteNotPersisted => turn.vote = Some(vote); return Ok(()););
                planted!(VoteLogReordered => turn.vote = Some(vote); return Ok(()););
                turn.sync = true;
                self.flush_rows()?;
                self.written.votes += 1;
                self.put_value(row::VOTE, &(self.written.votes, &vote))?;
                turn.vote = Some(vote);
                Ok(())
            }
            Work::Committed(id) => {
                // Behind the entries it covers, or a crash could show it without them.
                self.flush_rows()?;
                self.put_value(row::COMMITTED, &id)
            }
            Work::Truncate(last) => self.truncate(last),
            Work::Purge(id) => {
                failpoint!("purge");
                turn.sync = true;
                self.purge(id)?;
                failpoint!("purge-marked");
                Ok(())
            }
            Work::Mark => {
                planted!(VoteLogReordered => self.write_late_vote()?;);
                self.mark()
            }
            Work::Close => {
                self.closing = true;
                self.shared.view().stopped.get_or_insert(Stop::Closed);
                Ok(())
            }
        }
    }

    /// Syncs what the turn wrote and shows it.
    fn settle(&mut self, turn: &mut Turn<C>) -> io::Result<()> {
        self.flush_rows()?;
        if !turn.written.is_empty() {
            let mut view = self.shared.view();
            turn.written
                .drain(..)
                .for_each(|(batch, bytes)| view.tail.written(batch, bytes));
        }
        if turn.sync {
            let began = Instant::now();
            self.sync()?;
            self.figures.sync_seconds.record(began.elapsed());
            if turn.entries > 0 {
                #[allow(clippy::cast_precision_loss)] // a turn is far below 2^53 entries
                self.figures.batch_entries.record(turn.entries as f64);
            }
        }
        if let Some(vote) = turn.vote.take() {
            failpoint!("voted");
            self.mark()?;
            self.shared.view().vote = Some(vote);
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        failpoint!("fsync");
        self.disk.sync()?;
        failpoint!("fsynced");
        self.durable.clone_from(&self.written);
        Ok(())
    }

    /// Writes the watermark, unless it says the same already.
    pub(super) fn mark(&mut self) -> io::Result<()> {
        if self.marked != self.durable {
            self.disk
                .write_mark(&postcard::to_stdvec(&self.durable).map_err(io::Error::other)?)?;
            self.marked.clone_from(&self.durable);
        }
        Ok(())
    }

    /// True if the watermark vouches for more than entries up to `last`.
    pub(super) fn marked_beyond(&self, last: Option<u64>) -> bool {
        self.marked.durable.as_ref().map(|id| id.index) > last
    }

    pub(super) fn put_value<V: Serialize>(&mut self, key: &[u8], value: &V) -> io::Result<()> {
        let bytes = row::encode_value(key, value).map_err(io::Error::other)?;
        self.disk.put(key, &bytes)
    }

    pub(super) fn should_tidy(&self) -> bool {
        let work = || self.drop_to.is_some() || self.shared.view().index.mergeable() > 0;
        !self.failed && self.queue.is_empty() && !self.queue.is_closed() && work()
    }

    pub(super) fn tidy_or_fail(&mut self) {
        if !self.failed
            && let Err(e) = self.tidy()
        {
            self.fail("tidying the log", &e);
        }
    }

    fn fail(&mut self, what: &str, error: &io::Error) {
        self.failed = true;
        self.shared.fail(what, error);
    }
}

/// Tells all who waited. An error is told to each in a copy, because `io::Error` has no `Clone`.
fn complete<C: RaftTypeConfig>(done: Vec<Done<C>>, result: &io::Result<()>) {
    for done in done {
        let result = match result {
            Ok(()) => Ok(()),
            Err(e) => Err(io::Error::new(e.kind(), e.to_string())),
        };
        match done {
            Done::Nobody => {}
            Done::Raft(callback) => callback.io_completed(result),
            // Whoever asked may have gone.
            Done::Caller(answer) => drop(answer.send(result)),
        }
    }
}
