//! Runners that no manager hears, that stand still, or that are gone, while their agents may go on.
//!
//! One runner is struck or two: more would be a mass silence, of which nothing is to follow. Most of the time it takes
//! long enough for agents to be replaced, and sometimes just not.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use rand::Rng;
use rand::seq::SliceRandom;
use serde_json::{Value, json};

use super::partition::between;
use super::{Effect, Fault, Field, Tools};
use crate::cluster::Runner;
use crate::net::End;

/// How long it stays, in seconds: from before the end of a lease to well after agents are replaced.
const STAYS: (f64, f64) = (7.5, 14.0);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ill {
    /// No manager hears it, or it hears none, or both.
    Partition,
    /// It is left with one manager, which the others do not hear.
    Minority,
    /// It stands still; its agents do not.
    Pause,
    /// It is killed, and comes back.
    Kill,
}

pub struct RunnerTrouble(pub Ill);

async fn victims(field: &Field) -> Result<Vec<Arc<Runner>>> {
    let mut runners = field.cluster.runners.clone();
    ensure!(!runners.is_empty(), "there are no runners");
    let count = field.chance(|chance| {
        runners.shuffle(chance);
        chance.random_range(1..=2)
    });
    runners.truncate(count);
    Ok(runners)
}

async fn cut(field: &Field, links: &[(End, End)]) -> Result<u64> {
    let network = &field.cluster.network;
    network.cut(links).await?;
    stay(field).await;
    let mut blocked = network.blocked().await?;
    network.mend(links).await?;
    blocked.retain(|link| links.contains(&(link.from, link.to)));
    Ok(blocked.iter().map(|link| link.count).sum())
}

async fn partition(field: &Field, victims: &[Arc<Runner>]) -> Result<Effect> {
    let managers: Vec<_> = field.running().await?.iter().map(|seat| seat.number).collect();
    let mut links = between(&places(victims), &managers);
    // Both ways, or one of them.
    let (way, shown) = field.chance(|chance| match chance.random_range(0..3) {
        0 => (Some(true), "from it"),
        1 => (Some(false), "to it"),
        _ => (None, "both ways"),
    });
    let theirs = places(victims);
    links.retain(|(from, _)| way.is_none_or(|from_it| from_it == is_of(&theirs, *from)));
    let count = cut(field, &links).await?;
    Ok(effect(
        count > 0,
        victims,
        json!({"blocked": count, "way": shown}),
    ))
}

async fn minority(field: &Field, victims: &[Arc<Runner>]) -> Result<Effect> {
    let seats = field.running().await?;
    ensure!(seats.len() > 2, "a minority needs three managers");
    // The one that a session is with, by which the runner would never notice.
    let with = victims[0].manager().await;
    let own = seats.iter().find(|seat| Some(seat.address) == with);
    let own = own.unwrap_or(&seats[0]).number;
    let leader = field.leader().await?.number;
    let others: Vec<_> = seats
        .iter()
        .map(|seat| seat.number)
        .filter(|seat| *seat != own)
        .collect();
    let mut minority = places(victims);
    minority.push(own);
    let count = cut(field, &between(&minority, &others)).await?;
    let shown = json!({"blocked": count, "with": own, "which_led": own == leader});
    Ok(Effect {
        leader_due: own == leader,
        ..effect(count > 0, victims, shown)
    })
}

async fn pause(field: &Field, victims: &[Arc<Runner>]) -> Result<Effect> {
    let (mut stopped, mut still) = (0, 0);
    for runner in victims {
        stopped += usize::from(runner.pause().await?);
    }
    stay(field).await;
    for runner in victims {
        still += usize::from(runner.resume().await);
    }
    let shown = json!({"stopped": stopped, "still_stopped_at_the_end": still});
    Ok(effect(
        stopped == victims.len() && still == stopped,
        victims,
        shown,
    ))
}

async fn kill(field: &Field, victims: &[Arc<Runner>]) -> Result<Effect> {
    let mut dead = Vec::new();
    for runner in victims {
        dead.extend(runner.kill().await?);
    }
    stay(field).await;
    for runner in victims {
        runner.start().await?;
    }
    Ok(effect(
        dead.len() == victims.len(),
        victims,
        json!({"dead": dead}),
    ))
}

fn places(runners: &[Arc<Runner>]) -> Vec<u64> {
    runners.iter().map(|runner| runner.place).collect()
}

fn is_of(places: &[u64], end: End) -> bool {
    matches!(end, End::Seat(seat) if places.contains(&seat))
}

async fn stay(field: &Field) {
    let seconds = field.chance(|chance| chance.random_range(STAYS.0..STAYS.1));
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

fn effect(in_effect: bool, victims: &[Arc<Runner>], more: Value) -> Effect {
    let names: Vec<_> = victims.iter().map(|runner| runner.name.as_str()).collect();
    Effect {
        in_effect,
        leader_due: false,
        evidence: json!({"runners": names, "shown_by": more}),
        violation: None,
    }
}

#[async_trait]
impl Fault for RunnerTrouble {
    fn name(&self) -> &'static str {
        match self.0 {
            Ill::Partition => "runner-partition",
            Ill::Minority => "runner-minority",
            Ill::Pause => "runner-pause",
            Ill::Kill => "runner-kill",
        }
    }

    fn about(&self) -> &'static str {
        match self.0 {
            Ill::Partition => "runners and managers do not hear each other, or only one way",
            Ill::Minority => "runners are left with one manager, which is cut off from the others",
            Ill::Pause => "SIGSTOP to runners, not to their agents",
            Ill::Kill => "SIGKILL to runners, started again later",
        }
    }

    fn tools(&self) -> Tools {
        Tools {
            runners: true,
            ..Tools::default()
        }
    }

    async fn strike(&self, field: &Field) -> Result<Effect> {
        let victims = victims(field).await?;
        match self.0 {
            Ill::Partition => partition(field, &victims).await,
            Ill::Minority => minority(field, &victims).await,
            Ill::Pause => pause(field, &victims).await,
            Ill::Kill => kill(field, &victims).await,
        }
    }
}
