//! What only the leader does: place agents, judge containers, watch engines.
//!
//! Each loop starts with leadership and ends with it. A loop has no input: it looks at the state,
//! decides, proposes, and looks again, woken by a signal or by its period, whichever comes first.
//! It may be stopped anywhere and started anywhere; a proposal that fails is not repeated inside,
//! because the next look decides anew. No loop touches a container: what it proposes changes the
//! desired state, and runners converge.

mod breaker;
mod discover;
mod engine_trips;
pub mod liveness;
mod replica;
mod schedule;

use std::{sync::Arc, time::Duration};

use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

pub use self::{engine_trips::EngineTrips, liveness::LivenessTable, replica::Replica};
use crate::{consensus::Leadership, engine::EngineAccess, plan::Windows};

/// How long after a loop's panic all of them start again.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// What the loops stand on, beside the replica.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where the leader's digests are counted.
    pub table: Arc<LivenessTable>,
    /// The silences that are allowed.
    pub windows: Windows,
    /// How engines are reached.
    pub engines: EngineAccess,
    /// Where the engines' round trips are noted.
    pub trips: Arc<EngineTrips>,
}

/// Starts and ends the loops as leadership comes and goes.
#[derive(Debug)]
pub struct Controller {
    task: JoinHandle<()>,
}

impl Controller {
    /// Follows the leadership of `replica` until `shutdown`.
    pub fn start<R: Replica>(replica: R, deps: Deps, shutdown: CancellationToken) -> Self {
        let follow = follow(replica, deps);
        let task = tokio::spawn(async move {
            shutdown.run_until_cancelled(follow).await;
        });
        Self { task }
    }

    /// Waits until the loops have ended after the shutdown.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await
            && error.is_panic()
        {
            tracing::error!(%error, "the controller panicked");
        }
    }
}

async fn follow<R: Replica>(replica: R, deps: Deps) {
    let mut leadership = replica.watch_leadership();
    loop {
        let led = *leadership.borrow_and_update();
        // Dropped at the end of each turn, which aborts what still runs.
        let mut loops = JoinSet::new();
        if let Some(Leadership { term }) = led {
            tracing::info!(term, "leading: the control loops start");
            // Whoever led before may have acknowledged heartbeats until a moment ago.
            deps.table.grant(Instant::now());
            loops.spawn(schedule::run(replica.clone()));
            loops.spawn(liveness::run(
                replica.clone(),
                deps.table.clone(),
                deps.windows,
                term,
            ));
            loops.spawn(discover::run(
                replica.clone(),
                deps.trips.clone(),
                deps.engines.clone(),
            ));
        }
        loop {
            tokio::select! {
                changed = leadership.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if *leadership.borrow() != led {
                        break;
                    }
                }
                Some(ended) = loops.join_next() => {
                    tracing::error!(?ended, "a control loop ended, which it never should: all start again");
                    sleep(AFTER_PANIC).await;
                    break;
                }
            }
        }
        if led.is_some() {
            tracing::info!("the control loops stop");
        }
    }
}

#[cfg(test)]
mod breaker_tests;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
