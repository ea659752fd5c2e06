//! Links that are slow, lossy or narrow.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use serde_json::json;

use super::{Effect, Fault, Field, Tools};
use crate::net::Shape;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Slow,
    Lossy,
    /// Doubled packets, and packets out of order.
    Mixed,
    Narrow,
    /// Everything a little.
    Storm,
}

pub struct Links(pub Weather);

impl Links {
    fn shape(&self) -> Shape {
        let millis = Duration::from_millis;
        match self.0 {
            Weather::Slow => Shape {
                delay: millis(40),
                jitter: millis(60),
                ..Shape::default()
            },
            Weather::Lossy => Shape {
                loss: 0.1,
                ..Shape::default()
            },
            Weather::Mixed => Shape {
                delay: millis(2),
                jitter: millis(8),
                twice: 0.1,
                early: 0.2,
                ..Shape::default()
            },
            Weather::Narrow => Shape {
                rate: Some(64 << 10),
                ..Shape::default()
            },
            Weather::Storm => Shape {
                delay: millis(10),
                jitter: millis(40),
                loss: 0.05,
                twice: 0.05,
                early: 0.05,
                rate: Some(512 << 10),
            },
        }
    }
}

#[async_trait]
impl Fault for Links {
    fn name(&self) -> &'static str {
        match self.0 {
            Weather::Slow => "links-slow",
            Weather::Lossy => "links-lossy",
            Weather::Mixed => "links-mixed",
            Weather::Narrow => "links-narrow",
            Weather::Storm => "links-storm",
        }
    }

    fn about(&self) -> &'static str {
        match self.0 {
            Weather::Slow => "packets between managers take 40 to 100 ms",
            Weather::Lossy => "one in ten packets between managers is lost",
            Weather::Mixed => "packets between managers are doubled and overtake each other",
            Weather::Narrow => "links between managers carry 64 KiB a second",
            Weather::Storm => "links between managers are slow, lossy, narrow and out of order",
        }
    }

    fn tools(&self) -> Tools {
        Tools {
            packets: self.shape().needs_packets(),
            ..Tools::default()
        }
    }

    async fn strike(&self, field: &Field) -> Result<Effect> {
        let seats = field.running().await?;
        let numbers = || seats.iter().map(|seat| seat.number);
        let all: Vec<_> = numbers()
            .flat_map(|from| numbers().map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
            .collect();
        let network = &field.cluster.network;
        let (before, shape) = (network.counts().await?, self.shape());
        network.shape(&all, shape).await?;
        field.stay().await;
        let after = network.counts().await?;
        network.unshape().await?;
        let seen = |wanted: bool, before: u64, after: u64| !wanted || after > before;
        let in_effect = after.carried > before.carried
            && seen(
                shape.delay > Duration::ZERO || shape.rate.is_some(),
                before.delayed,
                after.delayed,
            )
            && seen(shape.loss > 0.0, before.lost, after.lost)
            && seen(shape.twice > 0.0, before.doubled, after.doubled)
            && seen(shape.early > 0.0, before.overtaking, after.overtaking);
        Ok(Effect {
            in_effect,
            leader_due: false,
            evidence: json!({"shape": shape, "before": before, "after": after}),
            violation: None,
        })
    }
}
