//! Commands about network scans.

use serde::{Deserialize, Serialize};

use crate::model::{Finding, Met, ScanCount, ScanId, ScanPlan, ScanState};

/// A change of the scans.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DiscoveryCommand {
    /// Asks for a scan; the leader runs it when those before it are over.
    Scan {
        /// Its id.
        id: ScanId,
        /// What to look at.
        plan: ScanPlan,
        /// Whether the configuration asks, and not an operator.
        scheduled: bool,
    },
    /// How far the leader is, and what it met since it last said so. The first one begins the scan.
    Progress {
        /// Which scan.
        id: ScanId,
        /// The term of the leader that runs it; an entry of another term refuses it.
        term: u64,
        /// How far it is in all.
        count: ScanCount,
        /// Runners without a token.
        met: Vec<Met>,
        /// What else is there.
        findings: Vec<Finding>,
    },
    /// A scan is over: done, or interrupted because what ran it on a leader is no more.
    End {
        /// Which scan.
        id: ScanId,
        /// The term of the leader that says so; an entry of another term refuses it.
        term: u64,
        /// `Done` or `Interrupted`.
        state: ScanState,
        /// Whether every place was looked at and everything met was told. Only then what was not met again
        /// is forgotten.
        complete: bool,
        /// Why.
        reason: String,
    },
    /// An operator ends a scan.
    Cancel {
        /// Which scan.
        id: ScanId,
    },
}
