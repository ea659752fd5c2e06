//! One fault after the other, and what is measured around each.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Effect, Fault, Field};
use crate::cluster::Cluster;

/// How long a fault may take beyond its stay before it counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(90);
/// How long all may take to serve again.
pub const RECOVERS_WITHIN: Duration = Duration::from_secs(10);
/// How long a leader is waited for before and after a fault.
const LEADER_WITHIN: Duration = Duration::from_secs(10);

/// A fault that struck, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Strike {
    pub fault: &'static str,
    /// Whether no other fault was about.
    pub alone: bool,
    pub in_effect: bool,
    pub leader_due: bool,
    /// The term before and after.
    pub terms: (u64, u64),
    /// How long it took until all served again, where nothing else was about.
    pub recovered_in: Option<Duration>,
    pub evidence: Value,
    /// What went wrong in carrying it out.
    pub error: Option<String>,
    /// What a manager must never do.
    pub violation: Option<String>,
}

impl Strike {
    /// Why it proves nothing; none when it does.
    pub fn doubt(&self) -> Option<String> {
        if let Some(error) = &self.error {
            return Some(format!("{}: {error}", self.fault));
        }
        if !self.in_effect {
            return Some(format!("{} was not in effect: {}", self.fault, self.evidence));
        }
        let (before, after) = self.terms;
        (self.leader_due && after <= before).then(|| {
            format!(
                "{} should have led to another leader, and the term is still {after}",
                self.fault
            )
        })
    }
}

/// A lane: its faults, and whether no other lane is about.
pub struct Lane {
    pub faults: Vec<Arc<dyn Fault>>,
    pub alone: bool,
    /// Between two faults.
    pub quiet: Duration,
    /// Whether the first violation ends it all.
    pub until_wrong: bool,
}

/// Strikes until `stop` fires, each fault at least once if there is time.
pub async fn drive(lane: Lane, field: Arc<Field>, stop: CancellationToken) -> Vec<Strike> {
    let mut strikes = Vec::new();
    let mut turn: Vec<Arc<dyn Fault>> = Vec::new();
    loop {
        let quiet = lane
            .quiet
            .mul_f64(field.chance(|chance| chance.random_range(0.7..1.3)));
        tokio::select! {
            () = stop.cancelled() => return strikes,
            () = tokio::time::sleep(quiet) => {}
        }
        if turn.is_empty() {
            turn = lane.faults.clone();
            field.chance(|chance| turn.shuffle(chance));
        }
        if let Some(fault) = turn.pop() {
            let strike = strike(fault, &field, lane.alone).await;
            if lane.until_wrong && strike.violation.is_some() {
                stop.cancel();
            }
            strikes.push(strike);
        }
    }
}

/// The leader's term; 0 when there is none.
async fn term(cluster: &Cluster) -> u64 {
    let leader = cluster.await_leader(LEADER_WITHIN).await;
    leader.map_or(0, |leader| leader.term)
}

async fn strike(fault: Arc<dyn Fault>, field: &Field, alone: bool) -> Strike {
    let (cluster, name) = (&field.cluster, fault.name());
    let before = term(cluster).await;
    cluster
        .recorder
        .nemesis(&format!("start-{name}"), json!({"term": before}));
    eprintln!("  {name}");
    let struck = timeout(field.hold + STUCK_AFTER, fault.strike(field)).await;
    let (effect, mut error) = match struck {
        Ok(Ok(effect)) => (effect, None),
        Ok(Err(error)) => (Effect::default(), Some(format!("{error:#}"))),
        Err(_) => (Effect::default(), Some("it did not come to an end".to_owned())),
    };
    if error.is_some()
        && let Err(more) = cluster.heal().await
    {
        error = error.map(|error| format!("{error}; and healing failed: {more:#}"));
    }
    cluster
        .recorder
        .nemesis(&format!("stop-{name}"), effect.evidence.clone());
    let mut violation = effect.violation;
    let begin = Instant::now();
    let recovered_in = match alone {
        false => None,
        true => match cluster.settle(RECOVERS_WITHIN).await {
            Ok(_) => Some(begin.elapsed()),
            Err(why) => {
                violation.get_or_insert(format!("after {name}: {why:#}"));
                None
            }
        },
    };
    let after = term(cluster).await;
    if let Some(error) = &error {
        eprintln!("    could not be carried out: {error}");
    }
    if let Some(violation) = &violation {
        eprintln!("    {violation}");
        cluster.recorder.nemesis("violation", violation.clone().into());
    }
    Strike {
        fault: name,
        alone,
        in_effect: effect.in_effect,
        leader_due: effect.leader_due,
        terms: (before, after),
        recovered_in,
        evidence: effect.evidence,
        error,
        violation,
    }
}
