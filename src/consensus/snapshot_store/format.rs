//! The bytes of a snapshot file.
//!
//! ```text
//! magic 8 | format u32 | log index u64 | metadata length u32 | metadata | payload | end magic 8 | crc u32
//! ```
//!
//! Little-endian. The CRC-32 covers everything before it. The end magic tells a cut file from a damaged
//! one in the message.

use super::files::SnapshotData;
use std::io::{self, Read, Write};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"QRSNAPSH";
const END: &[u8; 8] = b"QRSNAPEN";
const FORMAT: u32 = 9;
const HEAD: usize = 8 + 4 + 8 + 4;
const TRAILER: usize = 8 + 4;
/// Metadata is a log id and a membership; more is a damaged length.
const MAX_META: u32 = 16 << 20;
const BUFFER: usize = 1 << 18;

/// Writes a whole snapshot.
pub(in crate::consensus) fn write(
    out: impl Write,
    index: u64,
    meta: &[u8],
    payload: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = Summing {
        out,
        crc: crc32fast::Hasher::new(),
    };
    let length = u32::try_from(meta.len())
        .ok()
        .filter(|length| *length <= MAX_META);
    let length =
        length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the metadata is too long"))?;
    out.write_all(MAGIC)?;
    out.write_all(&FORMAT.to_le_bytes())?;
    out.write_all(&index.to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(meta)?;
    payload(&mut out)?;
    out.write_all(END)?;
    let crc = out.crc.clone().finalize();
    out.write_all(&crc.to_le_bytes())?;
    out.flush()
}

/// Sums up what passes through.
struct Summing<W> {
    out: W,
    crc: crc32fast::Hasher,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.crc.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A whole, checked snapshot. Clones share the open file.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    file: Arc<dyn SnapshotData>,
    index: u64,
    meta: Arc<[u8]>,
    bytes: u64,
}

impl SnapshotFile {
    /// Reads all of a file and checks it.
    pub(in crate::consensus) fn check(file: Arc<dyn SnapshotData>) -> io::Result<Self> {
        let bytes = file.size()?;
        if bytes < (HEAD + TRAILER) as u64 {
            return Err(invalid("it is cut off"));
        }
        let mut head = [0; HEAD];
        file.read_exact_at(&mut head, 0)?;
        if head[..8] != *MAGIC {
            return Err(invalid("it is not a snapshot"));
        }
        let format = u32_at(&head, 8);
        if format != FORMAT {
            return Err(invalid(&format!(
                "it has format {format}, this version reads format {FORMAT}"
            )));
        }
        let length = u32_at(&head, 20);
        if length > MAX_META || u64::from(length) + ((HEAD + TRAILER) as u64) > bytes {
            return Err(invalid("its metadata is cut off"));
        }
        let mut meta = vec![0; length as usize];
        file.read_exact_at(&mut meta, HEAD as u64)?;
        let mut index = [0; 8];
        index.copy_from_slice(&head[12..20]);
        let this = Self {
            file,
            index: u64::from_le_bytes(index),
            meta: meta.into(),
            bytes,
        };
        io::copy(&mut this.reader()?, &mut io::sink())?;
        Ok(this)
    }

    /// The log index of the state in it.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The metadata, as written.
    pub fn meta(&self) -> &[u8] {
        &self.meta
    }

    /// The whole file's size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The payload. The checksum is compared again when its last bytes are read, so a reader that
    /// needs all of them never gets damaged ones without an error.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn reader(&self) -> io::Result<PayloadReader> {
        let start = HEAD + self.meta.len();
        let mut before = vec![0; start];
        self.file.read_exact_at(&mut before, 0)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&before);
        Ok(PayloadReader {
            file: Arc::clone(&self.file),
            at: start as u64,
            end: self.bytes - TRAILER as u64,
            crc,
            buffer: Vec::new(),
            taken: 0,
            checked: false,
        })
    }

    /// The file as it is, to be sent to another manager.
    pub fn raw_reader(&self) -> RawReader {
        RawReader {
            file: Arc::clone(&self.file),
            at: 0,
            end: self.bytes,
        }
    }
}

/// Reads the payload, buffered, and checks it at its end.
#[derive(Debug)]
pub struct PayloadReader {
    file: Arc<dyn SnapshotData>,
    at: u64,
    end: u64,
    crc: crc32fast::Hasher,
    buffer: Vec<u8>,
    taken: usize,
    checked: bool,
}

impl PayloadReader {
    fn fill(&mut self) -> io::Result<()> {
        let next = (self.end - self.at).min(BUFFER as u64) as usize;
        self.buffer.resize(next, 0);
        self.taken = 0;
        self.file.read_exact_at(&mut self.buffer, self.at)?;
        self.crc.update(&self.buffer);
        self.at += next as u64;
        if self.at == self.end {
            self.compare()?;
        }
        Ok(())
    }

    fn compare(&mut self) -> io::Result<()> {
        let mut trailer = [0; TRAILER];
        self.file.read_exact_at(&mut trailer, self.end)?;
        if trailer[..8] != *END {
            return Err(invalid("it is cut off, or longer than it was"));
        }
        self.crc.update(&trailer[..8]);
        if self.crc.clone().finalize() != u32_at(&trailer, 8) {
            return Err(invalid("it fails its checksum"));
        }
        self.checked = true;
        Ok(())
    }
}

impl Read for PayloadReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.buffer.len() && !self.checked {
            // Also for an empty payload: there is still a checksum to compare.
            self.fill()?;
        }
        let left = &self.buffer[self.taken..];
        let taken = left.len().min(out.len());
        out[..taken].copy_from_slice(&left[..taken]);
        self.taken += taken;
        Ok(taken)
    }
}

/// Reads a whole snapshot file, unchecked: the receiver checks it.
#[derive(Debug)]
pub struct RawReader {
    file: Arc<dyn SnapshotData>,
    at: u64,
    end: u64,
}

impl Read for RawReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let wanted = (self.end - self.at).min(out.len() as u64) as usize;
        self.file.read_exact_at(&mut out[..wanted], self.at)?;
        self.at += wanted as u64;
        Ok(wanted)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
