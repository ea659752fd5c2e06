//! Leader killed (SIGKILL) → first write that another member acknowledges.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::cluster::{Client, Cluster, MEMBERS, Target};

/// A write is tried this often, at the survivors alternately.
const SPACING: Duration = Duration::from_millis(5);
/// How long a try waits for its answer before it is given up. Meanwhile others are begun, so that neither a member
/// that keeps requests until there is a leader nor one that refuses them at once is measured in steps of this.
const PATIENCE: Duration = Duration::from_millis(100);
/// Tries under way at a time.
const LANES: usize = (PATIENCE.as_millis() / SPACING.as_millis()) as usize;
/// Quiet before each kill: the cluster has settled, and its heartbeats and leases are in their rhythm.
const QUIET: Duration = Duration::from_secs(1);
/// When nothing is acknowledged for so long, the cluster is taken for lost.
const LOST: Duration = Duration::from_secs(60);

/// Kills the leader once, waits for the first acknowledged write elsewhere, and brings the cluster back.
///
/// Returns the time from just before the kill to the acknowledgement. Tries begin once the kernel has taken the
/// leader down, so no acknowledgement can be the dead leader's.
///
/// # Errors
/// Nothing is acknowledged within a minute, or the killed member does not come back.
pub async fn run<T: Target>(cluster: &mut Cluster<T>) -> Result<Duration> {
    sleep(QUIET).await;
    let leader = cluster.leader().await?;
    let survivors: Vec<usize> = (0..MEMBERS).filter(|&member| member != leader).collect();
    let mut lanes = Vec::with_capacity(LANES);
    for lane in 0..LANES {
        let connected = cluster
            .target
            .connect(survivors[lane % survivors.len()], 1)
            .await?;
        lanes.extend(connected);
    }

    let killed = Instant::now();
    cluster.kill(leader).await?;
    let first = Instant::now();
    let mut running = JoinSet::new();
    for (number, client) in (0_u32..).zip(lanes) {
        running.spawn(try_until_acknowledged(
            client,
            number as usize,
            first + SPACING * number,
        ));
    }
    let acknowledged = timeout(LOST, running.join_next()).await;
    let acknowledged = acknowledged
        .with_context(|| {
            format!(
                "{} acknowledged nothing for {LOST:?} after its leader was killed",
                T::SYSTEM
            )
        })?
        .context("no lane was begun")?
        .context("a lane panicked")?;
    running.shutdown().await;
    cluster.restart(leader).await?;
    Ok(acknowledged - killed)
}

/// One lane: a try each [`PATIENCE`], beginning at `begin`, until one is acknowledged; when that was.
async fn try_until_acknowledged<C: Client>(mut client: C, key: usize, begin: Instant) -> Instant {
    let mut try_at = begin;
    loop {
        sleep_until(try_at).await;
        let given_up = try_at + PATIENCE;
        if let Ok(Ok(())) = timeout_at(given_up, client.put(key)).await {
            return Instant::now();
        }
        try_at = given_up;
    }
}
