//! Files that are there whole or not at all, also after a power cut, and secret ones for their
//! owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::SecurityError;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its owner only (0600).
    Secret,
    /// Everyone (0644).
    Public,
}

/// Replaces `path` by a file with this content: temporary name, fsync, rename, fsync of the
/// directory. Whoever reads sees the old content or the new.
///
/// # Errors
/// `Write`; `path` is then as it was.
pub fn write(path: &Path, content: &[u8], access: Access) -> Result<(), SecurityError> {
    replace(path, content, access).map_err(|source| SecurityError::Write {
        path: path.to_owned(),
        source,
    })
}

/// The text in `path`.
///
/// # Errors
/// `Read`, also where the file is not UTF-8.
pub fn read(path: &Path) -> Result<String, SecurityError> {
    fs::read_to_string(path).map_err(|source| SecurityError::read(path, source))
}

/// Makes a directory, with its parents, that only its owner may enter. One that exists stays as it is.
///
/// # Errors
/// `Write`.
pub fn make_dir(path: &Path) -> Result<(), SecurityError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| SecurityError::Write {
            path: path.to_owned(),
            source,
        })
}

fn replace(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    // Distinct also between threads, so that two writers never share a temporary file.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_string_lossy();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = parent.join(format!(".{name}.{}-{number}", std::process::id()));
    let mode = match access {
        Access::Secret => 0o600,
        Access::Public => 0o644,
    };
    let result = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(parent)?.sync_all()
    })();
    if result.is_err() {
        // The first error is the one to report; a left-over temporary file is never read.
        let _ = fs::remove_file(&temporary);
    }
    result
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn content_is_replaced_with_the_right_mode_and_nothing_is_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        write(&path, b"new", Access::Secret).unwrap();
        assert_eq!(read(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_names_the_file_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        let error = write(&path, b"x", Access::Public).unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
