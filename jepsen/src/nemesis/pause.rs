//! Managers that stand still, and go on as if nothing had been.

use anyhow::Result;
use async_trait::async_trait;
use serde_json::json;

use super::whom::{Whom, numbers};
use super::{Effect, Fault, Field};

pub struct Pause(pub Whom);

#[async_trait]
impl Fault for Pause {
    fn name(&self) -> &'static str {
        match self.0 {
            Whom::One => "pause-one",
            Whom::Majority => "pause-majority",
            Whom::All => "pause-all",
            Whom::Leader => "pause-leader",
        }
    }

    fn about(&self) -> &'static str {
        match self.0 {
            Whom::One => "SIGSTOP to a manager for a while",
            Whom::Majority => "SIGSTOP to a majority for a while",
            Whom::All => "SIGSTOP to all managers for a while",
            Whom::Leader => "SIGSTOP to the leader for a while",
        }
    }

    async fn strike(&self, field: &Field) -> Result<Effect> {
        let seats = field.choose(self.0).await?;
        let mut stopped = 0;
        for seat in &seats {
            stopped += usize::from(seat.pause().await?);
        }
        field.stay().await;
        let mut still = 0;
        for seat in &seats {
            still += usize::from(seat.resume().await);
        }
        Ok(Effect {
            in_effect: stopped == seats.len() && still > 0,
            leader_due: self.0 == Whom::Leader,
            evidence: json!({"seats": numbers(&seats), "stopped": stopped, "still_stopped_at_the_end": still}),
            violation: None,
        })
    }
}
