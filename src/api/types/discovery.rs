//! Scans, what they met, and the approval of candidates.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{
    Cidr, ContainerId, Finding, FindingKind, Millis, Name, Revision, Scan, ScanId, ScanState,
};

/// Asks for a scan.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScanRequest {
    /// Networks, such as `10.1.0.0/24` or `fd00::/120`; at most 256, and 65,536 addresses together.
    #[schema(value_type = Vec<String>)]
    pub cidrs: Vec<Cidr>,
    /// Ports of each address, at most 16; 7997 and 2375 when absent.
    #[serde(default)]
    pub ports: Option<Vec<u16>>,
}

/// A scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScanView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: ScanId,
    /// `waiting`, `running`, `done`, `cancelled` or `interrupted`.
    #[schema(value_type = String)]
    pub state: ScanState,
    /// Why it is in this state.
    pub reason: String,
    /// Whether the configuration asked for it, and not an operator.
    pub scheduled: bool,
    /// The networks.
    #[schema(value_type = Vec<String>)]
    pub cidrs: Vec<Cidr>,
    /// The ports.
    pub ports: Vec<u16>,
    /// Places looked at so far: ports of addresses.
    pub done: u64,
    /// Places in all.
    pub total: u64,
    /// Runners that proved to hold a join token, and were told where to join.
    pub proven: u32,
    /// Runners without a join token: candidates.
    pub candidates: u32,
    /// Other things that somebody should know of.
    pub findings: u32,
    /// The revision of its last change.
    pub version: Revision,
    /// When it was asked for.
    #[schema(value_type = u64)]
    pub asked_at: Millis,
    /// When it was over.
    #[schema(value_type = Option<u64>)]
    pub ended_at: Option<Millis>,
}

impl From<&Scan> for ScanView {
    fn from(scan: &Scan) -> Self {
        Self {
            id: scan.id,
            state: scan.state,
            reason: scan.reason.clone(),
            scheduled: scan.scheduled,
            cidrs: scan.plan.cidrs().to_vec(),
            ports: scan.plan.ports().to_vec(),
            done: scan.count.done,
            total: scan.plan.total(),
            proven: scan.count.proven,
            candidates: scan.count.candidates,
            findings: scan.count.findings,
            version: scan.version,
            asked_at: scan.asked_at,
            ended_at: scan.ended_at,
        }
    }
}

/// A scan that was just asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScanAsked {
    /// Its id.
    #[schema(value_type = String)]
    pub id: ScanId,
    /// How many places it will look at: ports of addresses.
    pub total: u64,
    /// The revision that asked for it.
    pub version: Revision,
}

/// Something that a scan met and that somebody should know of. Nothing is done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    /// Where.
    #[schema(value_type = String)]
    pub address: SocketAddr,
    /// `open_engine`, `foreign_runner` or `odd_runner`.
    #[schema(value_type = String)]
    pub kind: FindingKind,
    /// What exactly.
    pub detail: String,
    /// What to do about it.
    pub advice: String,
    /// The last scan that met it.
    #[schema(value_type = String)]
    pub scan: ScanId,
    /// When that was.
    #[schema(value_type = u64)]
    pub seen_at: Millis,
}

impl From<&Finding> for FindingView {
    fn from(finding: &Finding) -> Self {
        Self {
            address: finding.address,
            kind: finding.kind,
            detail: finding.detail.clone(),
            advice: advice(finding.kind).to_owned(),
            scan: finding.scan,
            seen_at: finding.seen_at,
        }
    }
}

fn advice(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::OpenEngine => {
            "whoever reaches this port owns the machine: close it, or let the engine ask for client certificates \
             (dockerd --tlsverify) or listen on a Unix socket only; add it with `quorate engine add` then"
        }
        FindingKind::ForeignRunner => {
            "it may be another cluster's; if it is yours, give it a join token from `quorate cluster join-token create`"
        }
        FindingKind::OddRunner => "look what listens there; a runner of another version wants to be upgraded",
    }
}

/// What scans do and have met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiscoveryView {
    /// The scans that wait or run, and the latest that are over; the newest first.
    pub scans: Vec<ScanView>,
    /// What was met, by address.
    pub findings: Vec<FindingView>,
    /// How many candidates wait for approval: `GET /api/v1/containers` has them.
    pub candidates: usize,
    /// The revision this shows.
    pub revision: Revision,
}

/// Approves a candidate.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// The key that was looked at, 64 hexadecimal digits; the approval is refused when the candidate has another
    /// one. It is what is approved: a candidate's name is its own choice.
    pub fingerprint: String,
}

/// A candidate that was approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Approved {
    /// Its id, which stays.
    #[schema(value_type = String)]
    pub id: ContainerId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// The key that was approved.
    pub fingerprint: String,
    /// Why it was not told where to join, if it was not: approve it again then.
    pub trouble: Option<String>,
    /// The revision of the approval.
    pub revision: Revision,
}
