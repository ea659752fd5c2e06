//! Whom a fault strikes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::seq::SliceRandom;

use super::Field;
use crate::cluster::Seat;

/// How long a leader is waited for, when one is to be struck.
const LEADER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    One,
    Majority,
    All,
    Leader,
}

impl Field {
    /// The managers that run now, in an order left to chance.
    pub async fn running(&self) -> Result<Vec<Arc<Seat>>> {
        let mut seats = self.cluster.occupied().await;
        ensure!(!seats.is_empty(), "no manager runs");
        self.chance(|chance| seats.shuffle(chance));
        Ok(seats)
    }

    /// The leader's seat.
    pub async fn leader(&self) -> Result<Arc<Seat>> {
        let leader = self.cluster.await_leader(LEADER_WITHIN).await?;
        self.cluster.seat(leader.seat).cloned()
    }

    /// A manager that runs, by chance.
    pub async fn anyone(&self) -> Result<Arc<Seat>> {
        let mut seats = self.running().await?;
        Ok(seats.remove(0))
    }

    pub async fn choose(&self, whom: Whom) -> Result<Vec<Arc<Seat>>> {
        if whom == Whom::Leader {
            return Ok(vec![self.leader().await?]);
        }
        let mut seats = self.running().await?;
        let count = match whom {
            Whom::One => 1,
            Whom::Majority => seats.len() / 2 + 1,
            Whom::All | Whom::Leader => seats.len(),
        };
        seats.truncate(count);
        Ok(seats)
    }
}

/// The numbers of seats, for evidence.
pub fn numbers(seats: &[Arc<Seat>]) -> Vec<u64> {
    seats.iter().map(|seat| seat.number).collect()
}
