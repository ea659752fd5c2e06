//! Commands about engines.

use serde::{Deserialize, Serialize};

use super::Condition;
use crate::model::{EngineId, EngineState, EngineUrl, Name};

/// A change of an engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EngineCommand {
    /// Adds an engine to watch.
    Add {
        /// The id it gets.
        id: EngineId,
        /// Its name.
        name: Name,
        /// Where it is reached.
        url: EngineUrl,
    },
    /// Stops watching an engine; its containers stay registered.
    Remove {
        /// Which.
        id: EngineId,
        /// What must hold before.
        condition: Condition,
    },
    /// What the watcher found.
    SetState {
        /// Which.
        id: EngineId,
        /// Whether it answers.
        state: EngineState,
        /// Why.
        reason: String,
    },
}
