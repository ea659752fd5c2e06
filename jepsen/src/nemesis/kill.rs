//! Managers that are killed, and started again.

use anyhow::Result;
use async_trait::async_trait;
use serde_json::json;

use super::whom::Whom;
use super::{Effect, Fault, Field};

pub struct Kill(pub Whom);

#[async_trait]
impl Fault for Kill {
    fn name(&self) -> &'static str {
        match self.0 {
            Whom::One => "kill-one",
            Whom::Majority => "kill-majority",
            Whom::All => "kill-all",
            Whom::Leader => "kill-leader",
        }
    }

    fn about(&self) -> &'static str {
        match self.0 {
            Whom::One => "SIGKILL to a manager, started again later",
            Whom::Majority => "SIGKILL to a majority, started again later",
            Whom::All => "SIGKILL to all managers, started again later",
            Whom::Leader => "SIGKILL to the leader, started again later",
        }
    }

    async fn strike(&self, field: &Field) -> Result<Effect> {
        let seats = field.choose(self.0).await?;
        let mut dead = Vec::new();
        for seat in &seats {
            // Given only once the kernel has taken the process down.
            if let Some(pid) = seat.kill().await? {
                dead.push(json!({"seat": seat.number, "pid": pid}));
            }
        }
        field.stay().await;
        for seat in &seats {
            seat.start().await?;
        }
        Ok(Effect {
            in_effect: dead.len() == seats.len(),
            leader_due: matches!(self.0, Whom::Leader | Whom::All),
            evidence: json!({"dead": dead}),
            violation: None,
        })
    }
}
