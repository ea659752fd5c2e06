//! What only the leader does: place agents, judge containers, watch engines, adopt what they find, scan networks.
//!
//! Each loop starts with leadership and ends with it. A loop has no input: it looks at the state,
//! decides, proposes, and looks again, woken by a signal or by its period, whichever comes first.
//! It may be stopped anywhere and started anywhere; a proposal that fails is not repeated inside,
//! because the next look decides anew. No loop but [`adopt`] touches a container: what it proposes changes
//! the desired state, and runners converge.

pub mod adopt;
mod adopt_desk;
mod adopt_sightings;
mod breaker;
mod discover;
mod engine_trips;
pub mod liveness;
mod replica;
mod scan;
mod scan_pace;
mod schedule;

use std::{sync::Arc, time::Duration};

use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use self::{adopt::Adopter, adopt_sightings::Sightings};
pub use self::{engine_trips::EngineTrips, liveness::LivenessTable, replica::Replica, scan::Scanning};
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
    /// How networks are looked at.
    pub scanning: Scanning,
    /// Brings runners into containers that have none, where it is there.
    pub adopter: Option<Arc<Adopter>>,
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
            let sightings = Arc::<Sightings>::default();
            loops.spawn(discover::run(
                replica.clone(),
                deps.trips.clone(),
                deps.engines.clone(),
                sightings.clone(),
            ));
            if let Some(adopter) = &deps.adopter {
                let (access, adopter) = (deps.engines.clone(), adopter.clone());
                loops.spawn(adopt::run(replica.clone(), access, adopter, sightings, term));
            }
            loops.spawn(scan::run(replica.clone(), deps.scanning.clone(), term));
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
