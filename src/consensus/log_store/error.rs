//! Why a log cannot be opened, and what to do about it.

use super::row::RowError;
use std::io;
use std::path::PathBuf;

/// Why [`LogStore::open`](super::LogStore::open) refused.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is in use.
    #[error("another manager runs on this directory ({}): stop it first, or choose another data directory", .0.display())]
    Locked(PathBuf),
    /// The file system refused; the log itself may be fine.
    #[error("cannot use the log directory {}: check that it exists, is writable and has free space", .dir.display())]
    Io {
        /// The log's directory.
        dir: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// What is on disk is damaged or incomplete. Going on could lose acknowledged entries or vote
    /// twice, so it is never attempted.
    #[error("the log in {} is damaged: this node is lost: remove its data and join it again as a new manager", .dir.display())]
    Damaged {
        /// The log's directory.
        dir: PathBuf,
        /// What is wrong.
        #[source]
        source: Damage,
    },
}

/// What is wrong with a log on disk.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The database below could not read its own file.
    #[error("the database cannot be recovered: {0}")]
    Database(String),
    /// A row fails its checksum or cannot be decoded.
    #[error(transparent)]
    Row(#[from] RowError),
    /// Files that must be there are not.
    #[error("{0} is missing")]
    MissingFile(&'static str),
    /// The watermark file cannot be read.
    #[error("the watermark file cannot be read: {0}")]
    Watermark(String),
    /// Entries are missing inside the log.
    #[error("entries {from} to {to} are missing")]
    Gap {
        /// The first missing index.
        from: u64,
        /// The last missing index.
        to: u64,
    },
    /// Two rows hold the same entry.
    #[error("entry {0} is there twice")]
    Overlap(u64),
    /// An intact row is not the one that belongs here.
    #[error("the entries from {0} on do not continue those before them: an older version of a row came back")]
    Stale(u64),
    /// A part of a large entry is missing.
    #[error("a part of entry {0} is missing")]
    MissingPart(u64),
    /// The end of the log, which was durable, is gone.
    #[error("the log ends at {found:?}, but was durable up to {durable}")]
    LostTail {
        /// The last index that is still there.
        found: Option<u64>,
        /// The index that the watermark vouches for.
        durable: u64,
    },
    /// The entry at the watermark is another one than was made durable.
    #[error("entry {0} is not the one that was made durable")]
    ChangedEntry(u64),
    /// An older vote came back, so this node could vote twice in a term.
    #[error("the saved vote is older (number {found}) than the one that was made durable (number {durable})")]
    LostVote {
        /// The number of the vote that is still there; 0 for none.
        found: u64,
        /// The number that the watermark vouches for.
        durable: u64,
    },
    /// Entries that were known to be committed are gone.
    #[error("the log ends at {last:?}, but entries up to {committed} were committed")]
    LostCommitted {
        /// The last index that is still there.
        last: Option<u64>,
        /// The index that was saved as committed.
        committed: u64,
    },
}

/// Why the rows on a disk are not taken for a log.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// They are damaged or incomplete.
    #[error("the log is damaged")]
    Damage(#[from] Damage),
    /// The disk failed to read or write.
    #[error("the disk failed")]
    Io(#[from] io::Error),
}

impl From<RowError> for LoadError {
    fn from(error: RowError) -> Self {
        Self::Damage(Damage::Row(error))
    }
}

/// A damaged row met while running.
pub(super) fn corrupt(error: RowError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
