//! Files that are damaged: bits flipped, ends cut off. Of one manager at a time, which others can stand in for.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use rand::Rng;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Effect, Fault, Field};
use crate::cluster::Seat;

/// How long a snapshot is waited for.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(30);
/// Bits flipped in a log; a snapshot, which is checked as a whole, gets one.
const FLIPS: usize = 20;
/// The exit code of a manager whose storage is damaged.
const STORAGE: i32 = 74;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    FlipLog,
    CutLog,
    FlipSnapshot,
    CutSnapshot,
}

pub struct Damage(pub Harm);

#[async_trait]
impl Fault for Damage {
    fn name(&self) -> &'static str {
        match self.0 {
            Harm::FlipLog => "damage-log-bits",
            Harm::CutLog => "damage-log-end",
            Harm::FlipSnapshot => "damage-snapshot-bits",
            Harm::CutSnapshot => "damage-snapshot-end",
        }
    }

    fn about(&self) -> &'static str {
        match self.0 {
            Harm::FlipLog => "bits of a manager's log are flipped while it is down",
            Harm::CutLog => "the end of a manager's log is cut off while it is down",
            Harm::FlipSnapshot => "a bit of a manager's snapshot is flipped while it is down",
            Harm::CutSnapshot => "the end of a manager's snapshot is cut off while it is down",
        }
    }

    async fn strike(&self, field: &Field) -> Result<Effect> {
        let seat = field.anyone().await?;
        if matches!(self.0, Harm::FlipSnapshot | Harm::CutSnapshot) {
            await_snapshot(&seat).await?;
        }
        let known = field.cluster.ended_by_themselves().len();
        let pid = seat.kill().await?;
        let harm = self.harm(field, &seat)?;
        seat.start().await?;
        field.stay().await;
        let mut ends = field.cluster.ended_by_themselves().split_off(known);
        ends.retain(|exit| exit.seat == seat.number);
        let wrong = ends.iter().find(|exit| exit.code != Some(STORAGE));
        let violation = wrong.map(|exit| {
            format!(
                "a manager with a damaged file ended with {:?}, not {STORAGE}: {}",
                exit.code.or(exit.signal),
                exit.said
            )
        });
        let mut replaced = Value::Null;
        if !ends.is_empty() {
            // It says that it is lost. A person would put another in its place, and so do we.
            let (old, new) = field.cluster.replace(&seat).await?;
            replaced = json!({"manager": old, "replaced_by": new});
        }
        Ok(Effect {
            in_effect: pid.is_some(),
            leader_due: false,
            evidence: json!({
                "seat": seat.number, "harm": harm, "refused_to_start": ends.len(),
                "said": ends.first().map(|exit| exit.said.clone()), "replaced": replaced,
            }),
            violation,
        })
    }
}

impl Damage {
    fn harm(&self, field: &Field, seat: &Seat) -> Result<Value> {
        match self.0 {
            Harm::FlipLog => flip(field, &log(seat), FLIPS),
            Harm::CutLog => cut(field, &log(seat)),
            Harm::FlipSnapshot => flip(field, &snapshot(seat)?, 1),
            Harm::CutSnapshot => cut(field, &snapshot(seat)?),
        }
    }
}

fn log(seat: &Seat) -> PathBuf {
    seat.data().join("manager/raft/db")
}

/// The newest snapshot.
fn snapshot(seat: &Seat) -> Result<PathBuf> {
    let dir = seat.data().join("manager/snapshots");
    let mut files: Vec<PathBuf> = fs::read_dir(&dir)
        .with_context(|| format!("{} cannot be listed", dir.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0))
        .collect();
    files.sort();
    files.pop().context("there is no snapshot")
}

async fn await_snapshot(seat: &Seat) -> Result<()> {
    let deadline = Instant::now() + SNAPSHOT_WITHIN;
    while let Err(why) = snapshot(seat) {
        if Instant::now() > deadline {
            bail!("no snapshot within {SNAPSHOT_WITHIN:?}: {why:#}");
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Flips bits where something is written: zeros are most of a log's file, and nobody reads them.
fn flip(field: &Field, path: &Path, count: usize) -> Result<Value> {
    let bytes = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    ensure!(!written.is_empty(), "{} has nothing in it", path.display());
    let file = fs::File::options()
        .write(true)
        .open(path)
        .context("it cannot be written")?;
    let mut flipped = Vec::new();
    for _ in 0..count {
        let (at, bit) = field.chance(|chance| {
            (
                written[chance.random_range(0..written.len())],
                chance.random_range(0..8),
            )
        });
        file.write_all_at(&[bytes[at] ^ (1 << bit)], at as u64)
            .context("a byte cannot be written")?;
        flipped.push(json!([at, bit]));
    }
    file.sync_all().context("it cannot be synced")?;
    Ok(json!({"file": path.file_name().map(|name| name.to_string_lossy().into_owned()), "flipped": flipped}))
}

fn cut(field: &Field, path: &Path) -> Result<Value> {
    let before = fs::metadata(path)
        .with_context(|| format!("{} is not there", path.display()))?
        .len();
    let most = before.min(256 << 10);
    let after = before - field.chance(|chance| chance.random_range(1..=most));
    let file = fs::File::options()
        .write(true)
        .open(path)
        .context("it cannot be written")?;
    file.set_len(after).context("it cannot be cut")?;
    file.sync_all().context("it cannot be synced")?;
    Ok(
        json!({"file": path.file_name().map(|name| name.to_string_lossy().into_owned()), "bytes_before": before, "bytes_after": after}),
    )
}
