//! Looking for runners on networks: what to look at, how far a scan is, what it met.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Cidr, ContainerId, Millis, Name, Revision, ScanId, named::named};

/// Addresses that one scan looks at, at most.
pub const MAX_SCANNED: u128 = 1 << 16;

/// Networks that one scan looks at, at most: its plan is in the log, and shown as it is.
pub const MAX_SCAN_CIDRS: usize = 256;

/// Ports that one scan looks at on each address, at most.
pub const MAX_SCAN_PORTS: usize = 16;

/// Where runners listen for a scan by default.
pub const PROBE_PORT: u16 = 7997;

/// Where a Docker Engine listens without TLS, if somebody lets it.
pub const OPEN_ENGINE_PORT: u16 = 2375;

/// Why a scan is not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanPlanError {
    /// Nothing to look at.
    #[error("no network is named: name at least one, such as 10.1.0.0/24")]
    NoNetwork,
    /// Nowhere to look.
    #[error("no port is named: leave ports out for the usual ones, {PROBE_PORT} and {OPEN_ENGINE_PORT}")]
    NoPort,
    /// Too much for one scan.
    #[error(
        "{what} {} addresses, and a scan looks at {MAX_SCANNED} at most: name the smaller networks where the containers are, a /16 or /112 at the largest",
        counted(*.size)
    )]
    TooMany {
        /// Which networks, with the verb.
        what: String,
        /// How many they hold.
        size: u128,
    },
    /// Too many networks.
    #[error(
        "{0} networks are named, and a scan looks at {MAX_SCAN_CIDRS} at most: name the larger ones that hold them, or scan again for the rest"
    )]
    TooManyNetworks(usize),
    /// Too many ports.
    #[error(
        "{0} ports are named, and a scan looks at {MAX_SCAN_PORTS} at most: name those where runners listen"
    )]
    TooManyPorts(usize),
    /// Nobody listens there.
    #[error("port 0 is no port: name 1 to 65535")]
    PortZero,
}

fn counted(size: u128) -> String {
    if size == u128::MAX {
        "more than 2^127".to_owned()
    } else {
        size.to_string()
    }
}

/// What a scan looks at: each port of each address. Bounded, and nothing is in it twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanPlan {
    cidrs: Vec<Cidr>,
    ports: Vec<u16>,
}

impl ScanPlan {
    /// A plan, if it is one that ends. Without ports it looks at the usual ones.
    ///
    /// # Errors
    /// [`ScanPlanError`], with what to do.
    pub fn new(mut cidrs: Vec<Cidr>, ports: Option<Vec<u16>>) -> Result<Self, ScanPlanError> {
        let mut ports = ports.unwrap_or_else(|| vec![PROBE_PORT, OPEN_ENGINE_PORT]);
        cidrs.sort_unstable();
        // Two networks have nothing in common, or one holds the other and stands before it.
        cidrs.dedup_by(|next, kept| kept.holds(next));
        ports.sort_unstable();
        ports.dedup();
        if cidrs.is_empty() {
            return Err(ScanPlanError::NoNetwork);
        }
        if cidrs.len() > MAX_SCAN_CIDRS {
            return Err(ScanPlanError::TooManyNetworks(cidrs.len()));
        }
        if ports.is_empty() {
            return Err(ScanPlanError::NoPort);
        }
        if ports.contains(&0) {
            return Err(ScanPlanError::PortZero);
        }
        if ports.len() > MAX_SCAN_PORTS {
            return Err(ScanPlanError::TooManyPorts(ports.len()));
        }
        if let Some(large) = cidrs.iter().find(|cidr| cidr.size() > MAX_SCANNED) {
            return Err(ScanPlanError::TooMany {
                what: format!("`{large}` holds"),
                size: large.size(),
            });
        }
        let size = cidrs
            .iter()
            .fold(0_u128, |sum, cidr| sum.saturating_add(cidr.size()));
        if size > MAX_SCANNED {
            return Err(ScanPlanError::TooMany {
                what: "the networks together hold".into(),
                size,
            });
        }
        Ok(Self { cidrs, ports })
    }

    /// The networks, in order.
    pub fn cidrs(&self) -> &[Cidr] {
        &self.cidrs
    }

    /// The ports, in order.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// How many places it looks at.
    pub fn total(&self) -> u64 {
        let addresses: u128 = self.cidrs.iter().map(Cidr::size).fold(0, u128::saturating_add);
        let places = addresses.saturating_mul(self.ports.len() as u128);
        u64::try_from(places).unwrap_or(u64::MAX)
    }

    /// Whether it looks at a place.
    pub fn covers(&self, place: SocketAddr) -> bool {
        let address: IpAddr = place.ip();
        self.ports.contains(&place.port()) && self.cidrs.iter().any(|cidr| cidr.contains(address))
    }

    /// Every place, address by address.
    pub fn places(&self) -> impl Iterator<Item = SocketAddr> + Send + use<> {
        let ports = self.ports.clone();
        let addresses = self.cidrs.clone().into_iter().flat_map(Cidr::addresses);
        addresses.flat_map(move |address| {
            let ports = ports.clone();
            ports.into_iter().map(move |port| SocketAddr::new(address, port))
        })
    }
}

/// Where a scan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScanState {
    /// Others are before it.
    Waiting,
    /// The leader looks.
    Running,
    /// It looked everywhere.
    Done,
    /// An operator ended it.
    Cancelled,
    /// What ran it on a leader is no more; what it had found stays.
    Interrupted,
}

impl ScanState {
    /// Whether nothing more will come of it.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// How far a scan is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanCount {
    /// Places looked at.
    pub done: u64,
    /// Runners that proved to hold a join token, and were told where to join.
    pub proven: u32,
    /// Runners without a token: candidates.
    pub candidates: u32,
    /// Other things that somebody should know of.
    pub findings: u32,
}

/// A scan of some networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Scan {
    /// Its id.
    pub id: ScanId,
    /// What it looks at.
    pub plan: ScanPlan,
    /// Whether the configuration asked for it, and not an operator.
    #[serde(default)]
    pub scheduled: bool,
    /// Where it stands.
    pub state: ScanState,
    /// Why, for a person to read.
    #[serde(default)]
    pub reason: String,
    /// How far it is.
    pub count: ScanCount,
    /// The term of the leader that runs or ran it; zero before one did.
    pub term: u64,
    /// The candidates it saw so far; empty once it is over.
    #[serde(default)]
    pub seen: Vec<ContainerId>,
    /// The revision that asked for it: scans are run in this order.
    pub asked: Revision,
    /// The revision of its last change.
    pub version: Revision,
    /// Log time of the question.
    pub asked_at: Millis,
    /// Log time of its end.
    pub ended_at: Option<Millis>,
}

named!(Scan, omit & ["scheduled", "reason", "seen", "ended_at"]);

/// A runner without a token that a scan met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Met {
    /// The id a new record gets; fixed by the proposer.
    pub id: ContainerId,
    /// What it calls itself.
    pub name: Name,
    /// Where it listens.
    pub address: SocketAddr,
    /// SHA-256 of the certificate it showed, 64 hexadecimal digits.
    pub fingerprint: String,
}

named!(Met, omit & []);

/// What kind of thing a scan met that is neither a runner of ours nor nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A Docker Engine that anybody may use, without TLS and without a password.
    OpenEngine,
    /// A runner whose join token is not, or no longer, good for this cluster.
    ForeignRunner,
    /// Something that speaks as a runner does and breaks its rules, or does so in another version.
    OddRunner,
}

/// Something that a scan met and that somebody should know of. Nothing is done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Finding {
    /// Where.
    pub address: SocketAddr,
    /// What.
    pub kind: FindingKind,
    /// What exactly, for a person to read.
    #[serde(default)]
    pub detail: String,
    /// The last scan that met it.
    pub scan: ScanId,
    /// Log time of that.
    pub seen_at: Millis,
}

named!(Finding, omit & ["detail"]);

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(cidrs: &[&str], ports: &[u16]) -> Result<ScanPlan, ScanPlanError> {
        let cidrs = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
        ScanPlan::new(cidrs, Some(ports.to_vec()))
    }

    #[test]
    fn a_plan_goes_to_each_place_once() {
        let plan = plan(&["10.0.0.0/30", "fd00::/127", "10.0.0.0/30"], &[9, 7, 9]).unwrap();
        let places: Vec<_> = plan.places().map(|place| place.to_string()).collect();
        assert_eq!(places.len() as u64, plan.total());
        assert_eq!(places[..3], ["10.0.0.0:7", "10.0.0.0:9", "10.0.0.1:7"]);
        assert_eq!(places[11], "[fd00::1]:9");
        assert!(plan.places().all(|place| plan.covers(place)));
        for outside in ["10.0.0.4:7", "10.0.0.1:8", "[fd00::2]:7"] {
            assert!(!plan.covers(outside.parse().unwrap()), "{outside}");
        }
        let usual = ScanPlan::new(vec!["::1".parse().unwrap()], None).unwrap();
        assert_eq!(usual.ports(), [OPEN_ENGINE_PORT, PROBE_PORT]);
    }

    #[test]
    fn a_network_inside_another_one_is_not_scanned_twice() {
        let plan = plan(
            &[
                "10.0.0.2",
                "10.0.1.0/24",
                "fd00::5",
                "10.0.0.0/30",
                "10.0.1.128/25",
                "10.0.0.0/29",
                "fd00::/126",
                "10.0.0.8/30",
            ],
            &[7],
        )
        .unwrap();
        let kept: Vec<_> = plan.cidrs().iter().map(Cidr::to_string).collect();
        assert_eq!(
            kept,
            [
                "10.0.0.0/29",
                "10.0.0.8/30",
                "10.0.1.0/24",
                "fd00::/126",
                "fd00::5/128"
            ]
        );
        let mut places: Vec<_> = plan.places().collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len() as u64, plan.total());
        // Of the two families, numbers that are alike mean different addresses.
        let both = ScanPlan::new(
            vec!["::/120".parse().unwrap(), "0.0.0.0/25".parse().unwrap()],
            None,
        );
        assert_eq!(both.unwrap().cidrs().len(), 2);
    }

    /// A plan of single addresses was an entry of a megabyte.
    #[test]
    fn a_plan_of_very_many_networks_is_refused() {
        let apart = |count: u32| {
            let cidrs = (0..count).map(|n| Cidr::of(std::net::Ipv4Addr::from(0x0a00_0000 + 2 * n).into()));
            ScanPlan::new(cidrs.collect(), Some(vec![7]))
        };
        assert!(apart(256).is_ok());
        let error = apart(257).unwrap_err().to_string();
        assert!(
            error.contains("257 networks") && error.contains("256 at most"),
            "{error}"
        );
    }

    #[test]
    fn what_would_not_end_is_refused_with_what_to_do() {
        for (cidrs, ports, why) in [
            (
                &["0.0.0.0/0"][..],
                &[7][..],
                "holds 4294967296 addresses, and a scan looks at 65536",
            ),
            (&["::/0"], &[7], "holds more than 2^127 addresses"),
            (&["10.0.0.0/15"], &[7], "`10.0.0.0/15` holds 131072"),
            (&["10.0.0.0/16", "10.1.0.0/16"], &[7], "together hold 131072"),
            (&[], &[7], "name at least one"),
            (&["::1"], &[], "no port"),
            (&["::1"], &[0], "port 0"),
        ] {
            let error = plan(cidrs, ports).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let ports: Vec<u16> = (1..=17).collect();
        assert!(
            plan(&["::1"], &ports)
                .unwrap_err()
                .to_string()
                .contains("17 ports")
        );
        assert!(plan(&["10.0.0.0/16"], &ports[..16]).is_ok());
    }
}
