//! The configuration of `quorate runner`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Assessment, Labels, MAX_DECLARED};

use super::values::duration;
use super::{Address, Hidden, Layered, LogsConfig, Problems, Size, machine_name};

/// Between looks at the container, at least.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);

/// All of a runner's configuration. `config/runner.toml` explains every key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunnerConfig {
    /// Where the runner keeps its identity and its agents' files.
    pub data_dir: PathBuf,
    /// What people call the container. By default the machine's name, which in a container is the
    /// container's.
    pub name: String,
    /// Session addresses of managers; the runner uses one that answers.
    pub managers: Vec<Address>,
    /// A join token for runners, needed until the runner has joined.
    pub join_token: Option<Hidden>,
    /// A file with it.
    pub join_token_file: Option<PathBuf>,
    /// What the container can do that the runner can't find out.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// How often the runner looks at what its container has.
    #[serde(with = "duration")]
    pub assess_every: Duration,
    /// What else the container is: shown, selected by and used in constraints.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub capacity: CapacityConfig,
    pub logs: LogsConfig,
}

/// `[capacity]`: what agents may use together, instead of what the runner finds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityConfig {
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
    pub memory: Option<Size>,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        RunnerConfig {
            data_dir: "/var/lib/quorate/runner".into(),
            name: machine_name("runner"),
            managers: vec![Address::new("127.0.0.1", 7402)],
            join_token: None,
            join_token_file: None,
            capabilities: Vec::new(),
            assess_every: Duration::from_secs(60),
            labels: BTreeMap::new(),
            capacity: CapacityConfig::default(),
            logs: LogsConfig::default(),
        }
    }
}

impl Layered for RunnerConfig {
    fn complete() -> Self {
        RunnerConfig {
            join_token: Some(Hidden::new("qjt_")),
            join_token_file: Some("join.token".into()),
            capabilities: vec!["camera".to_owned()],
            labels: [("*".to_owned(), String::new())].into(),
            capacity: CapacityConfig {
                cpu_millis: Some(4000),
                memory: Some(Size(8 << 30)),
            },
            ..Self::default()
        }
    }

    fn check(&self, problems: &mut Problems) {
        problems.require(
            !self.data_dir.as_os_str().is_empty(),
            "data_dir",
            "must not be empty",
        );
        super::check_name(&self.name, problems);
        problems.require(
            !self.managers.is_empty(),
            "managers",
            "must name at least one manager's session address",
        );
        for address in &self.managers {
            let fine = !address.is_unspecified() && address.port() != 0;
            problems.require(fine, "managers", format!("has {address}, which nobody can dial"));
        }
        let one = self.join_token.is_none() || self.join_token_file.is_none();
        problems.require(one, "join_token_file", "excludes `join_token`: give one of them");
        problems.require(
            self.capabilities.len() <= MAX_DECLARED,
            "capabilities",
            format!("has more than {MAX_DECLARED}"),
        );
        for name in self
            .capabilities
            .iter()
            .filter(|name| !Assessment::is_capability(name))
        {
            let name: String = name.chars().take(80).collect();
            let rule = "use 1 to 64 characters of A-Z, a-z, 0-9, `.`, `_` and `-`";
            problems.require(false, "capabilities", format!("has `{name}`: {rule}"));
        }
        problems.require(
            self.assess_every >= SHORTEST_LOOK,
            "assess_every",
            "must be at least 1s",
        );
        if let Err(error) = Labels::new(self.labels.clone()) {
            problems.require(false, "labels", format!("is wrong: {error}"));
        }
        problems.require(
            self.capacity.cpu_millis != Some(0),
            "capacity.cpu_millis",
            "must be at least 1",
        );
        problems.require(
            self.capacity.memory != Some(Size(0)),
            "capacity.memory",
            "must be at least 1",
        );
        self.logs.check(problems);
    }
}
