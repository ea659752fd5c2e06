//! A manager is killed (SIGKILL) → its runners have sessions with others, and heartbeats counted there.

use std::time::Duration;

use anyhow::Result;
use quorate::config::ManagerConfig;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    fleet::{Failures, Seen},
    stage::{PATIENCE, Stage},
    times::Times,
    watch,
};
use crate::{cluster::MEMBERS, progress::Progress};

/// Quiet before it, so that heartbeats and elections are in their rhythm.
const QUIET: Duration = Duration::from_secs(2);

/// After the last window of the managers' judgement, so that whoever is misjudged is seen.
const AFTER: Duration = Duration::from_secs(2);

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Victim {
    Leader,
    Follower,
}

impl Victim {
    pub fn word(self) -> &'static str {
        match self {
            Self::Leader => "the leader",
            Self::Follower => "a follower",
        }
    }
}

/// What became of the sessions of a manager that was killed.
#[derive(Debug, Clone, Serialize)]
pub struct Kill {
    pub victim: Victim,
    /// From the kill to a session with another manager, of each runner that had one with the victim.
    pub opened: Option<Times>,
    /// From the kill to the first heartbeat counted in it.
    pub confirmed: Option<Times>,
    /// Sessions with other managers that broke meanwhile.
    pub others: usize,
    /// The longest that any runner went without a heartbeat counted, and how many went so long that their exclusive
    /// agents were stopped.
    pub longest_ms: f64,
    pub lapsed: usize,
    /// Verdicts on containers, all of them wrong.
    pub misjudged: usize,
    pub failures: Failures,
    /// Sessions of each member afterwards.
    pub spread: [usize; MEMBERS],
}

/// Kills one manager, waits for all its runners, and starts it again.
///
/// # Errors
/// The managers do not agree on a leader, the runners do not come back, or the manager does not.
pub async fn run(stage: &mut Stage, victim: Victim, progress: &Progress) -> Result<Kill> {
    progress.doing(format!("{} is killed", victim.word()));
    sleep(QUIET).await;
    let leader = stage.cluster.leader().await?;
    let member = match victim {
        Victim::Leader => leader,
        Victim::Follower => (leader + 1) % MEMBERS,
    };
    let survivors: Vec<usize> = (0..MEMBERS).filter(|other| *other != member).collect();
    let verdicts = |stage: &Stage| -> usize {
        survivors
            .iter()
            .map(|other| watch::verdicts(&stage.cluster, *other))
            .sum()
    };
    let judged = verdicts(stage);
    stage.fleet()?.forget();
    let before = stage.fleet()?.seen();

    let killed = Instant::now();
    stage.cluster.kill(member).await?;
    let of_victim = |seen: &Seen| seen.manager == Some(member);
    let moved = before.iter().filter(|seen| of_victim(seen)).count();
    let is_back = |all: &[Seen]| {
        let pairs = all.iter().zip(&before).filter(|(_, then)| of_victim(then));
        pairs.filter(|(now, then)| now.is_back_since(then)).count()
    };
    stage
        .fleet_mut()?
        .until("sessions", moved, is_back, PATIENCE, progress)
        .await?;
    let windows = ManagerConfig::default().liveness;
    sleep_until(killed + windows.fence + AFTER).await;

    let fleet = stage.fleet()?;
    let now = fleet.seen();
    let came = |when: fn(&Seen) -> Option<Instant>| {
        let pairs = now.iter().zip(&before).filter(|(_, then)| of_victim(then));
        Times::of(pairs.filter_map(|(seen, _)| Some(when(seen)?.saturating_duration_since(killed))))
    };
    let longest = fleet.longest();
    let kill = Kill {
        victim,
        opened: came(|seen| seen.opened),
        confirmed: came(|seen| seen.confirmed),
        others: now
            .iter()
            .zip(&before)
            .filter(|(now, then)| !of_victim(then) && now.sessions > then.sessions)
            .count(),
        longest_ms: longest
            .iter()
            .max()
            .map_or(0.0, |longest| longest.as_secs_f64() * 1e3),
        lapsed: longest
            .iter()
            .filter(|longest| **longest > windows.self_stop)
            .count(),
        misjudged: verdicts(stage) - judged,
        failures: fleet.failures(),
        spread: fleet.spread(),
    };
    let took = kill
        .confirmed
        .map_or_else(|| "no sessions".to_owned(), |times| times.text());
    progress.done(&format!(
        "{} was killed, {moved} sessions were open elsewhere: {took}",
        victim.word()
    ));
    stage.cluster.restart(member).await?;
    Ok(kill)
}
