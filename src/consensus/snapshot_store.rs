//! Snapshots as files.
//!
//! A snapshot is one file: a head (magic, lengths), the raft meta, the payload, and a CRC-32 over all
//! of it. It is written under a temporary name, fsynced, renamed, and the directory is fsynced: a
//! death at any step leaves either the old snapshot or the new one, and perhaps a temporary file,
//! which the next start removes. The newest two are kept.
//!
//! A damaged newest snapshot is an error, never a reason to go on with an older one: the log behind
//! it is purged.
//!
//! Everything here blocks; callers run it where blocking is allowed.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use crc32fast::Hasher;

const MAGIC: &[u8; 8] = b"QRSNAP01";
const HEAD: usize = 8 + 4;
const TRAILER: usize = 4;
const KEEP: usize = 2;
const MAX_META: usize = 1 << 20;

/// Why a snapshot can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file system refused.
    #[error("{path}: the file system refused")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what was written.
    #[error(
        "{path} is damaged ({what}): this manager is lost; remove its data and join it again as a new manager"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// How it shows.
        what: &'static str,
    },
}

type Result<T> = std::result::Result<T, SnapshotError>;

/// The snapshots of one manager.
#[derive(Debug)]
pub struct SnapshotStore {
    dir: PathBuf,
    next: AtomicU64,
}

/// A whole, checked snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    path: PathBuf,
    meta: Bytes,
    payload_at: u64,
    payload_len: u64,
    /// Open, so that a later snapshot's clean-up does not take it away from a reader.
    file: Arc<File>,
}

/// A snapshot on its way in from another manager. Dropped before [`finish`](Self::finish), it leaves
/// only a temporary file, which is removed.
#[derive(Debug)]
pub struct SnapshotReceiver {
    out: BufWriter<File>,
    temporary: Temporary,
    target: PathBuf,
    dir: PathBuf,
}

/// Removes the file when dropped, unless it was renamed.
#[derive(Debug)]
struct Temporary(Option<PathBuf>);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // It is removed at the next start otherwise.
            let _ = fs::remove_file(path);
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |source| SnapshotError::Io { path, source }
}

impl SnapshotStore {
    /// Opens or creates the directory and removes what an earlier life left unfinished.
    ///
    /// # Errors
    /// The file system's.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(at(dir))?;
        let mut newest = 0;
        for entry in fs::read_dir(dir).map_err(at(dir))? {
            let path = entry.map_err(at(dir))?.path();
            match number(&path) {
                Some(number) => newest = newest.max(number),
                None if path.extension().is_some_and(|e| e == "tmp") => {
                    fs::remove_file(&path).map_err(at(&path))?
                }
                None => {}
            }
        }
        sync_dir(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            next: AtomicU64::new(newest + 1),
        })
    }

    /// Writes a snapshot: `meta` as given, the payload by `write`.
    ///
    /// # Errors
    /// The file system's; nothing is left behind then.
    pub fn write(
        &self,
        meta: &[u8],
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<SnapshotFile> {
        let mut receiver = self.receive()?;
        let path = receiver.target.clone();
        let mut out = Hashing {
            out: &mut receiver.out,
            hasher: Hasher::new(),
        };
        let written = (|| {
            out.write_all(MAGIC)?;
            out.write_all(&u32::try_from(meta.len()).map_err(io::Error::other)?.to_be_bytes())?;
            out.write_all(meta)?;
            write(&mut out)?;
            let sum = out.hasher.clone().finalize();
            out.out.write_all(&sum.to_be_bytes())
        })();
        written.map_err(at(&path))?;
        receiver.finish()
    }

    /// Begins to take a snapshot in: the bytes of a whole file, as [`SnapshotFile::parts`] gives them.
    ///
    /// # Errors
    /// The file system's.
    pub fn receive(&self) -> Result<SnapshotReceiver> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let target = self.dir.join(format!("{number:020}.snapshot"));
        let path = target.with_extension("tmp");
        let file = File::create(&path).map_err(at(&path))?;
        let temporary = Temporary(Some(path));
        Ok(SnapshotReceiver {
            out: BufWriter::with_capacity(1 << 20, file),
            temporary,
            target,
            dir: self.dir.clone(),
        })
    }

    /// The newest snapshot, checked.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`], also when an older one is whole.
    pub fn latest(&self) -> Result<Option<SnapshotFile>> {
        list(&self.dir)?
            .pop()
            .map(|path| SnapshotFile::open(&path))
            .transpose()
    }
}

impl SnapshotReceiver {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// The file system's.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(at(&self.target))
    }

    /// Makes it durable and checks it; only then does it get its name.
    ///
    /// # Errors
    /// The file system's, or damage on the way.
    pub fn finish(mut self) -> Result<SnapshotFile> {
        self.out.flush().map_err(at(&self.target))?;
        self.out.get_ref().sync_all().map_err(at(&self.target))?;
        let Some(path) = self.temporary.0.as_ref() else {
            return Err(SnapshotError::Damaged {
                path: self.target,
                what: "it was finished twice",
            });
        };
        SnapshotFile::open(path)?;
        fs::rename(path, &self.target).map_err(at(&self.target))?;
        self.temporary.0 = None;
        sync_dir(&self.dir)?;
        let mut all = list(&self.dir)?;
        all.truncate(all.len().saturating_sub(KEEP));
        for old in all {
            fs::remove_file(&old).map_err(at(&old))?;
        }
        SnapshotFile::open(&self.target)
    }
}

impl SnapshotFile {
    fn open(path: &Path) -> Result<Self> {
        let damaged = |what| SnapshotError::Damaged {
            path: path.to_owned(),
            what,
        };
        let file = File::open(path).map_err(at(path))?;
        let len = file.metadata().map_err(at(path))?.len();
        if len < (HEAD + TRAILER) as u64 {
            return Err(damaged("it is cut short"));
        }
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut head = [0; HEAD];
        reader.read_exact(&mut head).map_err(at(path))?;
        if &head[..8] != MAGIC {
            return Err(damaged("it does not begin as a snapshot"));
        }
        let mut meta_len = [0; 4];
        meta_len.copy_from_slice(&head[8..]);
        let meta_len = u32::from_be_bytes(meta_len) as usize;
        let body = len - (HEAD + TRAILER) as u64;
        if meta_len > MAX_META || meta_len as u64 > body {
            return Err(damaged("its lengths make no sense"));
        }
        let mut meta = vec![0; meta_len];
        reader.read_exact(&mut meta).map_err(at(path))?;
        let mut hasher = Hasher::new();
        hasher.update(&head);
        hasher.update(&meta);
        let payload_len = body - meta_len as u64;
        let mut left = payload_len;
        let mut chunk = vec![0; 1 << 20];
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            reader.read_exact(&mut chunk[..step]).map_err(at(path))?;
            hasher.update(&chunk[..step]);
            left -= step as u64;
        }
        let mut sum = [0; TRAILER];
        reader.read_exact(&mut sum).map_err(at(path))?;
        if u32::from_be_bytes(sum) != hasher.finalize() {
            return Err(damaged("its checksum differs"));
        }
        drop(reader);
        let payload_at = (HEAD + meta_len) as u64;
        Ok(Self {
            path: path.to_owned(),
            meta: meta.into(),
            payload_at,
            payload_len,
            file: Arc::new(file),
        })
    }

    /// The meta it was written with.
    pub fn meta(&self) -> &[u8] {
        &self.meta
    }

    /// The whole payload.
    ///
    /// # Errors
    /// The file system's.
    pub fn read_payload(&self) -> Result<Vec<u8>> {
        let mut payload = Vec::with_capacity(usize::try_from(self.payload_len).unwrap_or(0));
        let read = (|| {
            let mut file = &*self.file;
            file.seek(SeekFrom::Start(self.payload_at))?;
            file.take(self.payload_len).read_to_end(&mut payload)
        })();
        read.map_err(at(&self.path))?;
        Ok(payload)
    }

    /// The bytes of the whole file, `size` at a time.
    pub fn parts(&self, size: usize) -> impl Iterator<Item = io::Result<Bytes>> + Send + use<> {
        use std::os::unix::fs::FileExt;
        let file = self.file.clone();
        let len = self.payload_at + self.payload_len + TRAILER as u64;
        (0..len).step_by(size).map(move |at| {
            let step = usize::try_from(len - at).unwrap_or(usize::MAX).min(size);
            let mut part = vec![0; step];
            file.read_exact_at(&mut part, at).map(|()| part.into())
        })
    }
}

/// Passes bytes on and sums them up.
struct Hashing<'a, W> {
    out: &'a mut W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".snapshot")?.parse().ok()
}

/// All snapshots, oldest first.
fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let path = entry.map_err(at(dir))?.path();
        found.extend(number(&path).map(|number| (number, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(at(dir))
}
