//! What managers tell of themselves: processor time and memory, metrics, logs, and containers at their API.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use quorate::{
    client::{Client, Page, types::ContainerView},
    telemetry,
};
use serde::Serialize;
use tokio::time::Instant;

use super::runner::CHOSEN;
use crate::{
    cluster::{Cluster, MEMBERS},
    machine::Memory,
    quorate::Quorate,
};

/// Containers of one page of a list: the most that managers give.
const PAGE: usize = 1000;

/// What a manager logs of each verdict on a container.
const JUDGED: &str = "a container is judged";

/// A manager's counters at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    at: Instant,
    processor: Duration,
    pub memory: Memory,
    digests: f64,
    digest_bytes: f64,
    applied: f64,
}

/// What a manager used over a span.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Use {
    /// Of one core, in percent.
    pub processor_percent: f64,
    /// At the end.
    pub memory: Memory,
    /// Digests of heartbeats that it sent to the leader, a second, and their bytes.
    pub digests_per_second: f64,
    pub digest_bytes_per_second: f64,
    /// Entries of the log that it applied meanwhile.
    pub entries: f64,
}

impl Reading {
    /// Reads all managers. Clients are in the order of members.
    ///
    /// # Errors
    /// One does not answer.
    pub async fn all(cluster: &Cluster<Quorate>, clients: &[Client; MEMBERS]) -> Result<[Self; MEMBERS]> {
        let mut all = Vec::with_capacity(MEMBERS);
        for (member, client) in clients.iter().enumerate() {
            let shown = client.get("/metrics").await;
            let shown = shown.with_context(|| format!("manager {} shows no metrics", member + 1))?;
            let shown = String::from_utf8_lossy(&shown.body);
            let process = cluster.process(member);
            all.push(Self {
                at: Instant::now(),
                processor: process.processor_time(),
                memory: process.memory(),
                digests: figure(&shown, telemetry::DIGESTS),
                digest_bytes: figure(&shown, telemetry::DIGEST_BYTES),
                applied: figure(&shown, telemetry::APPLIED_REVISION),
            });
        }
        all.try_into().ok().context("a manager is missing")
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Self) -> Use {
        let seconds = (self.at - earlier.at).as_secs_f64();
        let rate = |of: fn(&Self) -> f64| (of(self) - of(earlier)) / seconds;
        Use {
            processor_percent: self.processor.saturating_sub(earlier.processor).as_secs_f64() / seconds
                * 100.0,
            memory: self.memory,
            digests_per_second: rate(|reading| reading.digests),
            digest_bytes_per_second: rate(|reading| reading.digest_bytes),
            entries: self.applied - earlier.applied,
        }
    }
}

/// The figure of a metric without labels; zero when there is none.
fn figure(metrics: &str, name: &str) -> f64 {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    metrics.lines().find_map(value).unwrap_or(0.0)
}

/// How many verdicts on containers a manager has logged.
pub fn verdicts(cluster: &Cluster<Quorate>, member: usize) -> usize {
    let log = fs::read_to_string(cluster.process(member).log()).unwrap_or_default();
    log.lines().filter(|line| line.contains(JUDGED)).count()
}

/// The containers that were chosen, as one manager sees them, without asking any other.
///
/// # Errors
/// It does not answer.
pub async fn chosen(client: &Client) -> Result<Vec<ContainerView>> {
    let mut page = Page {
        consistency: Some("stale".to_owned()),
        limit: Some(PAGE),
        selector: Some(format!("{}={}", CHOSEN.0, CHOSEN.1)),
        ..Page::default()
    };
    let mut all = Vec::new();
    loop {
        let list = client
            .containers(&page)
            .await
            .context("the containers cannot be listed")?;
        all.extend(list.items);
        page.after = list.next;
        if page.after.is_none() {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_of_the_metric_with_exactly_this_name() {
        let metrics =
            "# HELP quorate_digests_total x\nquorate_digests_total_more 9\nquorate_digests_total 4\n";
        assert_eq!(figure(metrics, telemetry::DIGESTS), 4.0);
        assert_eq!(figure("", telemetry::DIGESTS), 0.0);
    }
}
