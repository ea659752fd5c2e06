//! What is written and read: 10,000 keys of one length, values of 256 bytes.

use bytes::Bytes;

/// Keys written and read; bounded, so that neither system is measured on an ever-growing data set.
pub const KEYS: usize = 10_000;
/// Bytes of each value.
pub const VALUE_BYTES: usize = 256;

/// The name of key `key`: valid as a config's name and as an etcd key, always as long.
pub fn key_name(key: usize) -> String {
    format!("bench-{key:05}")
}

/// The value that every write carries: arbitrary printable bytes that do not compress to nothing.
pub fn value() -> Bytes {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut keys = KeySequence::new(0);
    (0..VALUE_BYTES)
        .map(|_| ALPHABET[keys.next() % ALPHABET.len()])
        .collect()
}

/// An endless sequence of keys, spread evenly, different for every client and the same in every run, so that both
/// systems are given the same work. (The splitmix64 generator: Steele, Lea and Flood, OOPSLA 2014.)
#[derive(Debug)]
pub struct KeySequence(u64);

impl KeySequence {
    /// The sequence of client `client`.
    pub fn new(client: usize) -> Self {
        Self((client as u64).wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    /// The next key, below [`KEYS`].
    pub fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % KEYS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_cover_the_key_space_in_different_orders() {
        let mut seen = vec![0_u32; KEYS];
        for client in 0..100 {
            let mut keys = KeySequence::new(client);
            (0..1000).for_each(|_| seen[keys.next()] += 1);
        }
        let missed = seen.iter().filter(|&&times| times == 0).count();
        assert!(
            missed < KEYS / 100,
            "{missed} keys of {KEYS} were never chosen in 10 draws each"
        );
        assert_eq!(value().len(), VALUE_BYTES);
    }
}
