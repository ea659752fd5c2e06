//! Configs: named, versioned values that agents read and watch; the compare-and-swap register.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{Millis, Name, Revision, named::named};

/// The largest config value, in bytes.
pub const MAX_CONFIG_BYTES: usize = 256 * 1024;

/// The longest Content-Type that is kept with a value, in bytes.
pub const MAX_CONTENT_TYPE_BYTES: usize = 256;

/// A config with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Config {
    /// The config's name.
    pub name: Name,
    /// The Content-Type it was put with, given back by a read.
    pub content_type: SmolStr,
    /// The value, byte for byte.
    pub value: Bytes,
    /// The revision of the last put; the ETag.
    pub version: Revision,
    /// The revision of the put that created it.
    pub created: Revision,
    /// Log time of the last put.
    pub updated_at: Millis,
}

named!(Config, omit & []);
