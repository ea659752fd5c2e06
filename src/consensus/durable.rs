//! Directory changes that survive a power cut: a name is safe once its directory is fsynced.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Creates `dir` and what is missing above it.
pub(super) fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_dir(parent)?;
    // Someone else may have made it meanwhile.
    fs::create_dir(dir).or_else(|e| if dir.is_dir() { Ok(()) } else { Err(e) })?;
    sync_dir(parent)
}

/// Makes all names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
