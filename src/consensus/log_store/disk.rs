//! What the log needs of a disk.
//!
//! The log's rules (what is written in which order, when it is durable, when it is acknowledged) live
//! in [`Writer`](super::Writer) and know only this trait. [`SledDisk`](super::SledDisk) is the real
//! one; a simulation can put an in-memory disk behind it that loses what was not synced.

use std::io;

/// One change of an atomic batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Insert or replace a row: key, bytes.
    Put(Vec<u8>, Vec<u8>),
    /// Remove a row by its key.
    Remove(Vec<u8>),
}

/// Rows in key order, and one small record beside them.
///
/// Calls may block. `put`, `remove`, `apply`, `sync` and `write_mark` come from one thread; `get`
/// may come from any. **Order**: after a power cut the rows are as if some prefix of the calls
/// before had been made, at least up to the last `sync` that returned. After the first error of any
/// call none of them is used again.
pub trait LogDisk: Send + Sync + 'static {
    /// Shows every row in key order, until `visit` returns false.
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> io::Result<()>;

    /// One row.
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// Inserts or replaces a row; readable at once, durable after the next `sync`.
    fn put(&self, key: &[u8], row: &[u8]) -> io::Result<()>;

    /// Removes a row; durable after the next `sync`.
    fn remove(&self, key: &[u8]) -> io::Result<()>;

    /// Makes all changes or, after a crash, none; durable after the next `sync`.
    fn apply(&self, changes: Vec<Change>) -> io::Result<()>;

    /// Makes everything before it durable.
    fn sync(&self) -> io::Result<()>;

    /// The record beside the rows; empty if it was never written.
    fn read_mark(&self) -> io::Result<Vec<u8>>;

    /// Replaces the record: durable when it returns, and never lost or mixed up by a crash (then
    /// the one before is still there). At most [`MAX_MARK`] bytes.
    fn write_mark(&self, mark: &[u8]) -> io::Result<()>;
}

/// Most bytes in the record beside the rows.
pub const MAX_MARK: usize = 2048;
