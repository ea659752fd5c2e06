//! The log's rows in one sled tree, made durable.
//!
//! Sled's `flush` on Linux ends in `sync_file_range`, which does not reach the platter and does not
//! write the file's size. [`SledDisk::sync`] therefore follows it with `fdatasync` on our own handle of
//! sled's file. Sled may also panic on damage: every call is guarded and turns that into an error.
//!
//! **Creation, and a crash inside it.** Order: lock, empty watermark, sled's files, fsync of all and of
//! the directory. The log is told that it may acknowledge only after that, and its first act is to
//! fill the watermark. So an empty watermark proves that nothing was ever acknowledged, and whatever
//! half of a database lies beside it is removed and created again.
//!
//! **Every start, and a crash after it.** Opening, sled writes a snapshot of where its pages are, renames it,
//! removes the one before and overwrites the parts of its log that only that one needed. It does not sync the
//! directory. A power cut could then bring the old snapshot back beside a log that was overwritten, from which
//! sled recovers nothing at all, on every manager that started since. So the directory is synced before anything
//! is written. A second power cut within the few milliseconds of the opening itself is not covered: the
//! watermark then refuses what is left, and the manager is joined anew.

use super::disk::{Change, LogDisk};
use super::error::{Damage, OpenError};
use super::watermark::{WatermarkError, WatermarkFile};
use crate::consensus::durable::{create_dir, sync_dir};
use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Larger than sled's default, so that a full page of rows (1.6 MB) stays below a quarter of it and
/// never becomes a blob file.
const SEGMENT: usize = 8 << 20;
/// The log is read back rarely; recent entries are in the tail.
const CACHE: u64 = 32 << 20;
/// Sled's own fsync and its garbage collection; `None` would turn both off.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// How long a store of this process that was just dropped may still hold the lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// The real disk.
#[derive(Debug)]
pub struct SledDisk {
    // Dropped in this order: sled first, our lock last.
    db: sled::Db,
    file: File,
    watermark: Mutex<WatermarkFile>,
    _lock: File,
}

impl SledDisk {
    /// Opens or creates the database in `dir`, and takes its lock.
    ///
    /// # Errors
    /// See [`OpenError`]; `Damaged` whenever files are missing or sled cannot recover.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io {
            dir: dir.to_path_buf(),
            source,
        };
        let damaged = |source| OpenError::Damaged {
            dir: dir.to_path_buf(),
            source,
        };

        create_dir(dir).map_err(io)?;
        let lock = lock(dir)?;
        let watermark = match WatermarkFile::open(dir) {
            Ok(file) => file,
            Err(WatermarkError::Missing) if dir.join("db").exists() => {
                return Err(damaged(Damage::MissingFile("the watermark file")));
            }
            Err(WatermarkError::Missing) => {
                let file = WatermarkFile::create(dir).map_err(io)?;
                sync_dir(dir).map_err(io)?;
                file
            }
            Err(WatermarkError::Unreadable(why)) => return Err(damaged(Damage::Watermark(why))),
            Err(WatermarkError::Io(e)) => return Err(io(e)),
        };
        let fresh = watermark.record().is_empty();
        if fresh {
            remove_half_created(dir).map_err(io)?;
        } else if !dir.join("db").exists() {
            return Err(damaged(Damage::MissingFile("the database file")));
        }

        let db = open_sled(dir).map_err(|e| match e {
            sled::Error::Io(source) if source.kind() != io::ErrorKind::InvalidData => io(source),
            other => damaged(Damage::Database(other.to_string())),
        })?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(dir.join("db"))
            .map_err(io)?;
        if fresh {
            sync_created(dir, &file).map_err(io)?;
        } else if !planted!(OpeningNotSynced) {
            sync_dir(dir).map_err(io)?;
        }
        Ok(Self {
            db,
            file,
            watermark: Mutex::new(watermark),
            _lock: lock,
        })
    }

    fn watermark(&self) -> std::sync::MutexGuard<'_, WatermarkFile> {
        // The record is replaced as a whole, so a panic elsewhere cannot leave half of one.
        self.watermark.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogDisk for SledDisk {
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> io::Result<()> {
        guard(|| {
            for row in self.db.iter() {
                let (key, row) = row?;
                if !visit(&key, &row) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        guard(|| Ok(self.db.get(key)?.map(|row| row.to_vec())))
    }

    fn put(&self, key: &[u8], row: &[u8]) -> io::Result<()> {
        guard(|| self.db.insert(key, row).map(drop))
    }

    fn remove(&self, key: &[u8]) -> io::Result<()> {
        guard(|| self.db.remove(key).map(drop))
    }

    fn apply(&self, changes: Vec<Change>) -> io::Result<()> {
        let mut batch = sled::Batch::default();
        for change in changes {
            match change {
                Change::Put(key, row) => batch.insert(key, row),
                Change::Remove(key) => batch.remove(key),
            }
        }
        guard(|| self.db.apply_batch(batch))
    }

    fn sync(&self) -> io::Result<()> {
        planted!(SkipFlush => return Ok(()););
        guard(|| self.db.flush().map(drop))?;
        planted!(SkipFsync => return Ok(()););
        self.file.sync_data()
    }

    fn read_mark(&self) -> io::Result<Vec<u8>> {
        Ok(self.watermark().record().to_vec())
    }

    fn write_mark(&self, mark: &[u8]) -> io::Result<()> {
        self.watermark().write(mark)
    }
}

/// Calls into sled; a panic becomes an error.
fn guard<T>(call: impl FnOnce() -> sled::Result<T>) -> io::Result<T> {
    // After an error nothing of sled is used again, so no broken invariant of it is ever seen.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(io::Error::from),
        Err(panic) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            describe(panic.as_ref()),
        )),
    }
}

fn describe(panic: &(dyn Any + Send)) -> String {
    let why = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given");
    format!("the database panicked: {why}")
}

fn open_sled(dir: &Path) -> sled::Result<sled::Db> {
    // Sled's own flushing would save most of what these lose.
    let flush_every = (!planted!(SkipFsync))
        .then_some(FLUSH_EVERY.as_millis() as u64)
        .filter(|_| !planted!(SkipFlush));
    // The bug shows when a segment is used again, which small ones are soon.
    let segment = if planted!(OpeningNotSynced) {
        1 << 20
    } else {
        SEGMENT
    };
    let config = sled::Config::new()
        .path(dir)
        .segment_size(segment)
        .cache_capacity(CACHE)
        .flush_every_ms(flush_every);
    let start = Instant::now();
    loop {
        let error = match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(e)) => e,
            Err(panic) => return Err(sled::Error::ReportableBug(describe(panic.as_ref()))),
        };
        // Our own lock is held, so only threads of a database this process just dropped can hold
        // sled's; they let go soon.
        let locked = matches!(&error, sled::Error::Io(e) if e.to_string().contains("could not acquire lock"));
        if !locked || start.elapsed() > LOCK_PATIENCE {
            return Err(error);
        }
        std::thread::sleep(LOCK_RETRY);
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let io = |source| OpenError::Io {
        dir: dir.to_path_buf(),
        source,
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("lock"))
        .map_err(io)?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(e)) => return Err(io(e)),
            Err(TryLockError::WouldBlock) if start.elapsed() > LOCK_PATIENCE => {
                return Err(OpenError::Locked(dir.to_path_buf()));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
        }
    }
}

/// Removes what a crash inside the creation left. Only called while the watermark is empty.
fn remove_half_created(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == "blobs" {
            fs::remove_dir_all(entry.path())?;
        } else if name == "db" || name == "conf" || name.starts_with("snap.") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn sync_created(dir: &Path, db: &File) -> io::Result<()> {
    File::open(dir.join("conf"))?.sync_all()?;
    db.sync_all()?;
    sync_dir(dir)
}
