//! The Raft log and vote, on sled, with a true fsync before anything is acknowledged.
//!
//! ```text
//!  openraft ── append, truncate, purge, vote ──> LogStore ──queue──> Writer (one thread)
//!     ^                                            │ view: tail, index     │ rows
//!     └── entries: tail, else rows <───────────────┘                       v
//!                                                              LogDisk (sled) + watermark
//! ```
//!
//! Invariants:
//!
//! - What is acknowledged is durable: a callback is completed, a vote answered, after `fdatasync`.
//! - One queue, one writer, strict order; a turn takes all that waits and syncs once.
//! - An entry can be read as soon as `append` returns, before it is durable.
//! - Nothing damaged is served: each row and the order of rows are checked when the log is opened and
//!   when it is read. A log that is not whole is refused, see [`OpenError`].
//! - After the first error nothing more is written; the [`FatalHook`] is called once.
//!
//! Not here: snapshots ([`snapshot_store`](super::snapshot_store)), and what entries mean.

mod disk;
mod driver;
mod error;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod index;
mod load;
mod pack;
#[cfg(feature = "planted")]
mod planted;
mod raft;
mod read;
mod row;
mod shared;
mod sled_disk;
mod tail;
#[cfg(test)]
mod tests;
mod watermark;
mod writer;

pub use disk::{Change, LogDisk, MAX_MARK};
pub use error::{Damage, LoadError, OpenError};
pub use row::RowError;
pub use shared::FatalHook;
pub use sled_disk::SledDisk;
pub use tail::TailLimits;
pub use writer::Writer;

use openraft::entry::RaftEntry;
use openraft::vote::RaftLeaderId;
use openraft::{LogId, RaftTypeConfig};
use shared::Shared;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use writer::{Done, Op, Work};

type LogIdOf<C> = LogId<<<C as RaftTypeConfig>::LeaderId as RaftLeaderId>::Committed>;
type VoteOf<C> = <C as RaftTypeConfig>::Vote;

/// The log of one manager. Clones share it; it is its own reader.
pub struct LogStore<C: RaftTypeConfig> {
    shared: Arc<Shared<C>>,
    queue: UnboundedSender<Op<C>>,
}

impl<C: RaftTypeConfig> Clone for LogStore<C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            queue: self.queue.clone(),
        }
    }
}

impl<C: RaftTypeConfig> LogStore<C> {
    /// Opens or creates the log in `dir`, checks all of it and starts its writer. Blocks; call it from
    /// a thread that may. `fatal` is called at most once, from any thread, when the log cannot go on:
    /// the process should then end, because nothing is written any more.
    ///
    /// # Errors
    /// See [`OpenError`]: in use, damaged, or the file system refused.
    pub fn open(dir: &Path, fatal: FatalHook) -> Result<Self, OpenError> {
        let disk = SledDisk::open(dir)?;
        let io = |source| OpenError::Io {
            dir: dir.to_path_buf(),
            source,
        };
        let (store, writer) =
            Self::on_disk(Arc::new(disk), TailLimits::default(), fatal).map_err(|e| match e {
                LoadError::Damage(source) => OpenError::Damaged {
                    dir: dir.to_path_buf(),
                    source,
                },
                LoadError::Io(source) if source.kind() == io::ErrorKind::InvalidData => OpenError::Damaged {
                    dir: dir.to_path_buf(),
                    source: Damage::Database(source.to_string()),
                },
                LoadError::Io(source) => io(source),
            })?;
        driver::spawn(writer, store.queue.downgrade(), driver::Watch::default()).map_err(io)?;
        Ok(store)
    }

    /// As [`open`](Self::open), on any disk and without threads: the caller runs the writer's turns and
    /// calls [`refresh_watermark`](Self::refresh_watermark) about once a second.
    ///
    /// # Errors
    /// Damage, or the disk's own error.
    pub fn on_disk(
        disk: Arc<dyn LogDisk>,
        limits: TailLimits,
        fatal: FatalHook,
    ) -> Result<(Self, Writer<C>), LoadError> {
        let (view, loaded) = load::load::<C>(disk.as_ref(), limits)?;
        // What was read may be in the operating system's cache only: after a kill the last rows were
        // never synced. From here on all of it counts as durable.
        disk.sync()?;
        if loaded.fresh {
            // Twice, so that no slot is left which says that nothing was ever acknowledged.
            let mark = postcard::to_stdvec(&loaded.written).map_err(io::Error::other)?;
            disk.write_mark(&mark)?;
            disk.write_mark(&mark)?;
        }
        let shared = Arc::new(Shared::new(view, Arc::clone(&disk), fatal));
        let (queue, receiver) = unbounded_channel();
        let writer = Writer::new(Arc::clone(&shared), disk, receiver, loaded);
        Ok((Self { shared, queue }, writer))
    }

    /// Writes what waits, brings the watermark up to date and lets go of the directory, which can be
    /// opened again when this returns. Appends fail afterwards. Dropping all clones does the same
    /// without waiting.
    pub async fn close(&self) {
        let (answer, done) = oneshot::channel();
        // An error of either means that it is closed already.
        if self
            .queue
            .send(Op {
                work: Work::Close,
                done: Done::Caller(answer),
            })
            .is_ok()
        {
            let _ = done.await;
        }
    }

    /// The first index that is not purged.
    #[cfg(test)]
    pub fn first_index(&self) -> u64 {
        self.shared.view().start()
    }

    /// Payload bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.shared.view().index.bytes()
    }

    /// Where the newest entries begin whose rows hold no more than `bytes` together; `None` while there are
    /// no rows.
    pub fn newest(&self, bytes: usize) -> Option<u64> {
        self.shared.view().index.newest(bytes)
    }

    /// Has the watermark brought up to date with what is durable.
    pub fn refresh_watermark(&self) {
        // Refused only if the writer has ended.
        let _ = self.submit(Work::Mark, Done::Nobody);
    }

    /// Hands an operation to the writer.
    fn submit(&self, work: Work<C>, done: Done<C>) -> io::Result<()> {
        self.queue
            .send(Op { work, done })
            .map_err(|_| shared::Stop::Closed.error())
    }
}

fn entry_index<C: RaftTypeConfig>(entry: &C::Entry) -> u64 {
    entry.log_id_parts().1
}

fn entry_log_id<C: RaftTypeConfig>(entry: &C::Entry) -> LogIdOf<C> {
    let (leader_id, index) = entry.log_id_parts();
    LogId {
        leader_id: leader_id.clone(),
        index,
    }
}

fn log_index<C: RaftTypeConfig>(id: &LogIdOf<C>) -> u64 {
    id.index
}
