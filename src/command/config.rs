//! Commands about configs.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::Condition;
use crate::model::Name;

/// A change of a config.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ConfigCommand {
    /// Writes a value.
    Put {
        /// Which.
        name: Name,
        /// Given back by reads.
        content_type: SmolStr,
        /// The value.
        value: Bytes,
        /// What must hold before.
        condition: Condition,
    },
    /// Deletes a config.
    Delete {
        /// Which.
        name: Name,
        /// What must hold before.
        condition: Condition,
    },
}
