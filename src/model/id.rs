//! Typed object ids.
//!
//! An id is 64 random bits chosen by the proposer (never by apply), shown as a one-letter prefix
//! and 13 base32 characters: `a-3xk…`. Among a million agents two ids meet with a probability of
//! about 3e-8; apply refuses the second one, and the client simply asks again.

use std::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {kind} id: expected `{prefix}-` and 13 characters of a-z and 2-7")]
pub struct IdError {
    text: String,
    kind: &'static str,
    prefix: &'static str,
}

fn encode(raw: u64) -> String {
    BASE32_NOPAD.encode(&raw.to_be_bytes()).to_ascii_lowercase()
}

fn decode(text: &str) -> Option<u64> {
    if text.len() != 13 || text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $type:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub u64);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "-{}"), encode(self.0))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $type {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "-")).and_then(decode).map(Self).ok_or_else(|| IdError {
                    text: text.chars().take(64).collect(),
                    kind: $kind,
                    prefix: $prefix,
                })
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { self.0.serialize(s) }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    String::deserialize(d)?.parse().map_err(D::Error::custom)
                } else {
                    u64::deserialize(d).map(Self)
                }
            }
        }
    };
}

typed_id!(
    /// An agent's id.
    AgentId, "a", "an agent"
);
typed_id!(
    /// A container's id; it stays the same across addresses, sessions and restarts.
    ContainerId, "c", "a container"
);
typed_id!(
    /// A Docker Engine's id.
    EngineId, "e", "an engine"
);
typed_id!(
    /// An API token's id: the public half of the token.
    TokenId, "t", "a token"
);
typed_id!(
    /// A join token's id: the public half of the token.
    JoinTokenId, "j", "a join token"
);
typed_id!(
    /// A placement's id. Apply counts them: none is given twice.
    PlacementId, "p", "a placement"
);

impl Default for PlacementId {
    /// The first one.
    fn default() -> Self {
        Self(1)
    }
}

typed_id!(
    /// A network scan's id.
    ScanId, "s", "a scan"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_text_and_bytes() {
        for raw in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let id = AgentId(raw);
            assert_eq!(id.to_string().parse::<AgentId>(), Ok(id));
            assert_eq!(id.to_string().len(), 15);
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(serde_json::from_str::<AgentId>(&json).unwrap(), id);
            let bytes = postcard::to_stdvec(&id).unwrap();
            assert_eq!(postcard::from_bytes::<AgentId>(&bytes).unwrap(), id);
        }
    }

    #[test]
    fn foreign_texts_are_refused_with_the_kind() {
        for text in [
            "",
            "a-",
            "c-aaaaaaaaaaaaa",
            "a-aaaaaaaaaaaa",
            "a-AAAAAAAAAAAAA",
            "a-aaaaaaaaaaaa1",
            "a-aaaaaaaaaaaaz",
        ] {
            let error = text.parse::<AgentId>().unwrap_err();
            assert!(error.to_string().contains("an agent id"), "{error}");
        }
    }
}
