//! Leadership that changes hands in order: transfers, and managers restarted one after the other.

use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use rand::seq::IndexedRandom;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Effect, Fault, Field};

/// Between two transfers.
const EVERY: Duration = Duration::from_millis(500);
/// How long a manager may take to be back among the others.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Leadership is handed over again and again.
pub struct Transfer;

#[async_trait]
impl Fault for Transfer {
    fn name(&self) -> &'static str {
        "transfer"
    }

    fn about(&self) -> &'static str {
        "leadership is handed over twice a second"
    }

    async fn strike(&self, field: &Field) -> Result<Effect> {
        let until = Instant::now() + field.hold;
        let (mut asked, mut refused, mut changes) = (0, Vec::new(), 0);
        let mut leader = field.cluster.await_leader(BACK_WITHIN).await?;
        while Instant::now() < until {
            let seat = field.cluster.seat(leader.seat)?;
            let to = match seat.status().await {
                Ok(status) => {
                    let others = status
                        .managers
                        .iter()
                        .filter(|m| m.voter && Some(m.id) != status.leader);
                    let others: Vec<_> = others.map(|manager| manager.id).collect();
                    field.chance(|chance| others.choose(chance).copied())
                }
                Err(_) => None,
            };
            asked += 1;
            if let Err(error) = seat.client.transfer_leadership(to).await {
                refused.push(error.to_string());
            }
            sleep(EVERY).await;
            let now = field.cluster.await_leader(BACK_WITHIN).await?;
            changes += u64::from(now.seat != leader.seat);
            leader = now;
        }
        refused.truncate(5);
        Ok(Effect {
            in_effect: changes > 0,
            leader_due: true,
            evidence: json!({"asked": asked, "leader_changes": changes, "refused": refused}),
            violation: None,
        })
    }
}

/// Each manager is asked to end and started again, as an upgrade does it.
pub struct Rolling;

#[async_trait]
impl Fault for Rolling {
    fn name(&self) -> &'static str {
        "rolling-restart"
    }

    fn about(&self) -> &'static str {
        "each manager in turn is asked to end, and started again"
    }

    async fn strike(&self, field: &Field) -> Result<Effect> {
        let seats = field.running().await?;
        let (mut codes, mut violation) = (Vec::new(), None);
        for seat in &seats {
            let code = seat
                .terminate()
                .await
                .with_context(|| format!("seat {} is asked to end", seat.number))?;
            codes.push(json!({"seat": seat.number, "exit": code}));
            if code != Some(0) {
                violation = Some(format!(
                    "the manager of seat {} was asked to end and ended with {code:?}",
                    seat.number
                ));
            }
            seat.start().await?;
            field.cluster.settle(BACK_WITHIN).await?;
        }
        Ok(Effect {
            in_effect: codes.len() == seats.len(),
            leader_due: true,
            evidence: json!({"ended": codes}),
            violation,
        })
    }
}
