//! The rows of the log on disk: their keys, their bytes, their checksums.
//!
//! ```text
//! l|<first: u64 BE>                a row of whole entries, or the first part of one large entry
//! l|<first: u64 BE><part: u32 BE>  the further parts of that entry (part >= 1)
//! m|vote  m|committed  m|purged    one value each
//!
//! log row   = head (25 bytes) payload
//! head      = format u8, part u32, parts u32, count u32, chain before u32, chain after u32, crc u32
//! payload   = (length u32, postcard entry)*      of one row, or cut anywhere between parts
//! value row = format u8, crc u32, postcard value
//! ```
//!
//! All integers in heads are little-endian. The checksum of a head covers the key too, so that a row
//! found under another key is refused.
//!
//! **The chain.** `chain after` is the CRC-32 of the payload, seeded with `chain before`, which is
//! the `chain after` of the row before it. It is therefore the payload's checksum and also a hash of
//! the log up to here, independent of how entries are cut into rows. An intact but *stale* row
//! (sled drops the rest of a damaged segment and goes on behind it) breaks the chain of its
//! successor, which a checksum a row cannot see.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::Range;

/// Most entries in a row.
pub(super) const MAX_COUNT: u32 = 256;
/// Most payload bytes in a row. Sled turns a page of more than a quarter of a segment (2 MiB) into a
/// blob file, which is never fsynced; a page holds up to 16 rows.
pub(super) const MAX_PAYLOAD: usize = 100_000;

pub(super) const VOTE: &[u8] = b"m|vote";
pub(super) const COMMITTED: &[u8] = b"m|committed";
pub(super) const PURGED: &[u8] = b"m|purged";

const LOG: &[u8] = b"l|";
const FORMAT: u8 = 5;
const HEAD: usize = 25;
const VALUE_HEAD: usize = 5;
const LENGTH: usize = 4;

/// Why bytes read back are not what was written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RowError {
    /// A head or value checksum does not match.
    #[error("row {0} fails its checksum")]
    Checksum(String),
    /// The payload does not match the head's chain.
    #[error("the entries of row {0} fail their checksum")]
    Payload(String),
    /// A format this version does not know.
    #[error("row {0} has format {1}, this version reads format {FORMAT}")]
    Format(String, u8),
    /// The checksum holds but the content cannot be.
    #[error("row {0} cannot be decoded: {1}")]
    Malformed(String, &'static str),
    /// A key that no version of this store writes.
    #[error("unexpected row {0}")]
    UnknownKey(String),
}

/// What stands in the head of a log row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Which part of a large entry this is; 0 for a row of whole entries.
    pub part: u32,
    /// How many rows the entry takes; 1 for a row of whole entries.
    pub parts: u32,
    /// Entries in the row; 1 in each part of a large entry.
    pub count: u32,
    pub chain_before: u32,
    pub chain_after: u32,
}

/// The key of a log row.
pub(super) fn log_key(first: u64, part: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(LOG.len() + 12);
    key.extend_from_slice(LOG);
    key.extend_from_slice(&first.to_be_bytes());
    if part > 0 {
        key.extend_from_slice(&part.to_be_bytes());
    }
    key
}

/// The first index and the part of a log row's key; `None` for another row's key.
pub(super) fn parse_log_key(key: &[u8]) -> Option<(u64, u32)> {
    let rest = key.strip_prefix(LOG)?;
    match rest.len() {
        8 => Some((u64::from_be_bytes(rest.try_into().ok()?), 0)),
        12 => {
            let (first, part) = rest.split_at(8);
            let part = u32::from_be_bytes(part.try_into().ok()?);
            (part > 0).then_some((u64::from_be_bytes(first.try_into().ok()?), part))
        }
        _ => None,
    }
}

/// A key as people read it in messages.
pub(super) fn show_key(key: &[u8]) -> String {
    match parse_log_key(key) {
        Some((first, 0)) => format!("l|{first}"),
        Some((first, part)) => format!("l|{first} part {part}"),
        None => format!("{:?}", String::from_utf8_lossy(key)),
    }
}

/// Continues a chain over more payload.
pub(super) fn extend_chain(chain: u32, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(chain);
    crc.update(payload);
    crc.finalize()
}

/// Builds a log row.
pub(super) fn encode_row(key: &[u8], head: Head, payload: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(HEAD + payload.len());
    row.push(FORMAT);
    for field in [
        head.part,
        head.parts,
        head.count,
        head.chain_before,
        head.chain_after,
    ] {
        row.extend_from_slice(&field.to_le_bytes());
    }
    let crc = checksum(key, &row);
    row.extend_from_slice(&crc.to_le_bytes());
    row.extend_from_slice(payload);
    row
}

/// Checks a log row and takes it apart.
pub(super) fn decode_row<'a>(key: &[u8], row: &'a [u8]) -> Result<(Head, &'a [u8]), RowError> {
    let Some((head, payload)) = row.split_at_checked(HEAD) else {
        return Err(RowError::Checksum(show_key(key)));
    };
    let (fields, crc) = head.split_at(HEAD - 4);
    if checksum(key, fields).to_le_bytes() != crc {
        return Err(RowError::Checksum(show_key(key)));
    }
    if fields[0] != FORMAT {
        return Err(RowError::Format(show_key(key), fields[0]));
    }
    let field = |n: usize| {
        let at = 1 + 4 * n;
        u32::from_le_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]])
    };
    let head = Head {
        part: field(0),
        parts: field(1),
        count: field(2),
        chain_before: field(3),
        chain_after: field(4),
    };
    if extend_chain(head.chain_before, payload) != head.chain_after {
        return Err(RowError::Payload(show_key(key)));
    }
    Ok((head, payload))
}

/// Appends one entry to a payload.
pub(super) fn push_entry<E: Serialize>(payload: &mut Vec<u8>, entry: &E) -> Result<(), postcard::Error> {
    let start = payload.len();
    payload.extend_from_slice(&[0; LENGTH]);
    postcard::to_io(entry, &mut *payload)?;
    // An entry of 4 GiB cannot have come through a request; refuse it rather than cut its length.
    let length =
        u32::try_from(payload.len() - start - LENGTH).map_err(|_| postcard::Error::SerializeBufferFull)?;
    payload[start..start + LENGTH].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// The byte ranges of the entries of a whole payload, each with its length prefix.
pub(super) fn entry_ranges(key: &[u8], payload: &[u8], count: u32) -> Result<Vec<Range<usize>>, RowError> {
    let malformed = |why| RowError::Malformed(show_key(key), why);
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < payload.len() {
        let length = payload
            .get(at..at + LENGTH)
            .ok_or_else(|| malformed("an entry's length is cut off"))?;
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let end = at + LENGTH + length;
        if end > payload.len() {
            return Err(malformed("an entry is cut off"));
        }
        ranges.push(at..end);
        at = end;
    }
    if ranges.len() != count as usize {
        return Err(malformed("the number of entries is not what the head says"));
    }
    Ok(ranges)
}

/// Decodes one entry with its length prefix.
pub(super) fn decode_entry<E: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<E, RowError> {
    postcard::from_bytes(&bytes[LENGTH..])
        .map_err(|_| RowError::Malformed(show_key(key), "an entry is of another version or type"))
}

/// Builds a value row.
pub(super) fn encode_value<V: Serialize>(key: &[u8], value: &V) -> Result<Vec<u8>, postcard::Error> {
    let mut row = vec![0; VALUE_HEAD];
    row[0] = FORMAT;
    postcard::to_io(value, &mut row)?;
    let crc = checksum(key, &row[VALUE_HEAD..]);
    row[1..VALUE_HEAD].copy_from_slice(&crc.to_le_bytes());
    Ok(row)
}

/// Checks and decodes a value row.
pub(super) fn decode_value<V: DeserializeOwned>(key: &[u8], row: &[u8]) -> Result<V, RowError> {
    let Some((head, value)) = row.split_at_checked(VALUE_HEAD) else {
        return Err(RowError::Checksum(show_key(key)));
    };
    if head[1..] != checksum(key, value).to_le_bytes() {
        return Err(RowError::Checksum(show_key(key)));
    }
    if head[0] != FORMAT {
        return Err(RowError::Format(show_key(key), head[0]));
    }
    postcard::from_bytes(value)
        .map_err(|_| RowError::Malformed(show_key(key), "the value is of another version or type"))
}

fn checksum(key: &[u8], bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(bytes);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Vec<u8>, Vec<u8>) {
        let key = log_key(7, 0);
        let mut payload = Vec::new();
        for word in ["one", "two", "three"] {
            push_entry(&mut payload, &word.to_string()).unwrap();
        }
        let head = Head {
            part: 0,
            parts: 1,
            count: 3,
            chain_before: 99,
            chain_after: extend_chain(99, &payload),
        };
        let row = encode_row(&key, head, &payload);
        (key, row)
    }

    #[test]
    fn a_row_reads_back() {
        let (key, row) = sample();
        let (head, payload) = decode_row(&key, &row).unwrap();
        let ranges = entry_ranges(&key, payload, head.count).unwrap();
        let words: Vec<String> = ranges
            .into_iter()
            .map(|r| decode_entry(&key, &payload[r]).unwrap())
            .collect();
        assert_eq!(words, ["one", "two", "three"]);
    }

    #[test]
    fn every_flipped_bit_of_a_row_is_noticed() {
        let (key, row) = sample();
        for bit in 0..row.len() * 8 {
            let mut bad = row.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_row(&key, &bad).is_err(), "bit {bit}");
        }
        for len in 0..row.len() {
            assert!(decode_row(&key, &row[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn a_row_under_another_key_is_refused() {
        let (_, row) = sample();
        assert_eq!(
            decode_row(&log_key(8, 0), &row),
            Err(RowError::Checksum("l|8".into()))
        );
    }

    #[test]
    fn every_flipped_bit_of_a_value_is_noticed() {
        let row = encode_value(VOTE, &(3u64, "me".to_string())).unwrap();
        assert_eq!(
            decode_value::<(u64, String)>(VOTE, &row).unwrap(),
            (3, "me".into())
        );
        for bit in 0..row.len() * 8 {
            let mut bad = row.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_value::<(u64, String)>(VOTE, &bad).is_err(), "bit {bit}");
        }
        assert!(decode_value::<(u64, String)>(PURGED, &row).is_err());
    }

    #[test]
    fn keys_sort_by_index_then_part() {
        let keys = [
            log_key(1, 0),
            log_key(255, 0),
            log_key(255, 1),
            log_key(255, 300),
            log_key(256, 0),
        ];
        assert!(keys.is_sorted());
        for key in &keys {
            let (first, part) = parse_log_key(key).unwrap();
            assert_eq!(&log_key(first, part), key);
        }
        assert_eq!(parse_log_key(VOTE), None);
        assert_eq!(parse_log_key(b"l|123"), None);
    }

    #[test]
    fn the_chain_does_not_depend_on_the_cut() {
        let bytes = b"the log up to here";
        let cut = bytes.iter().fold(5, |chain, byte| extend_chain(chain, &[*byte]));
        assert_eq!(cut, extend_chain(5, bytes));
    }
}
