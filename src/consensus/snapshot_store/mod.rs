//! Snapshots as files: written aside, synced, renamed, checked whenever they are read.
//!
//! ```text
//! <dir>/snapshot-<log index, 20 digits>     the two newest; the newest is the one that counts
//! <dir>/<number>.tmp                        one being written or received
//! ```
//!
//! **If the process dies between two steps:** while writing, before or after the sync: the temporary
//! file is removed at the next open, the snapshot before it counts. After the rename, before the
//! directory is synced: a power cut may undo the rename; nobody was told of the new snapshot yet, so no
//! log was purged for it. After that, before older ones are removed: the next open removes them.
//!
//! The order is by log index, not by time: a snapshot built here may be finished after a newer one
//! was received, and must not take its place.
//!
//! All calls block. Not here: what the metadata and the payload mean.

pub(super) mod files;
pub(super) mod format;
#[cfg(test)]
mod tests;

pub use files::{Directory, Files, SnapshotData};
pub use format::{PayloadReader, RawReader, SnapshotFile};

use files::Appending;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many snapshots stay: one spare, for people.
const KEEP: usize = 2;
const PREFIX: &str = "snapshot-";
const TEMPORARY: &str = ".tmp";

/// Why a snapshot cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file system refused.
    #[error("cannot use the snapshot file {}: check that its directory is writable and has free space", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The newest snapshot here is damaged. The log behind it is purged, so the state is gone.
    #[error("the snapshot {} is damaged: this node is lost: remove its data and join it again as a new manager", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// A received snapshot is not what the sender has. Nothing here changed; it can be sent again.
    #[error("the received snapshot is damaged or incomplete")]
    Received(#[source] io::Error),
}

/// The snapshots of one manager. Share it in an `Arc`.
#[derive(Debug)]
pub struct SnapshotStore {
    files: Arc<dyn Files>,
    /// For messages.
    dir: PathBuf,
    latest: Mutex<Option<SnapshotFile>>,
    next_temporary: AtomicU64,
}

impl SnapshotStore {
    /// Opens or creates the directory, removes what an interrupted write left, and checks the newest
    /// snapshot from its first byte to its last.
    ///
    /// # Errors
    /// `Damaged` if the newest snapshot is not whole; an older one is never taken for it.
    pub fn open(dir: &Path) -> Result<Self, SnapshotError> {
        let files = Directory::open(dir).map_err(|source| SnapshotError::Io {
            path: dir.to_path_buf(),
            source,
        })?;
        Self::open_in(Arc::new(files), dir)
    }

    /// As [`open`](Self::open), with any files; `dir` is what messages call them.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in(files: Arc<dyn Files>, dir: &Path) -> Result<Self, SnapshotError> {
        let io = |source| SnapshotError::Io {
            path: dir.to_path_buf(),
            source,
        };
        for name in files.names().map_err(io)? {
            if name.ends_with(TEMPORARY) {
                files.remove(&name).map_err(io)?;
            }
        }
        let latest = match list(&*files).map_err(io)?.pop() {
            None => None,
            Some((index, name)) => Some(open_checked(&*files, dir, &name, index)?),
        };
        let store = Self {
            files,
            dir: dir.to_path_buf(),
            latest: Mutex::new(latest),
            next_temporary: AtomicU64::new(0),
        };
        store.prune().map_err(io)?;
        Ok(store)
    }

    /// The snapshot with the highest log index. The file stays readable through it even when it is
    /// removed meanwhile.
    pub fn latest(&self) -> Option<SnapshotFile> {
        self.lock().clone()
    }

    /// Writes a snapshot of the state at log index `index`; durable when this returns. `payload` may
    /// write in small pieces.
    ///
    /// # Errors
    /// `Io`, also for what `payload` returns. Nothing is left behind then.
    pub fn write(
        &self,
        index: u64,
        meta: &[u8],
        payload: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<SnapshotFile, SnapshotError> {
        let temporary = self.temporary()?;
        format::write(
            BufWriter::with_capacity(1 << 18, Appending(&*temporary.file)),
            index,
            meta,
            payload,
        )
        .map_err(|source| temporary.error(source))?;
        failpoint!("snapshot-written");
        let path = self.dir.join(&temporary.name);
        let kept = self.keep(temporary, |source| SnapshotError::Io { path, source });
        failpoint!("snapshot-built");
        kept
    }

    /// Begins to receive a snapshot: append what [`SnapshotFile::raw_reader`] gave at the sender.
    ///
    /// # Errors
    /// `Io` if no file can be created.
    pub fn receive(self: &Arc<Self>) -> Result<Incoming, SnapshotError> {
        Ok(Incoming {
            store: Arc::clone(self),
            temporary: self.temporary()?,
            bytes: 0,
        })
    }

    fn temporary(&self) -> Result<Temporary, SnapshotError> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let name = format!("{number}{TEMPORARY}");
        match self.files.create(&name) {
            Ok(file) => Ok(Temporary {
                files: Arc::clone(&self.files),
                dir: self.dir.clone(),
                name,
                file,
            }),
            Err(source) => Err(SnapshotError::Io {
                path: self.dir.join(name),
                source,
            }),
        }
    }

    /// Syncs, checks and renames a complete temporary file.
    fn keep(
        &self,
        temporary: Temporary,
        not_whole: impl FnOnce(io::Error) -> SnapshotError,
    ) -> Result<SnapshotFile, SnapshotError> {
        if !planted!(SnapshotNotSynced) {
            temporary.file.sync().map_err(|source| temporary.error(source))?;
        }
        // Read back what is about to replace the log.
        let snapshot = SnapshotFile::check(Arc::clone(&temporary.file)).map_err(not_whole)?;
        let name = format!("{PREFIX}{:020}", snapshot.index());
        let mut latest = self.lock();
        self.files
            .rename(&temporary.name, &name)
            .and_then(|()| self.files.sync())
            .map_err(|source| SnapshotError::Io {
                path: self.dir.join(&name),
                source,
            })?;
        if latest
            .as_ref()
            .is_none_or(|latest| latest.index() <= snapshot.index())
        {
            *latest = Some(snapshot.clone());
        }
        if let Err(error) = self.prune() {
            // The new snapshot is safe; the old ones go at the next one or the next open.
            tracing::warn!(%error, "old snapshots could not be removed");
        }
        Ok(snapshot)
    }

    /// Called under the lock of `latest`, or before the store is shared.
    fn prune(&self) -> io::Result<()> {
        let mut snapshots = list(&*self.files)?;
        let keep_from = snapshots.len().saturating_sub(KEEP);
        snapshots.truncate(keep_from);
        snapshots.iter().try_for_each(|(_, name)| self.files.remove(name))
    }

    fn lock(&self) -> MutexGuard<'_, Option<SnapshotFile>> {
        // Replaced as a whole, so a panic elsewhere cannot leave half of it.
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot that is being received; dropped without [`install`](Self::install), it leaves nothing.
#[derive(Debug)]
pub struct Incoming {
    store: Arc<SnapshotStore>,
    temporary: Temporary,
    bytes: u64,
}

impl Incoming {
    /// Appends the next piece.
    ///
    /// # Errors
    /// `Io`, for example a full disk.
    pub fn append(&mut self, piece: &[u8]) -> Result<(), SnapshotError> {
        self.temporary
            .file
            .append(piece)
            .map_err(|source| self.temporary.error(source))?;
        self.bytes += piece.len() as u64;
        Ok(())
    }

    /// Bytes received so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Checks what was received and keeps it, durably.
    ///
    /// # Errors
    /// `Received` if it is not whole; `Io`.
    pub fn install(self) -> Result<SnapshotFile, SnapshotError> {
        failpoint!("snapshot-received");
        let kept = self.store.keep(self.temporary, SnapshotError::Received);
        failpoint!("snapshot-kept");
        kept
    }
}

/// A file that goes away unless it was renamed.
#[derive(Debug)]
struct Temporary {
    files: Arc<dyn Files>,
    dir: PathBuf,
    name: String,
    file: Arc<dyn SnapshotData>,
}

impl Temporary {
    fn error(&self, source: io::Error) -> SnapshotError {
        SnapshotError::Io {
            path: self.dir.join(&self.name),
            source,
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Fails after the rename, as it should; a leftover goes at the next open.
        let _ = self.files.remove(&self.name);
    }
}

/// The snapshots among the files, oldest first.
fn list(files: &dyn Files) -> io::Result<Vec<(u64, String)>> {
    let index = |name: &String| name.strip_prefix(PREFIX).and_then(|index| index.parse().ok());
    let names = files.names()?.into_iter();
    let mut snapshots: Vec<_> = names
        .filter_map(|name| index(&name).map(|index| (index, name)))
        .collect();
    snapshots.sort();
    Ok(snapshots)
}

fn open_checked(
    files: &dyn Files,
    dir: &Path,
    name: &str,
    index: u64,
) -> Result<SnapshotFile, SnapshotError> {
    let file = files.open(name).map_err(|source| SnapshotError::Io {
        path: dir.join(name),
        source,
    })?;
    let damaged = |source| SnapshotError::Damaged {
        path: dir.join(name),
        source,
    };
    let snapshot = SnapshotFile::check(file).map_err(damaged)?;
    if snapshot.index() != index {
        return Err(damaged(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is another snapshot than its name says",
        )));
    }
    Ok(snapshot)
}
