//! What snapshots need of a directory.
//!
//! The store's rules (written aside, synced, renamed, checked) know only these traits. [`Directory`] is
//! the real thing; a simulation can put files behind them that lose what was not synced.

use std::{
    fmt::Debug,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::super::durable::{create_dir, sync_dir};

/// One flat directory. Names are safe from a power cut after [`sync`](Self::sync), contents after
/// [`SnapshotData::sync`].
pub trait Files: Debug + Send + Sync + 'static {
    /// Every name, in any order.
    ///
    /// # Errors
    /// The file system's.
    fn names(&self) -> io::Result<Vec<String>>;

    /// A new, empty file.
    ///
    /// # Errors
    /// The file system's, also if there is one already.
    fn create(&self, name: &str) -> io::Result<Arc<dyn SnapshotData>>;

    /// A file that is there. It stays readable when its name is removed.
    ///
    /// # Errors
    /// The file system's.
    fn open(&self, name: &str) -> io::Result<Arc<dyn SnapshotData>>;

    /// Gives a file another name, and takes it from whatever had it.
    ///
    /// # Errors
    /// The file system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name.
    ///
    /// # Errors
    /// The file system's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all names durable.
    ///
    /// # Errors
    /// The file system's.
    fn sync(&self) -> io::Result<()>;
}

/// One file.
pub trait SnapshotData: Debug + Send + Sync + 'static {
    /// Adds bytes at the end.
    ///
    /// # Errors
    /// The file system's.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the content durable.
    ///
    /// # Errors
    /// The file system's.
    fn sync(&self) -> io::Result<()>;

    /// Its size in bytes.
    ///
    /// # Errors
    /// The file system's.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` with what stands from byte `at` on.
    ///
    /// # Errors
    /// The file system's; `UnexpectedEof` if there is less.
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

/// A directory of the file system.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// Opens or creates it, durably.
    ///
    /// # Errors
    /// The file system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        create_dir(path)?;
        Ok(Self(path.to_path_buf()))
    }
}

impl Files for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        fs::read_dir(&self.0)?.map(name).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SnapshotData>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        Ok(Arc::new(options.open(self.0.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SnapshotData>> {
        Ok(Arc::new(File::open(self.0.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        sync_dir(&self.0)
    }
}

impl SnapshotData for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        // Nothing else moves the position: reads say where.
        let mut this = self;
        this.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, at)
    }
}

/// Appends as a writer does.
pub(super) struct Appending<'a>(pub &'a dyn SnapshotData);

impl Write for Appending<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
