//! An exclusive agent, as the workload `containers` deploys it: it does nothing but say that it lives.
//!
//! Each life has a file of its own, named by agent, epoch and process, which holds the first and the last moment at
//! which it acted. The moments are of the machine's monotonic clock, which is the same in all processes and which no
//! fault touches, so that lives can be held against each other however close they come.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Between two beats.
const EVERY: Duration = Duration::from_millis(5);

/// One process of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Life {
    /// When it first acted, in nanoseconds of the machine's monotonic clock.
    pub first: u64,
    /// When it last did.
    pub last: u64,
    /// The placement it acted under.
    pub epoch: u64,
    pub pid: u32,
}

/// Now, in nanoseconds of the machine's monotonic clock.
///
/// # Errors
/// The clock can't be read.
pub fn now() -> Result<u64> {
    let now: Duration = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .context("the monotonic clock can't be read")?
        .into();
    u64::try_from(now.as_nanos()).context("this machine runs for too long")
}

/// Beats until it is killed. Who it is stands in the environment that a runner gives its agents.
///
/// # Errors
/// It is no agent, or can't write.
pub fn beat(dir: &Path) -> Result<()> {
    let own =
        |name: &str| std::env::var(name).with_context(|| format!("{name} is not set: this is for agents"));
    let name = format!(
        "{}.{}.{}",
        own("QUORATE_AGENT")?,
        own("QUORATE_EPOCH")?,
        std::process::id()
    );
    let first = now()?;
    let file = File::create(dir.join(&name)).with_context(|| format!("{name} can't be made"))?;
    let mut last = first;
    loop {
        let both = [first.to_ne_bytes(), last.to_ne_bytes()].concat();
        file.write_all_at(&both, 0)
            .with_context(|| format!("{name} can't be written"))?;
        thread::sleep(EVERY);
        last = now()?;
    }
}

/// All lives so far, by agent, in the order in which they began.
///
/// # Errors
/// The directory can't be read.
pub fn lives(dir: &Path) -> Result<BTreeMap<String, Vec<Life>>> {
    let mut all: BTreeMap<String, Vec<Life>> = BTreeMap::new();
    for entry in fs::read_dir(dir).with_context(|| format!("{} can't be read", dir.display()))? {
        let entry = entry.context("a directory's entry can't be read")?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // One that was killed before its first beat never acted.
        let moments: Option<[u8; 16]> = fs::read(entry.path())
            .ok()
            .and_then(|bytes| bytes.try_into().ok());
        if let (Some(moments), Some((agent, epoch, pid))) = (moments, parts(&name)) {
            let moment = |at: usize| moments[at..at + 8].try_into().map_or(0, u64::from_ne_bytes);
            all.entry(agent.to_owned()).or_default().push(Life {
                first: moment(0),
                last: moment(8),
                epoch,
                pid,
            });
        }
    }
    all.values_mut().for_each(|lives| lives.sort_unstable());
    Ok(all)
}

/// Whether an agent acted within the last second.
pub fn acts(dir: &Path, agent: &str) -> bool {
    let (Ok(now), Ok(all)) = (now(), lives(dir)) else {
        return false;
    };
    let recent = |life: &Life| life.last.saturating_add(1_000_000_000) >= now;
    all.get(agent).is_some_and(|lives| lives.iter().any(recent))
}

fn parts(name: &str) -> Option<(&str, u64, u32)> {
    let (rest, pid) = name.rsplit_once('.')?;
    let (agent, epoch) = rest.rsplit_once('.')?;
    Some((agent, epoch.parse().ok()?, pid.parse().ok()?))
}
