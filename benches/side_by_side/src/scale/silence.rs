//! Many containers fall silent at once → a manager's API shows them suspect, lost and fenced.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, bail};
use quorate::{
    client::{Client, types::ContainerView},
    config::ManagerConfig,
    model::{ContainerId, ContainerState},
};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{
    options::{Measure, Options},
    runner::Order,
    stage::{PATIENCE, Stage},
    times::Times,
    watch,
};
use crate::{cluster::MEMBERS, progress::Progress};

/// Quiet before it: all have been ready for a while, and an earlier silence is no part of this one's.
const QUIET: Duration = Duration::from_secs(2);

/// Between two looks at the API.
pub const LOOK: Duration = Duration::from_millis(100);

/// So long after the last window nobody is expected to be judged any more.
const OVERDUE: Duration = Duration::from_secs(10);

/// When so many containers were taken for what, by a follower's API.
#[derive(Debug, Clone, Serialize)]
pub struct Silence {
    /// How they fell silent.
    pub how: Measure,
    pub silenced: usize,
    /// From the moment when all were told to fall silent; their last heartbeat was up to 1.1 s earlier.
    pub suspect: Option<Times>,
    pub lost: Option<Times>,
    pub fenced: Option<Times>,
    /// Whether the breaker opened: then nobody is lost.
    pub breaker: bool,
    /// From the moment when all were told to come back until the API showed the last of them ready; after a frozen
    /// container thaws it first has to find its old session closed.
    pub ready_ms: f64,
}

/// When each container was first seen in a state, since the fault.
#[derive(Debug, Default)]
struct Firsts {
    suspect: HashMap<ContainerId, Duration>,
    lost: HashMap<ContainerId, Duration>,
    fenced: HashMap<ContainerId, Duration>,
}

impl Firsts {
    fn note(&mut self, containers: &[ContainerView], at: Duration) {
        for one in containers {
            // Whoever is lost was suspect before, be it between two looks.
            if matches!(one.state, ContainerState::Suspect | ContainerState::Lost) {
                self.suspect.entry(one.id).or_insert(at);
            }
            if one.state == ContainerState::Lost {
                self.lost.entry(one.id).or_insert(at);
            }
            if one.fenced {
                self.fenced.entry(one.id).or_insert(at);
            }
        }
    }
}

/// Silences the chosen containers, watches them until they are fenced, and brings them back.
///
/// # Errors
/// A manager does not answer, or they do not come back.
pub async fn run(stage: &Stage, how: Measure, options: &Options, progress: &Progress) -> Result<Silence> {
    let (order, word) = match how {
        Measure::Closed => (Order::Gone, "are closed"),
        _ => (Order::Silent, "fall silent"),
    };
    let chosen: Vec<usize> = (0..options.sessions)
        .filter(|number| options.is_chosen(*number))
        .collect();
    progress.doing(format!(
        "{} of {} containers {word} at once",
        chosen.len(),
        options.sessions
    ));
    let follower = (stage.cluster.leader().await? + 1) % MEMBERS;
    let client = &stage.clients[follower];
    let fleet = stage.fleet()?;
    all_ready(client, chosen.len()).await?;
    sleep(QUIET).await;

    let told = Instant::now();
    fleet.tell(chosen.iter().copied(), order);
    let (firsts, breaker) = judged(client, told, chosen.len(), progress).await?;
    let back = Instant::now();
    fleet.tell(chosen.iter().copied(), fleet.live());
    all_ready(client, chosen.len()).await?;

    let silence = Silence {
        how,
        silenced: chosen.len(),
        suspect: Times::of(firsts.suspect.into_values()),
        lost: Times::of(firsts.lost.into_values()),
        fenced: Times::of(firsts.fenced.into_values()),
        breaker,
        ready_ms: back.elapsed().as_secs_f64() * 1e3,
    };
    let lost = silence
        .lost
        .map_or_else(|| "none".to_owned(), |times| times.text());
    progress.done(&format!("{} containers {word}; lost: {lost}", chosen.len()));
    Ok(silence)
}

/// Watches until all are fenced, or nobody is to be expected any more; and whether the breaker was open.
async fn judged(client: &Client, since: Instant, all: usize, progress: &Progress) -> Result<(Firsts, bool)> {
    let windows = ManagerConfig::default().liveness;
    let mut firsts = Firsts::default();
    let mut breaker = false;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while firsts.fenced.len() < all && since.elapsed() < windows.fence + OVERDUE {
        looks.tick().await;
        let seen = watch::chosen(client).await?;
        firsts.note(&seen, since.elapsed());
        let status = client
            .cluster_status()
            .await
            .context("the cluster's status is not told")?;
        breaker |= status.breaker.is_some();
        progress.counting("lost", firsts.lost.len(), all);
    }
    Ok((firsts, breaker))
}

async fn all_ready(client: &Client, all: usize) -> Result<()> {
    let began = Instant::now();
    loop {
        let seen = watch::chosen(client).await?;
        let ready = seen
            .iter()
            .filter(|one| one.state == ContainerState::Ready)
            .count();
        if ready == all {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("{ready} of {all} containers are ready after {PATIENCE:?}");
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use quorate::model::Resources;

    use super::*;

    fn seen(state: &str, fenced: bool) -> ContainerView {
        let container = serde_json::json!({
            "id": "c-aaaaaaaaaaaaa", "name": "box", "version": 1, "state": state, "reason": "", "fenced": fenced,
            "labels": {}, "capabilities": {}, "resources": {}, "used": Resources::default(), "agents": 0,
            "networks": [], "health": "unchecked", "registered_at": 0, "adopted": false,
        });
        serde_json::from_value(container).unwrap()
    }

    #[test]
    fn the_first_look_at_a_state_counts_and_a_lost_one_was_suspect() {
        let mut firsts = Firsts::default();
        let at = Duration::from_secs;
        for (state, fenced, when) in [
            ("ready", false, 1),
            ("lost", false, 6),
            ("lost", false, 7),
            ("lost", true, 10),
        ] {
            firsts.note(&[seen(state, fenced)], at(when));
        }
        let first = |of: &HashMap<ContainerId, Duration>| of.values().copied().next();
        assert_eq!(first(&firsts.suspect), Some(at(6)));
        assert_eq!(first(&firsts.lost), Some(at(6)));
        assert_eq!(first(&firsts.fenced), Some(at(10)));
    }
}
