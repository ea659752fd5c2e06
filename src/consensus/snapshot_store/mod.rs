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

pub(super) mod format;
#[cfg(test)]
mod tests;

pub use format::{PayloadReader, RawReader, SnapshotFile};

use super::durable::{create_dir, sync_dir};
use std::fs::{self, File, OpenOptions};
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
        let io = |source| SnapshotError::Io {
            path: dir.to_path_buf(),
            source,
        };
        create_dir(dir).map_err(io)?;
        for entry in fs::read_dir(dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.to_string_lossy().ends_with(TEMPORARY) {
                fs::remove_file(&path).map_err(io)?;
            }
        }
        let latest = match list(dir).map_err(io)?.pop() {
            None => None,
            Some((index, path)) => Some(open_checked(&path, index)?),
        };
        let store = Self {
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
            BufWriter::with_capacity(1 << 18, &*temporary.file),
            index,
            meta,
            payload,
        )
        .map_err(|source| temporary.error(source))?;
        failpoint!("snapshot-written");
        let path = temporary.path.clone();
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
        let path = self.dir.join(format!("{number}{TEMPORARY}"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        match file {
            Ok(file) => Ok(Temporary {
                path,
                file: Arc::new(file),
            }),
            Err(source) => Err(SnapshotError::Io { path, source }),
        }
    }

    /// Syncs, checks and renames a complete temporary file.
    fn keep(
        &self,
        temporary: Temporary,
        not_whole: impl FnOnce(io::Error) -> SnapshotError,
    ) -> Result<SnapshotFile, SnapshotError> {
        if !planted!(SnapshotNotSynced) {
            let synced = temporary.file.sync_all();
            synced.map_err(|source| temporary.error(source))?;
        }
        // Read back what is about to replace the log.
        let snapshot = SnapshotFile::check(Arc::clone(&temporary.file)).map_err(not_whole)?;
        let path = self.dir.join(format!("{PREFIX}{:020}", snapshot.index()));
        let mut latest = self.lock();
        fs::rename(&temporary.path, &path)
            .and_then(|()| sync_dir(&self.dir))
            .map_err(|source| SnapshotError::Io {
                path: path.clone(),
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
        let mut snapshots = list(&self.dir)?;
        let keep_from = snapshots.len().saturating_sub(KEEP);
        snapshots.truncate(keep_from);
        snapshots.iter().try_for_each(|(_, path)| fs::remove_file(path))
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
        (&*self.temporary.file)
            .write_all(piece)
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
    path: PathBuf,
    file: Arc<File>,
}

impl Temporary {
    fn error(&self, source: io::Error) -> SnapshotError {
        SnapshotError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Fails after the rename, as it should; a leftover goes at the next open.
        let _ = fs::remove_file(&self.path);
    }
}

/// The snapshots in a directory, oldest first.
fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut snapshots = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(Ok(index)) = name.strip_prefix(PREFIX).map(str::parse) {
            snapshots.push((index, path));
        }
    }
    snapshots.sort();
    Ok(snapshots)
}

fn open_checked(path: &Path, index: u64) -> Result<SnapshotFile, SnapshotError> {
    let file = File::open(path).map_err(|source| SnapshotError::Io {
        path: path.to_path_buf(),
        source,
    })?;
    let damaged = |source| SnapshotError::Damaged {
        path: path.to_path_buf(),
        source,
    };
    let snapshot = SnapshotFile::check(Arc::new(file)).map_err(damaged)?;
    if snapshot.index() != index {
        return Err(damaged(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is another snapshot than its name says",
        )));
    }
    Ok(snapshot)
}
