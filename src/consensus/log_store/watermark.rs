//! The watermark: how far the log was durable, kept outside the database.
//!
//! Sled treats a damaged or cut file as if a power cut had torn its end: it opens, shorter. For Raft
//! that is worse than a failed open, because entries that this node acknowledged are gone and its
//! quorum does not know. So a second, independent record says "durable up to this log id, and this
//! is vote number n", and a log that shows less than that is refused.
//!
//! The record may lag behind (it then vouches for less) but never run ahead of the database:
//!
//! - appended: written lazily after the sync, about once a second and on close. It costs the hot
//!   path nothing; an entry acknowledged in the last second before the damage is not covered.
//! - truncated: lowered and durable *before* the rows go. A crash between leaves a low record.
//! - voted: written after the row's sync and before the acknowledgement, so no acknowledged vote is
//!   ever uncovered. A crash between leaves a record that vouches for the vote before.
//! - purged: not touched; an index at or below the purged one is vouched for by the snapshot.
//!
//! The file has two slots that are overwritten in turn, in place: no rename, no allocation (it works
//! on a full disk), and a torn write leaves the other slot.

use super::row::extend_chain;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const NAME: &str = "watermark";
const MAGIC: &[u8; 8] = b"qrmkslot";
const SLOT: usize = 4096;
/// Magic, sequence number, length, checksum.
const HEAD: usize = 8 + 8 + 4 + 4;

/// The record, for one configuration's log ids.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Watermark<L> {
    /// How many votes were saved.
    pub votes: u64,
    /// The last log id that was durable.
    pub durable: Option<L>,
}

impl<L> Default for Watermark<L> {
    fn default() -> Self {
        Self {
            votes: 0,
            durable: None,
        }
    }
}

/// The two slots on disk.
#[derive(Debug)]
pub(super) struct WatermarkFile {
    file: File,
    sequence: u64,
    record: Vec<u8>,
}

/// Why there is no usable watermark file.
#[derive(Debug)]
pub(super) enum WatermarkError {
    Missing,
    Unreadable(String),
    Io(io::Error),
}

impl From<io::Error> for WatermarkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl WatermarkFile {
    /// Opens an existing file and finds the newer valid slot.
    pub fn open(dir: &Path) -> Result<Self, WatermarkError> {
        let file = match OpenOptions::new().read(true).write(true).open(dir.join(NAME)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(WatermarkError::Missing),
            Err(e) => return Err(e.into()),
        };
        if file.metadata()?.len() == 0 {
            // The crash came between creating the file and its first write: nothing else exists.
            return Err(WatermarkError::Missing);
        }
        let newest = (0..2)
            .filter_map(|slot| read_slot(&file, slot))
            .max_by_key(|(sequence, _)| *sequence);
        let Some((sequence, record)) = newest else {
            return Err(WatermarkError::Unreadable(
                "neither of its two slots passes its checksum".into(),
            ));
        };
        Ok(Self {
            file,
            sequence,
            record,
        })
    }

    /// Creates the file with an empty record. The caller syncs the directory.
    pub fn create(dir: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(dir.join(NAME))?;
        let mut this = Self {
            file,
            sequence: 0,
            record: Vec::new(),
        };
        // Both slots at once, so that later writes never extend the file.
        let mut slots = slot_bytes(0, &[]);
        slots.resize(SLOT, 0);
        slots.extend_from_slice(&slot_bytes(1, &[]));
        slots.resize(2 * SLOT, 0);
        this.file.write_all_at(&slots, 0)?;
        this.file.sync_all()?;
        this.sequence = 1;
        Ok(this)
    }

    /// The record; empty as long as none was written.
    pub fn record(&self) -> &[u8] {
        &self.record
    }

    /// Overwrites the older slot, durably.
    pub fn write(&mut self, record: &[u8]) -> io::Result<()> {
        if record.len() > super::disk::MAX_MARK {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the watermark record is too long",
            ));
        }
        let sequence = self.sequence + 1;
        self.file
            .write_all_at(&slot_bytes(sequence, record), (sequence % 2) * SLOT as u64)?;
        self.file.sync_data()?;
        self.sequence = sequence;
        self.record = record.to_vec();
        Ok(())
    }
}

fn slot_bytes(sequence: u64, record: &[u8]) -> Vec<u8> {
    let mut slot = Vec::with_capacity(HEAD + record.len());
    slot.extend_from_slice(MAGIC);
    slot.extend_from_slice(&sequence.to_le_bytes());
    // Bounded by MAX_MARK.
    slot.extend_from_slice(&(record.len() as u32).to_le_bytes());
    let crc = extend_chain(extend_chain(0, &slot), record);
    slot.extend_from_slice(&crc.to_le_bytes());
    slot.extend_from_slice(record);
    slot
}

fn read_slot(file: &File, slot: u64) -> Option<(u64, Vec<u8>)> {
    let mut bytes = vec![0; SLOT];
    file.read_exact_at(&mut bytes, slot * SLOT as u64).ok()?;
    let (head, rest) = bytes.split_at(HEAD);
    let sequence = u64::from_le_bytes(head[8..16].try_into().ok()?);
    let length = u32::from_le_bytes(head[16..20].try_into().ok()?);
    let record = rest.get(..length as usize)?;
    (slot_bytes(sequence, record) == bytes[..HEAD + record.len()]).then(|| (sequence, record.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_record_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            WatermarkFile::open(dir.path()),
            Err(WatermarkError::Missing)
        ));
        let mut file = WatermarkFile::create(dir.path()).unwrap();
        assert_eq!(WatermarkFile::open(dir.path()).unwrap().record(), b"");
        for record in [&b"one"[..], b"two", b"three"] {
            file.write(record).unwrap();
            assert_eq!(WatermarkFile::open(dir.path()).unwrap().record(), record);
        }
    }

    #[test]
    fn a_torn_write_leaves_the_record_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = WatermarkFile::create(dir.path()).unwrap();
        file.write(b"before").unwrap();
        file.write(b"after").unwrap();
        let newest = (file.sequence % 2) * SLOT as u64;
        file.file.write_all_at(&[0xff; 10], newest + 4).unwrap();
        assert_eq!(WatermarkFile::open(dir.path()).unwrap().record(), b"before");
        file.file
            .write_all_at(&[0xff; 10], SLOT as u64 - newest + 4)
            .unwrap();
        assert!(matches!(
            WatermarkFile::open(dir.path()),
            Err(WatermarkError::Unreadable(_))
        ));
    }
}
