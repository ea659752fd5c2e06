//! The configuration of `quorate runner`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Assessment, Labels, MAX_DECLARED, PROBE_PORT};

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
    /// The engine's id of the container that a manager has brought this runner into. Set by that manager.
    pub adopted: Option<String>,
    /// What else the container is: shown, selected by and used in constraints.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub capacity: CapacityConfig,
    #[serde(default)]
    pub probe: ProbeConfig,
    pub logs: LogsConfig,
}

/// `[capacity]`: what agents may use together, instead of what the runner finds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityConfig {
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
    pub memory: Option<Size>,
}

/// `[probe]`: whether and how a runner that has not joined lets a scan find it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeConfig {
    /// Where it waits; nowhere when absent.
    pub listen: Option<Address>,
    /// The fingerprint of the CA of the cluster that may let it in, for a runner without a join token.
    pub ca: Option<String>,
    /// Without both, it may follow whoever comes first.
    #[serde(default)]
    pub trust_first: bool,
}

impl RunnerConfig {
    /// Whether there is a join token, as far as configuration knows.
    pub fn has_join_token(&self) -> bool {
        self.join_token.is_some() || self.join_token_file.is_some()
    }
}

impl ProbeConfig {
    fn check(&self, has_token: bool, problems: &mut Problems) {
        let fingerprint = |text: &String| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        problems.require(
            self.ca.as_ref().is_none_or(fingerprint),
            "probe.ca",
            "must be the CA's fingerprint, 64 characters of 0-9 and a-f: the last part of any join token of the cluster",
        );
        let known = has_token || self.ca.is_some() || self.trust_first;
        problems.require(
            self.listen.is_none() || known,
            "probe.listen",
            "needs a join token or `probe.ca`, or anybody on the network could take this runner over; `probe.trust_first = true` lets them",
        );
        problems.require(
            !(self.trust_first && self.ca.is_some()),
            "probe.trust_first",
            "excludes `probe.ca`: it may follow anybody, or one cluster only",
        );
    }
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
            adopted: None,
            labels: BTreeMap::new(),
            capacity: CapacityConfig::default(),
            probe: ProbeConfig::default(),
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
            adopted: Some("0123456789ab".into()),
            labels: [("*".to_owned(), String::new())].into(),
            capacity: CapacityConfig {
                cpu_millis: Some(4000),
                memory: Some(Size(8 << 30)),
            },
            probe: ProbeConfig {
                listen: Some(Address::new("0.0.0.0", PROBE_PORT)),
                ca: Some("0".repeat(64)),
                trust_first: false,
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
            !self.managers.is_empty() || self.probe.listen.is_some(),
            "managers",
            "must name at least one manager's session address, unless `probe.listen` lets a scan find this runner",
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
        self.probe.check(self.has_join_token(), problems);
        let id = |id: &str| (12..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit());
        problems.require(
            self.adopted.as_deref().is_none_or(id),
            "adopted",
            "must be an engine's id of a container; managers set it",
        );
        self.logs.check(problems);
    }
}
