//! The faults, and how they follow each other.
//!
//! A fault strikes, stays a while, is undone, and gives **evidence** that it was in effect: a process that was gone, a
//! packet that was dropped, a page that was lost. It undoes exactly what it did, so that several may be about at the
//! same time. The driver measures what comes after: another leader where one was due, and all serving again.

mod clock;
mod crash;
mod damage;
mod disk;
mod drive;
mod kill;
mod leadership;
mod links;
mod membership;
mod partition;
mod pause;
mod plan;
mod power;
mod runner;
mod whom;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

pub use self::drive::{Lane, RECOVERS_WITHIN, Strike, drive};
pub use self::plan::{FAMILIES, LeftOut, Plan, families};
use crate::cluster::Cluster;

/// What a fault needs of the cluster it strikes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tools {
    pub disks: bool,
    pub clocks: bool,
    /// A network of packets, not of streams.
    pub packets: bool,
    /// Empty seats.
    pub spare: u64,
    pub runners: bool,
}

/// What a fault did.
#[derive(Debug, Clone, Default)]
pub struct Effect {
    /// Whether it was in effect, beyond having been asked for.
    pub in_effect: bool,
    /// Whether another leader must have been elected because of it.
    pub leader_due: bool,
    /// What shows it.
    pub evidence: Value,
    /// Something a manager must never do, whatever the fault.
    pub violation: Option<String>,
}

/// Where faults strike.
pub struct Field {
    pub cluster: Arc<Cluster>,
    /// About how long a fault stays.
    pub hold: Duration,
    chance: Mutex<StdRng>,
}

impl Field {
    pub fn new(cluster: Arc<Cluster>, hold: Duration, seed: u64) -> Self {
        Self {
            cluster,
            hold,
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
        }
    }

    /// Something left to chance, but for the seed.
    pub fn chance<T>(&self, choose: impl FnOnce(&mut StdRng) -> T) -> T {
        choose(&mut self.chance.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets a fault stay.
    pub async fn stay(&self) {
        let share = self.chance(|chance| chance.random_range(0.8..1.2));
        tokio::time::sleep(self.hold.mul_f64(share)).await;
    }
}

/// A fault.
#[async_trait]
pub trait Fault: Send + Sync {
    /// Its name on the command line and in the history.
    fn name(&self) -> &'static str;

    /// What it does, in a few words.
    fn about(&self) -> &'static str;

    fn tools(&self) -> Tools {
        Tools::default()
    }

    /// Strikes, stays, and undoes what it did.
    async fn strike(&self, field: &Field) -> Result<Effect>;
}
