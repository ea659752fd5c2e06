//! Reads tables out of a snapshot.
//!
//! The library's own way asks at once for as much room as the bytes claim to need: a length that is wrong ended
//! the process for want of memory, where a snapshot that does not decode is told.

use std::{fmt, marker::PhantomData};

use imbl::OrdMap;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

/// Takes entries as they come.
struct Entries<K, V>(PhantomData<(K, V)>);

impl<'de, K, V> Visitor<'de> for Entries<K, V>
where
    K: Deserialize<'de> + Ord + Clone,
    V: Deserialize<'de> + Clone,
{
    type Value = OrdMap<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut table = OrdMap::new();
        while let Some((key, value)) = entries.next_entry()? {
            table.insert(key, value);
        }
        Ok(table)
    }
}

pub(super) fn read<'de, D, K, V>(from: D) -> Result<OrdMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord + Clone,
    V: Deserialize<'de> + Clone,
{
    from.deserialize_map(Entries(PhantomData))
}
