//! After healing: one leader, everybody there, everybody serving.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::FutureExt;
use quorate::client::{Condition, Page};
use tokio::time::{Instant, sleep, timeout};

use super::{Cluster, Seat};

/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(3);

impl Cluster {
    /// Waits until all agree on one leader and each acknowledges a write and a linearizable read; how long it took.
    ///
    /// # Errors
    /// It takes longer than `within`; the error says what was missing.
    pub async fn settle(&self, within: Duration) -> Result<Duration> {
        let begin = Instant::now();
        loop {
            let why = match self.settled().await {
                Ok(()) => return Ok(begin.elapsed()),
                Err(why) => why,
            };
            if begin.elapsed() > within {
                return Err(why.context(format!("the cluster did not settle within {within:?}")));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn settled(&self) -> Result<()> {
        let seats = self.wanted().await;
        let mut agreed = None;
        for seat in &seats {
            let view = seat
                .status()
                .await
                .with_context(|| format!("seat {}", seat.number))?;
            let leader = view
                .leader
                .with_context(|| format!("seat {} knows no leader", seat.number))?;
            let known = *agreed.get_or_insert((leader, view.term));
            ensure!(
                known == (leader, view.term),
                "seat {} takes manager {leader} of term {} for the leader, others {} of {}",
                seat.number,
                view.term,
                known.0,
                known.1
            );
            let voters = view.managers.iter().filter(|manager| manager.voter).count();
            ensure!(
                voters == seats.len() && view.managers.len() == voters,
                "seat {} knows {voters} voters among {} managers, and there are {} seats taken",
                seat.number,
                view.managers.len(),
                seats.len()
            );
        }
        let served = futures::future::join_all(seats.iter().map(|seat| serves(seat).boxed())).await;
        served.into_iter().collect()
    }
}

/// A write and a linearizable read through one manager.
async fn serves(seat: &Arc<Seat>) -> Result<()> {
    let key = format!("jepsen.settle.{}", seat.number);
    let exchange = async {
        let value = format!("{:016x}", rand::random::<u64>());
        seat.client
            .put_config(&key, "text/plain", value.clone(), Condition::Any, None)
            .await?;
        let read = seat.client.get_config(&key, &Page::default()).await?;
        // Only this task writes the key, one value after the other.
        if read.value != value.as_bytes() {
            bail!("a linearizable read does not show the write before it");
        }
        Ok(())
    };
    timeout(QUESTION, exchange)
        .await
        .context("it took too long")
        .flatten()
        .with_context(|| format!("seat {} does not serve", seat.number))
}
