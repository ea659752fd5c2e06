//! The leader's loop: follows the state, and outlives whatever becomes of Redis.
//!
//! It looks at the newest state only, so that a slow Redis makes it skip versions and queue nothing. It holds
//! the one version that Redis shows, to tell what changed since, and lets go of it when Redis is away for long.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use redis::aio::MultiplexedConnection;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    Phase, Progress, Settings,
    figures::Figures,
    items::Shapes,
    keys::Keys,
    link::{Link, LinkError, run_id},
    projection::Projection,
    writer::{CALL, WriteError},
};
use crate::{consensus::Consensus, model::Revision};

/// How often the mark is set anew though nothing changed, and found missing where it is.
const TICK: Duration = Duration::from_secs(1);

/// What changes within this time goes out together.
const GATHER: Duration = Duration::from_millis(20);

/// Pauses between attempts: the first, and the longest. Each is drawn from half of it to all of it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// After so long without Redis the version that it showed is let go of, and it will be filled anew.
const KEEP: Duration = Duration::from_secs(10);

/// A pause that grows from failure to failure.
#[derive(Debug, Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    pub fn reset(&mut self) {
        self.0 = 0;
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let longest = FIRST_PAUSE.saturating_mul(1 << self.0.min(10)).min(LONGEST_PAUSE);
        self.0 = self.0.saturating_add(1);
        longest.mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// Projects while this manager leads.
pub(super) struct Leading {
    pub consensus: Consensus,
    pub link: Link,
    pub settings: Settings,
    pub shapes: Arc<dyn Shapes>,
    pub figures: Figures,
    pub progress: watch::Sender<Progress>,
}

/// One leadership's run.
struct Term<'a> {
    of: &'a Leading,
    projection: Projection,
    backoff: Backoff,
    /// What bars the way and is not of this history.
    foreign: Option<String>,
    /// Since when Redis has not been written to.
    away: Option<Instant>,
    swept: Instant,
}

impl Leading {
    /// Follows leadership for ever.
    pub async fn run(self) {
        let mut leadership = self.consensus.watch_leadership();
        loop {
            let led = *leadership.borrow_and_update();
            let over = async {
                while leadership.changed().await.is_ok() {
                    if *leadership.borrow_and_update() != led {
                        return;
                    }
                }
                // The sender is gone: so is the manager.
                std::future::pending::<()>().await;
            };
            if led.is_none() {
                self.show(Phase::Following, None, String::new());
                self.figures.lag.set(0.0);
                over.await;
            } else {
                tokio::select! {
                    () = over => {}
                    () = self.lead() => {}
                }
            }
        }
    }

    async fn lead(&self) {
        let cluster = self.cluster().await;
        let keys = Keys::new(&self.settings.prefix, &cluster);
        let mut term = Term {
            of: self,
            projection: Projection::new(keys, self.shapes.clone(), self.figures.clone()),
            backoff: Backoff::default(),
            foreign: None,
            away: None,
            swept: Instant::now(),
        };
        self.show(Phase::Connecting, None, String::new());
        loop {
            let error = match self.link.connect(CALL).await {
                Ok(connection) => term.serve(connection).await,
                Err(error) => error,
            };
            term.failed(&error);
            sleep(term.backoff.pause()).await;
        }
    }

    /// The cluster's id, once it has one.
    async fn cluster(&self) -> String {
        let mut applied = self.consensus.watch_applied();
        loop {
            if let Some(id) = self.consensus.state().cluster_id() {
                return id.to_owned();
            }
            let _ = timeout(TICK, applied.changed()).await;
        }
    }

    fn show(&self, phase: Phase, revision: Option<Revision>, detail: String) {
        let progress = Progress {
            phase,
            revision,
            detail,
        };
        self.progress.send_if_modified(|known| {
            let changed = *known != progress;
            *known = progress;
            changed
        });
    }
}

impl Term<'_> {
    fn failed(&mut self, error: &LinkError) {
        let since = *self.away.get_or_insert_with(|| {
            tracing::warn!(%error, "the projection to Redis is interrupted; it goes on when Redis is back");
            Instant::now()
        });
        if since.elapsed() > KEEP {
            self.projection.forget();
        }
        let detail = error.to_string();
        self.of.show(Phase::Down, self.projection.revision(), detail);
        self.lag();
    }

    /// How far Redis is behind, in revisions that touched what it shows.
    fn lag(&self) {
        let objects = self.of.consensus.objects().objects_revision();
        let lag = objects.saturating_sub(self.projection.revision().unwrap_or_default());
        self.of.figures.lag.set(lag as f64);
    }

    /// Projects over one connection until it fails.
    async fn serve(&mut self, mut connection: MultiplexedConnection) -> LinkError {
        let run = run_id(&mut connection).await;
        let mut objects = self.of.consensus.watch_objects();
        let mut tick = Instant::now();
        if let Err(WriteError::Link(error)) = self.projection.resume(connection.clone(), run.clone()).await {
            return error;
        }
        loop {
            objects.mark_unchanged();
            let due = Instant::now() >= tick;
            if let ControlFlow::Break(error) = self.step(&connection, run.as_ref(), due).await {
                return error;
            }
            if due {
                tick = Instant::now() + TICK;
            }
            self.lag();
            // A time-out is the tick.
            if timeout(tick.saturating_duration_since(Instant::now()), objects.changed())
                .await
                .is_ok()
            {
                sleep(GATHER).await;
            }
        }
    }

    /// Brings Redis to the newest state, by all means there are.
    async fn step(
        &mut self,
        connection: &MultiplexedConnection,
        run: Option<&String>,
        due: bool,
    ) -> ControlFlow<LinkError> {
        match self.project(connection, run, due).await {
            Ok(()) => {
                self.away = None;
                if self.of.progress.borrow().phase != Phase::Current {
                    tracing::info!(revision = self.projection.revision(), "Redis shows the cluster");
                }
                self.backoff.reset();
                self.of
                    .show(Phase::Current, self.projection.revision(), String::new());
            }
            Err(WriteError::Link(error)) => return ControlFlow::Break(error),
            Err(error) => {
                tracing::info!(%error, "Redis is filled anew");
                self.projection.forget();
                if let WriteError::Newer(stamp) = &error {
                    self.judge(stamp).await;
                }
                self.of.show(Phase::Filling, None, error.to_string());
                sleep(self.backoff.pause()).await;
            }
        }
        ControlFlow::Continue(())
    }

    async fn project(
        &mut self,
        connection: &MultiplexedConnection,
        run: Option<&String>,
        due: bool,
    ) -> Result<(), WriteError> {
        let consensus = &self.of.consensus;
        // Configs are written often and are not shown: between ticks they need not be looked at.
        let state = if due || self.projection.revision().is_none() {
            consensus.state()
        } else {
            Arc::clone(&consensus.objects())
        };
        let status = consensus.status();
        if !self.projection.follow(&state, &status).await? {
            self.of.show(Phase::Filling, None, String::new());
            let foreign = self.foreign.take();
            self.projection
                .refill(
                    connection.clone(),
                    run.cloned(),
                    &state,
                    &status,
                    foreign.as_deref(),
                )
                .await?;
            self.swept = Instant::now();
        }
        if due {
            if self.swept.elapsed() >= self.of.settings.sweep {
                self.swept = Instant::now();
                self.projection.begin_sweep();
            }
            self.projection.sweep_on().await?;
        }
        Ok(())
    }

    /// What bars the way is of this cluster, and then this manager has it after the next confirmed read; or a
    /// quorum confirms that no such revision was ever reached, and then it is what an older life of the
    /// cluster, or somebody's hand, left there.
    async fn judge(&mut self, stamp: &str) {
        self.of.figures.refused.increment(1);
        match self.of.consensus.read().await {
            Ok(state)
                if stamp
                    .parse::<Revision>()
                    .is_ok_and(|newest| newest <= state.revision()) => {}
            Ok(state) => {
                let reached = state.revision();
                tracing::warn!(
                    stamp,
                    reached,
                    "what is in Redis is of no revision that this cluster reached"
                );
                self.foreign = Some(stamp.to_owned());
            }
            // Not confirmed: this manager may not lead any more.
            Err(error) => tracing::debug!(%error, "what is in Redis is newer than what is known here"),
        }
    }
}
