//! What is logged and how: the same for every process.

use serde::{Deserialize, Serialize};

use super::Problems;

/// `[logs]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`; further `target=level` pairs after commas.
    pub level: String,
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogsConfig {
    fn default() -> Self {
        LogsConfig {
            level: "info".into(),
            format: LogFormat::Text,
        }
    }
}

impl LogsConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        for part in self.level.split(',') {
            let (target, level) = part.split_once('=').unwrap_or(("-", part));
            let fine = !target.trim().is_empty() && LEVELS.contains(&level.trim());
            let reason = format!(
                "has `{part}`; a part is a level ({}) or `target=level`",
                LEVELS.join(", ")
            );
            problems.require(fine, "logs.level", reason);
        }
    }
}
