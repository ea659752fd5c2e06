//! The managers and, once they have joined, the runners.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use quorate::{
    client::Client,
    security::{self, Trust},
};
use serde::Serialize;
use tokio::time::Instant;

use super::{
    fleet::{Failures, Fleet, Seen},
    meter::Meter,
    options::Options,
    runner::{Doors, Runner},
    times::Times,
};
use crate::{
    cluster::{Cluster, MEMBERS, RunDir},
    machine,
    options::{Sharing, Transport},
    progress::Progress,
    quorate::Quorate,
    round,
};

/// How long so many runners may take for anything that is waited for, on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Three managers on fresh data. Dropping it ends the runners, kills the managers and removes their data.
pub struct Stage {
    fleet: Option<Fleet>,
    pub cluster: Cluster<Quorate>,
    /// One client for each manager, by member.
    pub clients: [Client; MEMBERS],
    /// What the managers' program says its version is.
    pub version: String,
    doors: Arc<Doors>,
    /// Runners that have joined, until they attach.
    waiting: Vec<Runner>,
}

/// What a step of all runners took.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub runners: usize,
    pub seconds: f64,
    /// Processor time of the managers together, and of the runners, in seconds.
    pub managers_processor: f64,
    pub runners_processor: f64,
    /// From the step's beginning to each runner's open session, and to its first heartbeat counted there.
    pub opened: Option<Times>,
    pub confirmed: Option<Times>,
    /// Sessions of each member afterwards.
    pub spread: [usize; MEMBERS],
    pub failures: Failures,
}

impl Stage {
    /// Starts the managers and waits until they serve.
    ///
    /// # Errors
    /// The binary does not run, or they do not serve.
    pub async fn start(options: &Options) -> Result<Self> {
        security::install_crypto();
        let binary = options.quorate.clone().unwrap_or_else(round::beside_us);
        let version = round::version(&binary).await.with_context(|| {
            format!(
                "{} does not run: `cargo build --release` makes it",
                binary.display()
            )
        })?;
        let dir = RunDir::of_this_run(&options.dir, "scale", options.keep)?;
        let target = Quorate::prepare(&binary, dir.path(), Transport::Tls, Sharing::Shared(1)).await?;
        let (ca, token) = (target.bundled("ca.pem")?, target.bundled("admin.token")?);
        let client = |member: usize| {
            let api = target.addresses()[member].api;
            let client = Client::builder()
                .endpoint(api.to_string())
                .token(&token)
                .ca_pem(&ca);
            // Another manager must not answer for it.
            client.retry_for(Duration::ZERO).build().context("no client")
        };
        let clients = [client(0)?, client(1)?, client(2)?];
        let doors = Arc::new(Doors {
            managers: target
                .addresses()
                .iter()
                .map(|at| at.session.to_string())
                .collect(),
            token: target
                .bundled("join.token")?
                .trim()
                .parse()
                .context("the join token is none")?,
            trust: Trust::from_pem(&ca).context("the cluster's CA is not usable")?,
            meter: Arc::new(Meter::default()),
        });
        Ok(Self {
            fleet: None,
            cluster: Cluster::start(target, dir).await?,
            clients,
            version,
            doors,
            waiting: Vec::new(),
        })
    }

    /// The runners.
    ///
    /// # Errors
    /// They have not attached yet.
    pub fn fleet(&self) -> Result<&Fleet> {
        self.fleet.as_ref().context("no runner has attached yet")
    }

    /// As [`Self::fleet`].
    ///
    /// # Errors
    /// As [`Self::fleet`].
    pub fn fleet_mut(&mut self) -> Result<&mut Fleet> {
        self.fleet.as_mut().context("no runner has attached yet")
    }

    /// All runners join.
    ///
    /// # Errors
    /// One cannot.
    pub async fn join(&mut self, options: &Options, progress: &Progress) -> Result<Step> {
        let count = options.sessions;
        progress.doing(format!("{count} runners join"));
        let clock = Clock::start(&self.cluster);
        let chosen = |number| options.is_chosen(number);
        self.waiting = Fleet::join(&self.doors, count, options.ramp, chosen, progress).await?;
        let step = clock.stop(&self.cluster, count);
        progress.done(&format!("{count} runners joined in {:.1} s", step.seconds));
        Ok(step)
    }

    /// All runners that have joined open their sessions.
    ///
    /// # Errors
    /// They take too long.
    pub async fn attach(&mut self, options: &Options, progress: &Progress) -> Result<Step> {
        let count = self.waiting.len();
        progress.doing(format!("{count} sessions are opened"));
        let runners = std::mem::take(&mut self.waiting);
        let clock = Clock::start(&self.cluster);
        let fleet = self
            .fleet
            .insert(Fleet::start(runners, options.ramp, self.doors.meter.clone()));
        let is_open = |all: &[Seen]| all.iter().filter(|seen| seen.confirmed.is_some()).count();
        fleet
            .until("sessions", count, is_open, PATIENCE, progress)
            .await?;
        let step = clock.stop(&self.cluster, count).of(fleet, &clock);
        progress.done(&format!("{count} sessions were opened in {:.1} s", step.seconds));
        Ok(step)
    }

    /// All sessions are closed at once, and opened again: as after a fault of the network, and so that each measure
    /// begins with sessions that are spread over all managers.
    ///
    /// # Errors
    /// They take too long.
    pub async fn reopen(&mut self, progress: &Progress) -> Result<Step> {
        let fleet = self.fleet.as_mut().context("no runner has attached yet")?;
        let count = fleet.len();
        progress.doing(format!("{count} sessions are closed at once"));
        let before = fleet.seen();
        fleet.forget();
        let clock = Clock::start(&self.cluster);
        fleet.reopen();
        let is_back = |all: &[Seen]| {
            all.iter()
                .zip(&before)
                .filter(|(now, then)| now.is_back_since(then))
                .count()
        };
        fleet
            .until("sessions", count, is_back, PATIENCE, progress)
            .await?;
        let step = clock.stop(&self.cluster, count).of(fleet, &clock);
        progress.done(&format!(
            "{count} sessions were closed and open again after {:.1} s",
            step.seconds
        ));
        Ok(step)
    }

    /// Ends the runners, then the managers, and removes what they wrote.
    ///
    /// # Errors
    /// A manager cannot be killed.
    pub async fn end(self) -> Result<()> {
        drop(self.fleet);
        self.cluster.end().await
    }
}

/// When a step began, and what had been used by then.
struct Clock {
    began: Instant,
    managers: Duration,
    runners: Duration,
}

impl Clock {
    fn start(cluster: &Cluster<Quorate>) -> Self {
        Self {
            began: Instant::now(),
            managers: cluster.processor_time(),
            runners: own_processor_time(),
        }
    }

    fn stop(&self, cluster: &Cluster<Quorate>, runners: usize) -> Step {
        let used = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64();
        Step {
            runners,
            seconds: self.began.elapsed().as_secs_f64(),
            managers_processor: used(cluster.processor_time(), self.managers),
            runners_processor: used(own_processor_time(), self.runners),
            opened: None,
            confirmed: None,
            spread: [0; MEMBERS],
            failures: Failures::default(),
        }
    }
}

impl Step {
    /// With what is seen of the runners at the step's end.
    fn of(self, fleet: &Fleet, clock: &Clock) -> Self {
        let seen = fleet.seen();
        let times = |when: fn(&Seen) -> Option<Instant>| {
            Times::of(
                seen.iter()
                    .filter_map(when)
                    .map(|at| at.saturating_duration_since(clock.began)),
            )
        };
        Self {
            opened: times(|seen| seen.opened),
            confirmed: times(|seen| seen.confirmed),
            spread: fleet.spread(),
            failures: fleet.failures(),
            ..self
        }
    }
}

/// Processor time of this program: of all runners, and of looking at them.
pub fn own_processor_time() -> Duration {
    machine::processor_time(Path::new("/proc/self/stat"))
}
