//! Wall clocks that jump.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use async_trait::async_trait;
use rand::Rng;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Effect, Fault, Field, Tools};
use crate::cluster::Seat;

/// How long a manager may take to notice: libfaketime looks at its file once a second.
const NOTICED_WITHIN: Duration = Duration::from_secs(4);
/// How often a strobe changes.
const STROBE: Duration = Duration::from_millis(1200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leap {
    /// One manager's clock, by minutes, forward or back.
    One,
    /// Every manager's, each otherwise.
    All,
    /// To and fro.
    Strobe,
}

pub struct ClockLeap(pub Leap);

#[async_trait]
impl Fault for ClockLeap {
    fn name(&self) -> &'static str {
        match self.0 {
            Leap::One => "clock-one",
            Leap::All => "clock-all",
            Leap::Strobe => "clock-strobe",
        }
    }

    fn about(&self) -> &'static str {
        match self.0 {
            Leap::One => "a manager's wall clock jumps by minutes",
            Leap::All => "every manager's wall clock jumps, each otherwise",
            Leap::Strobe => "all wall clocks jump to and fro",
        }
    }

    fn tools(&self) -> Tools {
        Tools {
            clocks: true,
            ..Tools::default()
        }
    }

    async fn strike(&self, field: &Field) -> Result<Effect> {
        let seats = match self.0 {
            Leap::One => vec![field.anyone().await?],
            Leap::All | Leap::Strobe => field.running().await?,
        };
        let mut seen = Vec::new();
        for seat in &seats {
            let offset = offset(field);
            set(seat, offset)?;
            let (date, probe) = noticed(seat, offset).await;
            seen.push(json!({"seat": seat.number, "set": offset, "date": date, "probe": probe}));
        }
        let strobes_until = Instant::now() + field.hold;
        if self.0 == Leap::Strobe {
            while Instant::now() < strobes_until {
                for seat in &seats {
                    set(seat, offset(field))?;
                }
                sleep(STROBE).await;
            }
        } else {
            field.stay().await;
        }
        for seat in &seats {
            set(seat, 0.0)?;
        }
        Ok(Effect {
            in_effect: seen.iter().all(|seen| !seen["probe"].is_null()),
            leader_due: false,
            evidence: json!({"clocks": seen}),
            violation: None,
        })
    }
}

/// Seconds to be off: at least half a minute, at most ten.
fn offset(field: &Field) -> f64 {
    field.chance(|chance| {
        let seconds = chance.random_range(30.0..600.0_f64).round();
        if chance.random() { seconds } else { -seconds }
    })
}

fn set(seat: &Seat, offset: f64) -> Result<()> {
    let clock = seat.clock.as_ref().context("the seat has a clock of its own")?;
    clock.set(offset)
}

/// What shows that a clock is off: the `Date` of the manager's answers, and a program started like the manager, which
/// has the library. The `Date` alone would not do: it is made anew only when the clock has gone on, and so stands still
/// after a jump back.
async fn noticed(seat: &Seat, offset: f64) -> (Option<f64>, Option<f64>) {
    let near = |off: &f64| (off - offset).abs() < 5.0;
    let deadline = Instant::now() + NOTICED_WITHIN;
    let mut probe = None;
    while Instant::now() < deadline {
        if let (Some(clock), Some((_, process))) = (&seat.clock, seat.identity()) {
            probe = clock.probe(process).await.ok().filter(near);
        }
        let date = off_by(seat).await.filter(near);
        if probe.is_some() && (date.is_some() || offset < 0.0) {
            return (date, probe);
        }
        sleep(Duration::from_millis(100)).await;
    }
    (None, probe)
}

async fn off_by(seat: &Seat) -> Option<f64> {
    let answer = seat.client.get("/livez").await.ok()?;
    let date = answer.headers.get("date")?.to_str().ok()?;
    let date = httpdate::parse_http_date(date).ok()?;
    let now = SystemTime::now();
    Some(match date.duration_since(now) {
        Ok(ahead) => ahead.as_secs_f64().round(),
        Err(behind) => -behind.duration().as_secs_f64().round(),
    })
}
