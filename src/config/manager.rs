//! The configuration of `quorate manager`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Cidr, OPEN_ENGINE_PORT, PROBE_PORT, ScanPlan, ScanPlanError, Selector};

use super::values::{duration, selector};
use super::{Address, Layered, LogFormat, LogsConfig, Problems, RedisConfig, Size, host_name, machine_name};

/// All of a manager's configuration. `config/manager.toml` explains every key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManagerConfig {
    /// Where everything is kept; one directory a manager.
    pub data_dir: PathBuf,
    /// What people call this manager. By default the machine's name.
    pub name: String,
    pub api: ApiConfig,
    pub peers: PortConfig,
    pub sessions: PortConfig,
    pub bootstrap: BootstrapConfig,
    pub raft: RaftConfig,
    pub liveness: LivenessConfig,
    pub discovery: DiscoveryConfig,
    pub engines: EnginesConfig,
    pub adoption: AdoptionConfig,
    pub redis: RedisConfig,
    pub logs: LogsConfig,
}

/// `[api]`: where clients connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiConfig {
    pub listen: Address,
    /// Under which address others reach it; see [`advertised`].
    pub advertise: Option<Address>,
    /// Plain HTTP instead of TLS; on a loopback address only.
    pub plain: bool,
    /// Of a request's body.
    pub max_body: Size,
    pub max_connections: u32,
    /// Requests a second that one token may make; 0 for any number.
    pub max_rate: u32,
    /// From the first byte of a request to the last of its answer, streams aside.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
}

/// `[peers]` and `[sessions]`: where managers and runners connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortConfig {
    pub listen: Address,
    /// Under which address others reach it; see [`advertised`].
    pub advertise: Option<Address>,
}

/// `[bootstrap]`: how a manager with an empty data directory begins. Without any of it, it begins
/// a cluster of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapConfig {
    /// A bundle made by `quorate cluster init`.
    pub dir: Option<PathBuf>,
    /// Which of `peers` this manager is.
    pub id: Option<u64>,
    /// Session addresses of managers whose cluster this one joins.
    #[serde(default)]
    pub join: Vec<Address>,
    /// A file with a join token for managers.
    pub join_token_file: Option<PathBuf>,
    /// All managers that begin the cluster together, this one among them.
    #[serde(default)]
    pub peers: Vec<BootstrapPeer>,
}

/// One of the managers that begin a cluster together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapPeer {
    pub id: u64,
    pub peer: Address,
    pub api: Address,
    pub session: Address,
}

/// `[raft]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftConfig {
    #[serde(with = "duration")]
    pub heartbeat: Duration,
    #[serde(with = "duration")]
    pub election_min: Duration,
    #[serde(with = "duration")]
    pub election_max: Duration,
    /// Log entries between two snapshots.
    pub snapshot_every: u64,
    /// Log entries kept behind a snapshot.
    pub keep_logs: u64,
}

/// `[liveness]`: how long a runner may be silent. The defaults and why they are safe: DESIGN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivenessConfig {
    /// No new placements after this.
    #[serde(with = "duration")]
    pub suspect: Duration,
    /// `at_least_once` agents run elsewhere after this.
    #[serde(with = "duration")]
    pub lost: Duration,
    /// A runner stops its `exclusive` agents by itself after this, on its own clock.
    #[serde(with = "duration")]
    pub self_stop: Duration,
    /// `exclusive` agents run elsewhere after this, on the leader's clock.
    #[serde(with = "duration")]
    pub fence: Duration,
    /// When this share of the containers, in percent, falls silent together, none of them is lost.
    pub breaker_share: u32,
    /// At least so many, whatever the share.
    pub breaker_least: u32,
    /// What is together; and how long fewer must be silent until silence counts again.
    #[serde(with = "duration")]
    pub breaker_within: Duration,
}

/// `[discovery]`: networks that the leader looks for runners in, again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryConfig {
    /// Which; none for no scans but those that an operator asks for.
    pub cidrs: Vec<Cidr>,
    /// Which ports of each address.
    pub ports: Vec<u16>,
    /// Places looked at in a second, by any scan.
    pub rate: u32,
    /// From the end of one scan to the next.
    #[serde(with = "duration")]
    pub interval: Duration,
}

impl DiscoveryConfig {
    /// What to look at again and again, if anything.
    ///
    /// # Errors
    /// When it is too much.
    pub fn plan(&self) -> Result<Option<ScanPlan>, ScanPlanError> {
        if self.cidrs.is_empty() {
            return Ok(None);
        }
        ScanPlan::new(self.cidrs.clone(), Some(self.ports.clone())).map(Some)
    }
}

/// `[engines]`: what this manager needs to reach engines, beside what the cluster knows of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnginesConfig {
    /// For each engine over TLS a directory of its name, with `ca.pem`, `cert.pem` and `key.pem`.
    pub certificates: PathBuf,
}

/// `[adoption]`: bringing runners into watched containers that have none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptionConfig {
    pub enabled: bool,
    /// The static `quorate` that is copied in; this very program by default.
    pub binary: Option<PathBuf>,
    /// Session addresses of managers, as those containers reach them; by default those that the
    /// managers tell each other.
    #[serde(default)]
    pub managers: Vec<Address>,
    /// Only containers with these labels.
    #[serde(with = "selector")]
    pub selector: Selector,
    /// How long a container may take to start a runner of its own.
    #[serde(with = "duration")]
    pub grace: Duration,
    /// Containers of one engine that are worked on at the same time.
    pub at_once: u32,
}

impl Default for ManagerConfig {
    fn default() -> Self {
        let port = |port| PortConfig {
            listen: Address::new("0.0.0.0", port),
            advertise: None,
        };
        ManagerConfig {
            data_dir: "/var/lib/quorate/manager".into(),
            name: machine_name("manager"),
            api: ApiConfig {
                listen: Address::new("0.0.0.0", 7400),
                advertise: None,
                plain: false,
                max_body: Size(1 << 20),
                max_connections: 8192,
                max_rate: 100_000,
                request_timeout: Duration::from_secs(10),
            },
            peers: port(7401),
            sessions: port(7402),
            bootstrap: BootstrapConfig::default(),
            raft: RaftConfig {
                heartbeat: Duration::from_millis(50),
                election_min: Duration::from_millis(200),
                election_max: Duration::from_millis(300),
                snapshot_every: 200_000,
                keep_logs: 50_000,
            },
            liveness: LivenessConfig {
                suspect: Duration::from_secs(3),
                lost: Duration::from_secs(6),
                self_stop: Duration::from_secs(8),
                fence: Duration::from_secs(10),
                breaker_share: 20,
                breaker_least: 3,
                breaker_within: Duration::from_secs(10),
            },
            discovery: DiscoveryConfig {
                cidrs: Vec::new(),
                ports: vec![PROBE_PORT, OPEN_ENGINE_PORT],
                rate: 200,
                interval: Duration::from_secs(300),
            },
            engines: EnginesConfig {
                certificates: "/etc/quorate/engines".into(),
            },
            adoption: AdoptionConfig {
                enabled: false,
                binary: None,
                managers: Vec::new(),
                selector: Selector::default(),
                grace: Duration::from_secs(3),
                at_once: 4,
            },
            redis: RedisConfig::default(),
            logs: LogsConfig::default(),
        }
    }
}

impl Layered for ManagerConfig {
    fn complete() -> Self {
        let address = || Address::new("manager-1", 7400);
        let defaults = Self::default();
        ManagerConfig {
            api: ApiConfig {
                advertise: Some(address()),
                ..defaults.api
            },
            peers: PortConfig {
                advertise: Some(address()),
                ..defaults.peers
            },
            sessions: PortConfig {
                advertise: Some(address()),
                ..defaults.sessions
            },
            bootstrap: BootstrapConfig {
                dir: Some("bundle".into()),
                id: Some(1),
                join: vec![address()],
                join_token_file: Some("join.token".into()),
                peers: vec![BootstrapPeer {
                    id: 1,
                    peer: address(),
                    api: address(),
                    session: address(),
                }],
            },
            discovery: DiscoveryConfig {
                cidrs: vec![Cidr::of([10, 1, 0, 0].into())],
                ..defaults.discovery
            },
            adoption: AdoptionConfig {
                binary: Some("quorate".into()),
                managers: vec![address()],
                ..defaults.adoption
            },
            redis: RedisConfig::complete(),
            logs: LogsConfig {
                level: "info".into(),
                format: LogFormat::Text,
            },
            ..defaults
        }
    }

    fn check(&self, problems: &mut Problems) {
        self.check_all(problems);
    }
}

impl ManagerConfig {
    /// Under which hosts this manager is known, each once: the names of its certificate.
    pub fn hosts(&self) -> Vec<String> {
        let own = self.bootstrap.own();
        let configured = [
            advertised(&self.api.listen, self.api.advertise.as_ref(), 0),
            advertised(&self.peers.listen, self.peers.advertise.as_ref(), 0),
            advertised(&self.sessions.listen, self.sessions.advertise.as_ref(), 0),
        ];
        let bootstrap = own
            .into_iter()
            .flat_map(|own| [&own.peer, &own.api, &own.session]);
        let mut hosts: Vec<String> = configured
            .iter()
            .chain(bootstrap)
            .map(|address| address.host().to_owned())
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }
}

/// The address to tell others for a port that listens: the one configured, else the one it listens
/// on, else, where that stands for all of the machine's, the machine's name. `bound` is the port
/// the system gave, for where port 0 was asked for.
pub fn advertised(listen: &Address, advertise: Option<&Address>, bound: u16) -> Address {
    if let Some(address) = advertise {
        return address.clone();
    }
    let port = if listen.port() == 0 { bound } else { listen.port() };
    if listen.is_unspecified() {
        Address::new(host_name(), port)
    } else {
        Address::new(listen.host(), port)
    }
}

impl BootstrapConfig {
    /// The entry of this manager among `peers`.
    pub fn own(&self) -> Option<&BootstrapPeer> {
        self.peers.iter().find(|peer| Some(peer.id) == self.id)
    }
}
