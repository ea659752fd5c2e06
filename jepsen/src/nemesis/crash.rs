//! Managers that die at a chosen step: a binary with failpoints is needed, which a release is not.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use nix::sys::signal::Signal;
use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::json;

use super::{Effect, Fault, Field};

/// How long a point may take to be reached: snapshots are made every few thousand entries.
const REACHED_WITHIN: Duration = Duration::from_secs(30);
/// Points every manager comes by under load, and whether often.
const POINTS: [(&str, bool); 11] = [
    ("append", true),
    ("rows", true),
    ("fsync", true),
    ("fsynced", true),
    ("apply", true),
    ("applied", true),
    ("snapshot-written", false),
    ("snapshot-built", false),
    ("purge", false),
    ("purge-marked", false),
    ("purge-rows", false),
];

/// A manager aborts between two steps of its storage.
pub struct Crash;

#[async_trait]
impl Fault for Crash {
    fn name(&self) -> &'static str {
        "crash"
    }

    fn about(&self) -> &'static str {
        "a manager aborts between two steps of its storage; needs a binary built with failpoints"
    }

    async fn strike(&self, field: &Field) -> Result<Effect> {
        let seat = field.anyone().await?;
        let (point, passes) = field.chance(|chance| {
            let (point, often) = POINTS.choose(chance).copied().unwrap_or(POINTS[0]);
            (point, if often { chance.random_range(0..300) } else { 0 })
        });
        seat.kill().await?;
        let armed = ("FAILPOINTS".to_owned(), format!("{point}={passes}*off->return"));
        seat.start_with(std::slice::from_ref(&armed)).await?;
        let ended = seat.await_own_end(REACHED_WITHIN).await;
        field.stay().await;
        if ended.is_err() {
            seat.kill().await?;
        }
        seat.start().await?;
        let signal = ended.ok().flatten();
        Ok(Effect {
            in_effect: signal == Some(Signal::SIGABRT as i32),
            leader_due: false,
            evidence: json!({"seat": seat.number, "armed": armed.1, "ended_by_signal": signal}),
            violation: None,
        })
    }
}
