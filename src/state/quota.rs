//! Bounds of the whole cluster: what a client can make it hold.

use super::State;
use crate::command::Rejection;
#[cfg(doc)]
use crate::model::AgentSpec;

/// Agents in all.
pub const MAX_AGENTS: usize = 2_000_000;
/// Containers in all.
pub const MAX_CONTAINERS: usize = 100_000;
/// Engines in all.
pub const MAX_ENGINES: usize = 1_000;
/// API tokens in all, and join tokens in all.
pub const MAX_TOKENS: usize = 10_000;
/// Names and values of all configs together, in bytes.
pub const MAX_CONFIG_TOTAL_BYTES: u64 = 1 << 30;
/// The specs of all agents together, in bytes of [`AgentSpec::bytes`].
pub const MAX_SPEC_TOTAL_BYTES: u64 = 1 << 30;

/// Refuses one more when there are `limit` already.
pub(super) fn room(count: usize, limit: usize, what: &str) -> Result<(), Rejection> {
    if count < limit {
        return Ok(());
    }
    Err(Rejection::Quota(format!(
        "the cluster holds {count} {what}, its bound: remove some first"
    )))
}

/// Texts that runners and engines choose are kept up to this many characters.
const MAX_TEXT: usize = 512;

/// A text that others chose, shortened so that it can't fill the state.
pub(super) fn bounded(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

impl State {
    /// Refuses specs that would be over the bound together, after one changes from `old` to `new` bytes.
    pub(super) fn room_for_spec(&self, old: u64, new: u64) -> Result<(), Rejection> {
        let total = self.index.spec_bytes - old + new;
        if total <= MAX_SPEC_TOTAL_BYTES {
            return Ok(());
        }
        Err(Rejection::Quota(format!(
            "the specs of all agents together would hold {total} bytes, over the bound of {MAX_SPEC_TOTAL_BYTES}: delete agents first, or make specs smaller"
        )))
    }

    /// The bytes of all configs after one changes from `old` to `new` bytes.
    pub(super) fn config_bytes_after(&self, old: u64, new: u64) -> Result<u64, Rejection> {
        let total = self.config_bytes - old + new;
        if total <= MAX_CONFIG_TOTAL_BYTES {
            return Ok(total);
        }
        Err(Rejection::Quota(format!(
            "all configs together would hold {total} bytes, over the bound of {MAX_CONFIG_TOTAL_BYTES}: delete some first"
        )))
    }
}
