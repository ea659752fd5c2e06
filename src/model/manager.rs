//! Managers: the replicas of the control plane.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::named::named;

/// A manager's id. Allocated from the log and never given out twice.
pub type ManagerId = u64;

/// Where a manager is reached, each as `host:port`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct PeerInfo {
    /// Other managers dial this (mutual TLS).
    #[serde(default)]
    pub peer: String,
    /// Clients use this (HTTP API).
    #[serde(default)]
    pub api: String,
    /// Runners dial this (sessions).
    #[serde(default)]
    pub session: String,
}

named!(PeerInfo, omit & ["peer", "api", "session"]);

impl fmt::Display for PeerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "peer {}, api {}, session {}",
            self.peer, self.api, self.session
        )
    }
}

/// A manager as the cluster's membership holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Member {
    /// Where it is reached.
    pub info: PeerInfo,
    /// Random, made with its data directory. A manager whose data were wiped comes with another one
    /// and is refused: its votes and acknowledgements of before are gone, so it must not speak under
    /// its old id.
    pub incarnation: u64,
}

named!(Member, omit & []);
