//! Managers that come, go, are replaced, and come back without their memory.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use serde_json::json;

use super::whom::Whom;
use super::{Effect, Fault, Field, Tools};

/// How long all may take to agree on the managers after a change.
const AGREED_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A manager joins, stays a while, and is removed.
    Add,
    /// A manager is lost for good; another takes its place.
    Replace,
    /// The leader is removed while it leads; another takes its place.
    RemoveLeader,
    /// A manager's data is gone and it is started as before: it must not come back as who it was.
    Wiped,
}

pub struct Membership(pub Change);

#[async_trait]
impl Fault for Membership {
    fn name(&self) -> &'static str {
        match self.0 {
            Change::Add => "member-add",
            Change::Replace => "member-replace",
            Change::RemoveLeader => "member-remove-leader",
            Change::Wiped => "member-wiped",
        }
    }

    fn about(&self) -> &'static str {
        match self.0 {
            Change::Add => "a manager joins, and is removed again",
            Change::Replace => "a manager is lost for good, and another takes its place",
            Change::RemoveLeader => "the leader is removed, and another manager takes its place",
            Change::Wiped => "a manager comes back without its data, is refused, and is replaced",
        }
    }

    fn tools(&self) -> Tools {
        Tools {
            spare: u64::from(self.0 == Change::Add),
            ..Tools::default()
        }
    }

    async fn strike(&self, field: &Field) -> Result<Effect> {
        match self.0 {
            Change::Add => add(field).await,
            Change::Replace => replace(field).await,
            Change::RemoveLeader => remove_leader(field).await,
            Change::Wiped => wiped(field).await,
        }
    }
}

async fn add(field: &Field) -> Result<Effect> {
    let cluster = &field.cluster;
    let mut vacant = None;
    for seat in &cluster.seats {
        if !seat.wanted().await {
            vacant = Some(Arc::clone(seat));
        }
    }
    let seat = vacant.context("there is no empty seat")?;
    cluster.join(&seat).await?;
    let joined = cluster.settle(AGREED_WITHIN).await;
    field.stay().await;
    let id = cluster.remove(&seat).await?;
    seat.vacate().await?;
    let took = joined.context("a manager that joined did not become one of the voters")?;
    cluster.settle(AGREED_WITHIN).await?;
    Ok(Effect {
        in_effect: true,
        leader_due: false,
        evidence: json!({"seat": seat.number, "manager": id, "joined_within": took}),
        violation: None,
    })
}

async fn replace(field: &Field) -> Result<Effect> {
    let seat = field.anyone().await?;
    let pid = seat.kill().await?;
    let (old, new) = field.cluster.replace(&seat).await?;
    field.stay().await;
    Ok(Effect {
        in_effect: pid.is_some() && new != old,
        leader_due: false,
        evidence: json!({"seat": seat.number, "killed": pid, "manager": old, "replaced_by": new}),
        violation: (new <= old).then(|| format!("manager {old} was replaced by {new}: ids were used again")),
    })
}

async fn remove_leader(field: &Field) -> Result<Effect> {
    let seat = field.choose(Whom::Leader).await?.remove(0);
    let (old, new) = field.cluster.replace(&seat).await?;
    field.stay().await;
    Ok(Effect {
        in_effect: new != old,
        leader_due: true,
        evidence: json!({"seat": seat.number, "manager": old, "replaced_by": new}),
        violation: (new <= old).then(|| format!("manager {old} was replaced by {new}: ids were used again")),
    })
}

async fn wiped(field: &Field) -> Result<Effect> {
    let seat = field.anyone().await?;
    let known = field.cluster.ended_by_themselves().len();
    let pid = seat.kill().await?;
    seat.wipe()?;
    seat.start().await?;
    field.stay().await;
    let leader = field.leader().await?.status().await?;
    let back = leader
        .managers
        .iter()
        .find(|manager| field.cluster.seat_at(&manager.api).map(|at| at.number) == Some(seat.number));
    let violation = back.filter(|manager| manager.healthy).map(|manager| {
        format!(
            "manager {} lost its data and was let in under its old id",
            manager.id
        )
    });
    let ended = field.cluster.ended_by_themselves().len() - known;
    let (old, new) = field.cluster.replace(&seat).await?;
    Ok(Effect {
        // A founder is told that it was known with other data, one that joined that its token is used up: both end.
        in_effect: pid.is_some() && new != old && ended > 0,
        leader_due: false,
        evidence: json!({
            "seat": seat.number, "manager": old, "replaced_by": new,
            "ended_by_itself": ended,
        }),
        violation,
    })
}
