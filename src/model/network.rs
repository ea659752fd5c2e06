//! Networks of engines: what containers share to reach one another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// The longest name or id of a network, in bytes.
const MAX_NAME: usize = 128;

/// The networks that are noted of one container.
const MAX_NETWORKS: usize = 16;

/// Why a text is not a network's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a network's name: use 1 to {MAX_NAME} characters of A-Z, a-z, 0-9, `.`, `_` and `-`, with a letter or digit in front"
)]
pub struct NetworkNameError(String);

/// A network's name on its engine, or the engine's id of it. It follows the engine's own rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct NetworkName(String);

impl NetworkName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NetworkName {
    type Err = NetworkNameError;

    fn from_str(text: &str) -> Result<Self, NetworkNameError> {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if first && text.len() <= MAX_NAME && text.bytes().all(inner) {
            Ok(Self(text.into()))
        } else {
            Err(NetworkNameError(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NetworkName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

/// The names of the networks that a container is connected to: sorted, each once, bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Networks(Vec<String>);

impl Networks {
    /// Takes an engine's word: names are cut at 128 bytes, and of more than 16 the first by name are kept.
    pub fn lenient(names: impl IntoIterator<Item = String>) -> Self {
        let cut = |name: String| {
            let mut kept: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
            while kept.len() > MAX_NAME {
                kept.pop();
            }
            kept
        };
        let mut names: Vec<String> = names.into_iter().map(cut).filter(|n| !n.is_empty()).collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(MAX_NETWORKS);
        Self(names)
    }

    /// The names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether a network of this name is among them.
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|one| one == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_engines_own() {
        for good in ["bridge", "Project_default", "a.b-c", "0f", &"n".repeat(MAX_NAME)] {
            assert_eq!(good.parse::<NetworkName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            ".",
            "..",
            "a/b",
            "a?b",
            "a b",
            "é",
            &"n".repeat(MAX_NAME + 1),
        ] {
            assert!(bad.parse::<NetworkName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_engines_word_is_bounded() {
        let told = ["b", "a", "b", "", "c\n"].map(str::to_owned);
        assert_eq!(
            Networks::lenient(told).iter().collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
        let many = Networks::lenient((0..100).map(|n| format!("{n:03}{}", "é".repeat(200))));
        assert_eq!(many.iter().count(), MAX_NETWORKS);
        assert!(many.iter().all(|name| name.len() <= MAX_NAME));
        assert!(many.iter().next().unwrap().starts_with("000"));
    }
}
