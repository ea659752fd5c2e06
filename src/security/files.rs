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

/// Makes a directory, with its parents, that only its owner may enter. One that exists stays as it is. Its name is
/// durable: everything in it is lost with its name, however well it was synced.
///
/// # Errors
/// `Write`.
pub fn make_dir(path: &Path) -> Result<(), SecurityError> {
    make(path).map_err(|source| SecurityError::Write {
        path: path.to_owned(),
        source,
    })
}

fn make(path: &Path) -> io::Result<()> {
    let parent = parent(path);
    if path.is_dir() {
        // Whoever made it may have died before its name was durable. A directory above that may not be read was
        // not made by us.
        return match File::open(parent) {
            Ok(above) => above.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(error),
        };
    }
    // One at a time, as each name is in another directory.
    if !parent.is_dir() {
        make(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        // Somebody else made it meanwhile.
        Err(_) if path.is_dir() => {}
        made => made?,
    }
    File::open(parent)?.sync_all()
}

/// The directory that has the name of this file or directory.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn replace(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    // Distinct also between threads, so that two writers never share a temporary file.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let parent = parent(path);
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

    /// That names outlive a power cut is what the fault `power-all` of `jepsen/` finds out.
    #[test]
    fn directories_are_made_for_their_owner_and_left_alone_where_they_exist() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (above, path) = (dir.path().join("a"), dir.path().join("a/b"));
        make_dir(&path).unwrap();
        assert_eq!((mode(&above), mode(&path)), (0o700, 0o700));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        make_dir(&path).unwrap();
        assert_eq!(mode(&path), 0o750);
        let file = path.join("file");
        fs::write(&file, "x").unwrap();
        assert!(make_dir(&file).is_err() && make_dir(&file.join("c")).is_err());
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
