//! Places the agents that wait.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::Replica;
use crate::{
    command::{AgentCommand, Command, Loop, Outcome},
    plan::{self, Plan},
    state::State,
};

/// Placements in one entry.
const BATCH: usize = 1_000;

/// The pause after a batch: what was deployed meanwhile goes into one next batch.
const BETWEEN_BATCHES: Duration = Duration::from_millis(10);

/// The loop looks at least this often, and not sooner at a state that it could do nothing with.
const PERIOD: Duration = Duration::from_secs(1);

/// A state for which there was nothing to place, and until when that is believed.
struct Stuck {
    state: Arc<State>,
    until: Instant,
}

impl Stuck {
    fn still(&self, state: &State) -> bool {
        Instant::now() < self.until && self.state.same_placing(state)
    }
}

pub(super) async fn run<R: Replica>(replica: R) {
    let mut applied = replica.watch_applied();
    let mut stuck: Option<Stuck> = None;
    loop {
        applied.mark_unchanged();
        let state = replica.state();
        let waits = state.pending().next().is_some();
        if waits && !stuck.as_ref().is_some_and(|stuck| stuck.still(&state)) {
            let begun = Instant::now();
            if step(&replica, &state).await {
                stuck = None;
                sleep(BETWEEN_BATCHES).await;
                continue;
            }
            // A plan for very many agents takes long: it must not become all the leader does.
            let pause = PERIOD.max(begun.elapsed() * 10);
            let until = Instant::now() + pause;
            stuck = Some(Stuck { state, until });
        }
        // The sender lives as long as the replica, which this loop holds; a time-out is the period.
        let _ = timeout(PERIOD, applied.changed()).await;
    }
}

/// Plans and proposes once. Whether agents were placed.
async fn step<R: Replica>(replica: &R, state: &Arc<State>) -> bool {
    let seen = state.clone();
    let Ok(plan) = tokio::task::spawn_blocking(move || plan::place(&seen, BATCH)).await else {
        tracing::error!("planning panicked");
        return false;
    };
    let Plan { bindings, waiting } = plan;
    if let Some(first) = waiting.first() {
        tracing::debug!(replicas = waiting.len(), reason = %first.reason, "replicas wait");
    }
    if bindings.is_empty() {
        return false;
    }
    match replica
        .propose(Loop::Schedule, Command::Agent(AgentCommand::Place(bindings)))
        .await
    {
        Ok(reply) => {
            tracing::debug!(revision = reply.revision, result = ?reply.result, "placed");
            matches!(reply.result, Ok(Outcome::Placed { made, .. }) if made > 0)
        }
        Err(error) => {
            tracing::warn!(%error, "placements were not confirmed");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::Alone, *};
    use crate::model::ContainerId;

    /// Each applied batch wakes the loop: planning for agents that fit nowhere each time would be
    /// all that the leader does.
    #[test]
    fn only_what_a_plan_depends_on_makes_it_plan_again() {
        let alone = Alone::new();
        alone.ready(ContainerId(1), 1);
        alone.deploy(1, "zone=nowhere");
        let stuck = Stuck {
            state: alone.state(),
            until: Instant::now() + PERIOD,
        };
        alone.put_config();
        assert!(stuck.still(&alone.state()));
        alone.deploy(2, "");
        assert!(!stuck.still(&alone.state()));

        let stuck = Stuck {
            state: alone.state(),
            until: Instant::now() + PERIOD,
        };
        alone.ready(ContainerId(2), 1);
        assert!(!stuck.still(&alone.state()));
        let over = Stuck {
            state: alone.state(),
            until: Instant::now(),
        };
        assert!(!over.still(&alone.state()));
    }
}
