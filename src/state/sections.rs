//! The bytes of a snapshot: sections, each with a name, a version and a checksum of its own.
//!
//! ```text
//! section  = name | version u16 | needed u8 | block ... | 0 u32 | crc u32
//! name     = length u8, text
//! block    = length u32, bytes
//! snapshot = section ... | 0 u8
//! ```
//!
//! Little-endian. The blocks of a section are its rows in postcard form, cut anywhere; so a writer never holds more
//! than one block, and a reader no more than one section. The CRC-32 covers all of a section before it.
//!
//! An empty table has no section. A version of Quorate that has more tables than another one therefore writes what the
//! other can read until something is in them, which is after the cluster version was raised. Who meets a section that
//! it does not know passes over it, unless it is needed: then the snapshot is refused, with advice.

use std::io::{self, Read, Write};

use imbl::OrdMap;
use postcard::de_flavors::Slice;
use serde::{Serialize, de::DeserializeOwned};

use super::table;

/// The largest block that is written, in bytes.
const BLOCK: usize = 64 << 10;

/// Why a snapshot can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes end too early, or can't be had.
    #[error("it can't be read to its end")]
    Io(#[from] io::Error),
    /// A section is not what was written.
    #[error("its section `{0}` fails its checksum")]
    Checksum(String),
    /// Rows that are none.
    #[error("its section `{section}` does not decode")]
    Rows {
        /// Which section.
        section: String,
        /// Why.
        #[source]
        source: postcard::Error,
    },
    /// It stands there twice, or is missing.
    #[error("its section `{0}` is there twice, or missing")]
    Count(String),
    /// What another version wrote.
    #[error(
        "its section `{0}` was written by a newer version of Quorate, after that was finalized: upgrade this manager"
    )]
    Newer(String),
    /// Bytes behind the end.
    #[error("it is longer than it should be")]
    Trailing,
}

/// Writes sections.
pub(super) struct Writer<'a> {
    out: &'a mut dyn Write,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out }
    }

    /// A table, unless it is empty.
    pub(super) fn table<K, V>(&mut self, name: &str, version: u16, rows: &OrdMap<K, V>) -> io::Result<()>
    where
        K: Serialize + Ord,
        V: Serialize,
    {
        if rows.is_empty() {
            return Ok(());
        }
        self.section(name, version, true, rows)
    }

    /// A section; `needed` says that who does not know it can't do without it.
    pub(super) fn section(
        &mut self,
        name: &str,
        version: u16,
        needed: bool,
        rows: &impl Serialize,
    ) -> io::Result<()> {
        let mut section = Blocks {
            out: self.out,
            crc: crc32fast::Hasher::new(),
            block: Vec::with_capacity(BLOCK),
        };
        let length = u8::try_from(name.len()).map_err(io::Error::other)?;
        section.put(&[length])?;
        section.put(name.as_bytes())?;
        section.put(&version.to_le_bytes())?;
        section.put(&[u8::from(needed)])?;
        postcard::to_io(rows, &mut section).map_err(io::Error::other)?;
        section.end()
    }

    /// After the last section.
    pub(super) fn end(self) -> io::Result<()> {
        self.out.write_all(&[0])
    }
}

/// Rows on their way into blocks.
struct Blocks<'a> {
    out: &'a mut dyn Write,
    crc: crc32fast::Hasher,
    block: Vec<u8>,
}

impl Blocks<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.out.write_all(bytes)
    }

    fn put_block(&mut self) -> io::Result<()> {
        let block = std::mem::take(&mut self.block);
        // A block is never longer than `BLOCK`.
        self.put(&(block.len() as u32).to_le_bytes())?;
        self.put(&block)?;
        self.block = block;
        self.block.clear();
        Ok(())
    }

    fn end(mut self) -> io::Result<()> {
        if !self.block.is_empty() {
            self.put_block()?;
        }
        self.put(&0_u32.to_le_bytes())?;
        let crc = self.crc.finalize();
        self.out.write_all(&crc.to_le_bytes())
    }
}

impl Write for Blocks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK {
            self.put_block()?;
        }
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads sections.
pub(super) struct Reader<R> {
    from: R,
    seen: Vec<String>,
}

/// One section.
pub(super) struct Section {
    name: String,
    version: u16,
    needed: bool,
    rows: Vec<u8>,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        let seen = Vec::new();
        Self { from, seen }
    }

    /// The next section, whose checksum holds; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Section>, SnapshotError> {
        let mut crc = crc32fast::Hasher::new();
        let [length] = self.take(&mut crc)?;
        if length == 0 {
            return match self.from.read(&mut [0])? {
                0 => Ok(None),
                _ => Err(SnapshotError::Trailing),
            };
        }
        let mut name = Vec::new();
        self.append(usize::from(length), &mut name)?;
        crc.update(&name);
        let name = String::from_utf8_lossy(&name).into_owned();
        let version = u16::from_le_bytes(self.take(&mut crc)?);
        let [needed] = self.take(&mut crc)?;
        let mut rows = Vec::new();
        loop {
            let block = u32::from_le_bytes(self.take(&mut crc)?);
            if block == 0 {
                break;
            }
            let start = rows.len();
            self.append(block as usize, &mut rows)?;
            crc.update(&rows[start..]);
        }
        let expected = crc.finalize();
        if u32::from_le_bytes(self.take(&mut crc32fast::Hasher::new())?) != expected {
            return Err(SnapshotError::Checksum(name));
        }
        if self.seen.contains(&name) {
            return Err(SnapshotError::Count(name));
        }
        self.seen.push(name.clone());
        Ok(Some(Section {
            name,
            version,
            needed: needed != 0,
            rows,
        }))
    }

    /// That a section was there.
    pub(super) fn had(&self, name: &str) -> Result<(), SnapshotError> {
        if self.seen.iter().any(|seen| seen == name) {
            Ok(())
        } else {
            Err(SnapshotError::Count(name.to_owned()))
        }
    }

    fn take<const N: usize>(&mut self, crc: &mut crc32fast::Hasher) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        crc.update(&bytes);
        Ok(bytes)
    }

    /// Grows with what is there, not with what was announced.
    fn append(&mut self, length: usize, to: &mut Vec<u8>) -> Result<(), SnapshotError> {
        let read = (&mut self.from).take(length as u64).read_to_end(to)?;
        if read < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }
}

impl Section {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What is in it. `newest` is the last version of this section that is known here.
    pub(super) fn read<T: DeserializeOwned>(&self, newest: u16) -> Result<T, SnapshotError> {
        self.whole(newest, |rows| T::deserialize(rows))
    }

    /// As [`read`](Self::read), of a table.
    pub(super) fn table<K, V>(&self, newest: u16) -> Result<OrdMap<K, V>, SnapshotError>
    where
        K: DeserializeOwned + Ord + Clone,
        V: DeserializeOwned + Clone,
    {
        self.whole(newest, |rows| table::read(rows))
    }

    /// This section is not known here.
    pub(super) fn pass_over(self) -> Result<(), SnapshotError> {
        if self.needed {
            Err(SnapshotError::Newer(self.name))
        } else {
            Ok(())
        }
    }

    fn whole<T>(
        &self,
        newest: u16,
        read: impl for<'de> FnOnce(&mut postcard::Deserializer<'de, Slice<'de>>) -> postcard::Result<T>,
    ) -> Result<T, SnapshotError> {
        if self.version > newest {
            return Err(SnapshotError::Newer(self.name.clone()));
        }
        let undecodable = |source| SnapshotError::Rows {
            section: self.name.clone(),
            source,
        };
        let mut rows = postcard::Deserializer::from_bytes(&self.rows);
        let value = read(&mut rows).map_err(undecodable)?;
        match rows.finalize().map_err(undecodable)? {
            [] => Ok(value),
            _ => Err(undecodable(postcard::Error::DeserializeBadEncoding)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(sections: &[(&str, u16, bool, &[u64])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut out = Writer::new(&mut bytes);
        for (name, version, needed, rows) in sections {
            out.section(name, *version, *needed, rows).unwrap();
        }
        out.end().unwrap();
        bytes
    }

    /// As one version reads them: it knows `a` up to version 2, and nothing else.
    fn read(bytes: &[u8]) -> Result<Vec<u64>, SnapshotError> {
        let mut sections = Reader::new(bytes);
        let mut rows = Vec::new();
        while let Some(section) = sections.next()? {
            match section.name() {
                "a" => rows = section.read(2)?,
                _ => section.pass_over()?,
            }
        }
        sections.had("a").map(|()| rows)
    }

    #[test]
    fn what_is_larger_than_a_block_comes_back() {
        let rows: Vec<u64> = (0..100_000).map(|n| n * n).collect();
        let bytes = written(&[("a", 1, true, &rows)]);
        assert!(bytes.len() > 3 * BLOCK);
        assert_eq!(read(&bytes).unwrap(), rows);
        assert!(read(&written(&[("a", 2, true, &[])])).unwrap().is_empty());
    }

    #[test]
    fn what_an_older_version_does_not_know_is_passed_over_unless_it_is_needed() {
        let optional = written(&[("a", 1, true, &[5]), ("hint", 1, false, &[6])]);
        assert_eq!(read(&optional).unwrap(), [5]);
        for newer in [
            written(&[("a", 1, true, &[5]), ("pools", 1, true, &[6])]),
            written(&[("a", 3, true, &[5])]),
        ] {
            let error = read(&newer).unwrap_err();
            assert!(matches!(error, SnapshotError::Newer(_)), "{error:?}");
            assert!(error.to_string().contains("upgrade this manager"), "{error}");
        }
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let good = written(&[("a", 1, true, &[5, 600])]);
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            assert!(read(&bytes).is_err(), "byte {at}");
            assert!(read(&good[..at]).is_err(), "cut at {at}");
        }
        let longer = [&good[..], &[0]].concat();
        assert!(matches!(read(&longer), Err(SnapshotError::Trailing)));
        assert!(matches!(read(&written(&[])), Err(SnapshotError::Count(_))));
        let twice = written(&[("a", 1, true, &[5]), ("a", 1, true, &[5])]);
        assert!(matches!(read(&twice), Err(SnapshotError::Count(_))));
    }

    /// Byte by byte: later versions read this for ever.
    #[test]
    fn the_form_stays() {
        let bytes = written(&[("a", 1, true, &[5])]);
        let body = b"\x01a\x01\x00\x01\x02\x00\x00\x00\x01\x05\x00\x00\x00\x00";
        let crc = crc32fast::hash(body).to_le_bytes();
        assert_eq!(bytes, [&body[..], &crc[..], &[0][..]].concat());
    }
}
