//! What managers use while nothing goes on but heartbeats, and before that, without any session.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    options::Options,
    stage::{Stage, own_processor_time},
    watch::{Reading, Use},
};
use crate::{cluster::MEMBERS, progress::Progress};

/// Quiet before anything is measured, so that what came before is not billed to it.
const QUIET: Duration = Duration::from_secs(5);

/// How long managers without sessions are measured at most.
const WITHOUT: f64 = 10.0;

/// Three managers that nobody uses.
#[derive(Debug, Clone, Serialize)]
pub struct Baseline {
    pub seconds: f64,
    /// By member.
    pub uses: [Use; MEMBERS],
}

/// Idle sessions.
#[derive(Debug, Clone, Serialize)]
pub struct Idle {
    pub seconds: f64,
    /// The member that led.
    pub leader: usize,
    /// By member.
    pub uses: [Use; MEMBERS],
    pub sessions: [usize; MEMBERS],
    /// Heartbeats of all runners, a second, and how many of them were acknowledged.
    pub heartbeats_per_second: f64,
    pub acknowledged_per_second: f64,
    /// Bytes of all sessions, a second, inside TCP and with TLS: from runners, and to them.
    pub sent_per_second: f64,
    pub received_per_second: f64,
    /// Of this program, of one core.
    pub runners_processor_percent: f64,
}

/// Measures managers without a session.
///
/// # Errors
/// One does not answer.
pub async fn without_sessions(stage: &Stage, options: &Options) -> Result<Baseline> {
    sleep(QUIET.min(Duration::from_secs_f64(options.idle))).await;
    let seconds = options.idle.min(WITHOUT);
    let before = Reading::all(&stage.cluster, &stage.clients).await?;
    sleep(Duration::from_secs_f64(seconds)).await;
    let after = Reading::all(&stage.cluster, &stage.clients).await?;
    Ok(Baseline {
        seconds,
        uses: std::array::from_fn(|member| after[member].since(&before[member])),
    })
}

/// Measures them with all sessions open.
///
/// # Errors
/// One does not answer, or they do not agree on a leader.
pub async fn with_sessions(stage: &Stage, options: &Options, progress: &Progress) -> Result<Idle> {
    progress.doing(format!("sessions are idle for {} s", options.idle));
    sleep(QUIET.min(Duration::from_secs_f64(options.idle))).await;
    let fleet = stage.fleet()?;
    let before = Reading::all(&stage.cluster, &stage.clients).await?;
    let (meter, own, began) = (fleet.meter().read(), own_processor_time(), Instant::now());
    sleep(Duration::from_secs_f64(options.idle)).await;
    let (meter, own) = (fleet.meter().read().since(meter), own_processor_time() - own);
    let seconds = began.elapsed().as_secs_f64();
    let after = Reading::all(&stage.cluster, &stage.clients).await?;
    let rate = |count: u64| count as f64 / seconds;
    let idle = Idle {
        seconds,
        leader: stage.cluster.leader().await?,
        uses: std::array::from_fn(|member| after[member].since(&before[member])),
        sessions: fleet.spread(),
        heartbeats_per_second: rate(meter.heartbeats),
        acknowledged_per_second: rate(meter.acknowledged),
        sent_per_second: rate(meter.sent),
        received_per_second: rate(meter.received),
        runners_processor_percent: own.as_secs_f64() / seconds * 100.0,
    };
    let percent = idle
        .uses
        .iter()
        .map(|used| format!("{:.1} %", used.processor_percent));
    progress.done(&format!(
        "idle: {} of a core",
        percent.collect::<Vec<_>>().join(", ")
    ));
    Ok(idle)
}
