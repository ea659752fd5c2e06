//! Configuration in layers: defaults < file < environment < flags.
//!
//! What holds:
//!
//! - A key that is not known is an error, in every layer, which names its place and the nearest
//!   known key. A value that is wrong is told with the place it came from. All mistakes are told
//!   at once.
//! - The defaults are one value in code; `config/*.toml` show the same ones, which a test checks.
//! - Nothing is changed after the start; there is no reload.
//! - Secrets are hidden wherever a configuration is shown.
//!
//! [`Sources`] puts the layers together for a [`Layered`] type: [`ManagerConfig`] or
//! [`RunnerConfig`]. It leaves out reading the command line, and the files that values name.

mod cache;
mod check;
mod error;
mod file;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod layers;
mod logs;
mod manager;
mod runner;
mod schema;
#[cfg(test)]
mod tests;
mod text;
mod values;

pub use cache::RedisConfig;
pub use error::{ConfigError, Origin, Problem, Problems};
pub use layers::{Layered, Sources};
pub use logs::{LogFormat, LogsConfig};
pub use manager::{
    AdoptionConfig, ApiConfig, BootstrapConfig, BootstrapPeer, DiscoveryConfig, EnginesConfig,
    LivenessConfig, ManagerConfig, PortConfig, RaftConfig, advertised,
};
pub use runner::{CapacityConfig, ProbeConfig, RunnerConfig};
pub use values::{Address, Hidden, Size, ValueError};

use crate::model::Name;

/// The longest name, in characters: see [`Name`].
const NAME_MAX: usize = 63;

/// The machine's name as the network may know it.
fn host_name() -> String {
    let name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// The machine's name made into a valid one, or `fallback` where nothing is left of it.
fn machine_name(fallback: &str) -> String {
    let name = valid_name(&host_name());
    if name.is_empty() {
        fallback.to_owned()
    } else {
        name
    }
}

fn valid_name(text: &str) -> String {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let edge = |c: char| !c.is_ascii_alphanumeric();
    let name: String = text
        .to_lowercase()
        .chars()
        .map(|c| if inner(c) { c } else { '-' })
        .collect();
    // ASCII by now, so any index is a character's border; cut first, for the cut may bare an edge.
    let name = name.trim_start_matches(edge);
    name[..name.len().min(NAME_MAX)].trim_end_matches(edge).to_owned()
}

fn check_name(name: &str, problems: &mut Problems) {
    if let Err(error) = name.parse::<Name>() {
        problems.require(false, "name", format!("is wrong: {error}"));
    }
}
