//! Power cuts: the manager is gone, and with it all it had not synced.

use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::whom::Whom;
use super::{Effect, Fault, Field, Tools};
use crate::cluster::{Cut, Seat};
use crate::disk::Dropped;

/// How long a moment is waited for in which something is not synced yet.
const DIRTY_WITHIN: Duration = Duration::from_secs(3);

/// The power of whom is cut, and whether some of what was not synced survives, pages torn.
pub struct Power {
    pub whom: Whom,
    pub torn: bool,
}

#[async_trait]
impl Fault for Power {
    fn name(&self) -> &'static str {
        match (self.whom, self.torn) {
            (Whom::All, false) => "power-all",
            (Whom::All, true) => "power-all-torn",
            (Whom::Leader, _) => "power-leader",
            (_, false) => "power-one",
            (_, true) => "power-one-torn",
        }
    }

    fn about(&self) -> &'static str {
        match (self.whom, self.torn) {
            (Whom::All, false) => "all managers lose power and everything that was not synced",
            (Whom::All, true) => "all lose power; half of what was not synced is written, pages torn",
            (Whom::Leader, _) => "the leader loses power and everything that was not synced",
            (_, false) => "a manager loses power and everything that was not synced",
            (_, true) => "one loses power; half of what was not synced is written, pages torn",
        }
    }

    fn tools(&self) -> Tools {
        Tools {
            disks: true,
            ..Tools::default()
        }
    }

    async fn strike(&self, field: &Field) -> Result<Effect> {
        let seats = field.choose(self.whom).await?;
        let survives = if self.torn { 0.5 } else { 0.0 };
        let (mut lost, mut cuts) = (0, Vec::new());
        for (number, seat) in seats.iter().enumerate() {
            let seed = field.chance(rand::Rng::random);
            let cut = match number {
                0 => cut_while_dirty(seat, survives, seed).await?,
                // At once, whatever these have to lose.
                _ => seat.cut_power(0, survives, seed).await?,
            };
            if let Cut::Done { pid, dropped } = cut {
                lost += unsynced(&dropped);
                cuts.push(json!({"seat": seat.number, "pid": pid, "dropped": dropped}));
            }
        }
        for seat in &seats {
            seat.await_end().await?;
        }
        field.stay().await;
        for seat in &seats {
            if let Some(disk) = &seat.disk {
                disk.power_on();
            }
            seat.start().await?;
        }
        Ok(Effect {
            in_effect: cuts.len() == seats.len() && lost > 0,
            leader_due: matches!(self.whom, Whom::All | Whom::Leader),
            evidence: json!({"cuts": cuts}),
            violation: None,
        })
    }
}

fn unsynced(dropped: &Dropped) -> u64 {
    dropped.pages + dropped.lengths + dropped.entries
}

async fn cut_while_dirty(seat: &Seat, survives: f64, seed: u64) -> Result<Cut> {
    let deadline = Instant::now() + DIRTY_WITHIN;
    loop {
        match seat.cut_power(1, survives, seed).await? {
            Cut::Synced => ensure!(
                Instant::now() < deadline,
                "nothing was written for {DIRTY_WITHIN:?}"
            ),
            cut => return Ok(cut),
        }
        sleep(Duration::from_micros(200)).await;
    }
}
