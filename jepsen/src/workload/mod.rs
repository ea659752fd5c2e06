//! What clients do, and what they were told.
//!
//! Every operation is one request to one manager, sent once: a client that tried again by itself, or elsewhere, would
//! hide what the judge is here to see. What an answer means is decided in [`attempt`]; objects are bounded in the
//! operations they see ([`keys`]), so that histories of single objects stay short enough to be judged completely.

mod append;
mod attempt;
mod containers;
mod deploys;
mod freshness;
mod hand;
mod keys;
mod members;
mod once;
mod pace;
mod pages;
mod register;
mod set;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

pub use self::containers::NAME as CONTAINERS;
pub use self::pace::Pace;
use crate::checker::Verdict;
use crate::history::{History, Recorder};

/// How to reach one manager.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The manager's place in the cluster, from 1; its id too, until managers are replaced.
    pub node: u64,
    /// `https://host:port`.
    pub url: String,
    /// The cluster's CA, PEM.
    pub ca: String,
    /// The admin token.
    pub token: String,
}

/// Where agents act, for workloads that need containers to be there.
#[derive(Debug, Clone)]
pub struct Stage {
    /// This harness's own program, which is the agents' too.
    pub program: PathBuf,
    /// Where agents write down when they lived.
    pub lives: PathBuf,
}

/// What a workload is given.
#[derive(Clone)]
pub struct WorkloadContext {
    /// One for each manager, for clients that speak to this one only.
    pub endpoints: Vec<Endpoint>,
    /// Takes down what is done.
    pub recorder: Arc<Recorder>,
    /// Its share of the operations a second; every client of it waits for its turn here.
    pub pace: Arc<Pace>,
    /// When it fires, begin nothing new, finish what is under way and return.
    pub stop: CancellationToken,
    /// Chooses what is left to chance.
    pub seed: u64,
    /// Where agents act.
    pub stage: Stage,
}

/// Something clients do, and how to judge it.
#[async_trait]
pub trait Workload: Send + Sync {
    /// Its name on the command line and in the history.
    fn name(&self) -> &'static str;

    /// Drives the cluster until `ctx.stop` fires.
    async fn run(&self, ctx: WorkloadContext);

    /// Reads everything through every manager, after healing. `ctx.stop` bounds it.
    async fn final_reads(&self, ctx: WorkloadContext);

    /// Judges the history (of the whole run: other workloads' operations are in it too).
    fn check(&self, history: &History) -> Vec<Verdict>;
}

/// All workloads, by name. What each has done is remembered in it, for its reads at the end.
pub fn all() -> Vec<Arc<dyn Workload>> {
    vec![
        Arc::new(register::Register::default()),
        Arc::new(set::Set::default()),
        Arc::new(append::Append::default()),
        Arc::new(once::Once::default()),
        Arc::new(freshness::Freshness::default()),
        Arc::new(deploys::Deploys::default()),
        Arc::new(containers::Containers::default()),
        Arc::new(members::Members),
    ]
}
