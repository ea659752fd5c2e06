//! Disks that are full, slow, or fail.

use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Effect, Fault, Field, Tools};
use crate::cluster::{Exit, Seat};
use crate::disk::Disk;

/// The exit code of a manager whose storage failed.
const STORAGE: i32 = 74;
/// How long a manager may take to end after its storage failed.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
/// What a disk that is to fill up has left.
const ROOM: u64 = 256 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Full,
    Slow,
    SlowAll,
    Failing,
}

pub struct DiskTrouble(pub Trouble);

#[async_trait]
impl Fault for DiskTrouble {
    fn name(&self) -> &'static str {
        match self.0 {
            Trouble::Full => "disk-full",
            Trouble::Slow => "disk-slow",
            Trouble::SlowAll => "disk-slow-all",
            Trouble::Failing => "disk-failing",
        }
    }

    fn about(&self) -> &'static str {
        match self.0 {
            Trouble::Full => "a manager's disk fills up, and has room again later",
            Trouble::Slow => "every fsync of a manager takes 200 ms",
            Trouble::SlowAll => "every fsync of all managers takes 50 ms",
            Trouble::Failing => "an fsync of a manager fails, and its data with it",
        }
    }

    fn tools(&self) -> Tools {
        Tools {
            disks: true,
            ..Tools::default()
        }
    }

    async fn strike(&self, field: &Field) -> Result<Effect> {
        match self.0 {
            Trouble::Full => full(field).await,
            Trouble::Slow => slow(field, &[field.anyone().await?], Duration::from_millis(200)).await,
            Trouble::SlowAll => slow(field, &field.running().await?, Duration::from_millis(50)).await,
            Trouble::Failing => failing(field).await,
        }
    }
}

fn disk(seat: &Seat) -> Result<&Disk> {
    seat.disk.as_ref().context("the seat has a disk of its own")
}

/// Until `seen`, but not for ever; whether it was.
async fn until(within: Duration, mut seen: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    while !seen() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(10)).await;
    }
    true
}

/// Ends of this seat's managers by themselves, from the `known`th of all on.
fn ends(field: &Field, seat: &Seat, known: usize) -> Vec<Exit> {
    let mut ends = field.cluster.ended_by_themselves().split_off(known);
    ends.retain(|exit| exit.seat == seat.number);
    ends
}

fn not_stopped(seat: &Seat, what: &str) -> String {
    format!("the manager of seat {} went on after {what}", seat.number)
}

fn wrong_code(ends: &[Exit]) -> Option<String> {
    let wrong = ends.iter().find(|exit| exit.code != Some(STORAGE))?;
    Some(format!(
        "a manager whose storage failed ended with {:?}, not {STORAGE}: {}",
        wrong.code.or(wrong.signal),
        wrong.said
    ))
}

async fn full(field: &Field) -> Result<Effect> {
    let seat = field.anyone().await?;
    let known = field.cluster.ended_by_themselves().len();
    let before = disk(&seat)?.counts().refused_writes;
    disk(&seat)?.fill_up(ROOM);
    let refused = until(STOPS_WITHIN, || {
        disk(&seat).is_ok_and(|disk| disk.counts().refused_writes > before)
    });
    let refused = refused.await;
    let stopped = until(STOPS_WITHIN, || !ends(field, &seat, known).is_empty()).await;
    field.stay().await;
    disk(&seat)?.mend();
    let ends = ends(field, &seat, known);
    let violation = match (refused, stopped) {
        (true, false) => Some(not_stopped(&seat, "its disk was full")),
        _ => wrong_code(&ends),
    };
    Ok(Effect {
        in_effect: refused,
        leader_due: false,
        evidence: json!({"seat": seat.number, "disk": disk(&seat)?.counts(), "ended": ends.len()}),
        violation,
    })
}

async fn slow(field: &Field, seats: &[std::sync::Arc<Seat>], delay: Duration) -> Result<Effect> {
    let count = || -> Result<u64> { seats.iter().map(|seat| Ok(disk(seat)?.counts().slow_syncs)).sum() };
    let before = count()?;
    for seat in seats {
        disk(seat)?.slow_down(delay);
    }
    field.stay().await;
    for seat in seats {
        disk(seat)?.mend();
    }
    let slow = count()? - before;
    Ok(Effect {
        in_effect: slow > 0,
        leader_due: false,
        evidence: json!({"seats": super::whom::numbers(seats), "slow_syncs": slow, "delay": delay}),
        violation: None,
    })
}

async fn failing(field: &Field) -> Result<Effect> {
    let seat = field.anyone().await?;
    let known = field.cluster.ended_by_themselves().len();
    let before = disk(&seat)?.counts().failed_syncs;
    disk(&seat)?.fail_syncs(1);
    let failed = until(STOPS_WITHIN, || {
        disk(&seat).is_ok_and(|disk| disk.counts().failed_syncs > before)
    });
    let failed = failed.await;
    let stopped = until(STOPS_WITHIN, || !ends(field, &seat, known).is_empty()).await;
    disk(&seat)?.mend();
    field.stay().await;
    let ends = ends(field, &seat, known);
    let violation = match (failed, stopped) {
        (true, false) => Some(not_stopped(&seat, "an fsync of its failed")),
        _ => wrong_code(&ends),
    };
    Ok(Effect {
        in_effect: failed,
        leader_due: false,
        evidence: json!({"seat": seat.number, "disk": disk(&seat)?.counts(), "ended": ends.len()}),
        violation,
    })
}
