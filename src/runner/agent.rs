//! One placement in its container: a task that makes its process be what the order says.
//!
//! ```text
//!            ┌──────────────────────────── pause (back-off) ◄──────┐
//!            v                                                     │ ended by itself, to be restarted
//!  order: run ──> wait for the lease ──> start ──> running ────────┤
//!            ^    (exclusive only)                    │            └─> stopped | failed: waits for orders
//!            └──── lease ended: SIGKILL ◄─────────────┤
//!  order: stop, other epoch or generation, no more orders:  SIGTERM, grace, SIGKILL
//! ```
//!
//! Orders are levels, not events: only the latest counts, and an order that comes while a process is
//! being stopped is looked at once it is gone, and a placement waits for an earlier one of its replica. So two
//! epochs of a replica never run side by side.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    backoff::Backoff,
    lease::Lease,
    output::Capture,
    process::{Process, Spawner},
    program,
    reports::Reports,
};
use crate::model::{
    AgentSpec, AgentState, ContainerId, DisconnectPolicy, Generation, PlacementId, ReplicaId, RestartPolicy,
    Revision, session::PlacementReport,
};

/// The bounds of the pauses between starts, and how long a process must have run for them to begin
/// anew. From DESIGN section 8.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const HEALTHY: Duration = Duration::from_secs(60);

/// What shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// The process runs.
    Run,
    /// It does not, and that is reported.
    Stop,
    /// It does not, and nothing of the placement is kept here.
    Leave,
}

/// The latest order for a placement.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub epoch: Revision,
    pub generation: Generation,
    pub want: Want,
    pub spec: Arc<AgentSpec>,
}

/// What makes two orders the same: within an epoch and a generation the spec does not change.
type Gist = (Revision, Generation, Want);

impl Order {
    pub(super) fn gist(&self) -> Gist {
        (self.epoch, self.generation, self.want)
    }
}

/// What all placements of a runner share.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub container: ContainerId,
    /// Holds a directory for each placement.
    pub home: PathBuf,
    pub spawner: Spawner,
    pub lease: Lease,
    pub reports: Reports,
    /// Ends all graces: the runner itself has to end.
    pub hurry: CancellationToken,
}

/// The task of one placement.
#[derive(Debug)]
pub(super) struct Actor {
    pub id: PlacementId,
    pub replica: ReplicaId,
    pub orders: watch::Receiver<Order>,
    /// Earlier tasks of the same replica that may still be stopping its process.
    pub before: Vec<JoinHandle<()>>,
    pub around: Surroundings,
}

/// Why a process is no more.
enum End {
    /// It ended by itself, or did not start: whether that was a success, and in words.
    Itself { success: bool, words: String },
    /// There is another order.
    Ordered,
    /// The lease ended.
    Fenced,
}

impl Actor {
    /// Carries out orders until nobody can give one any more; then nothing runs and the placement is
    /// forgotten.
    pub(super) async fn run(mut self) {
        for before in std::mem::take(&mut self.before) {
            // Its process was killed if it failed.
            let _ = before.await;
        }
        while self.orders.has_changed().is_ok() {
            let order = self.orders.borrow().clone();
            match order.want {
                Want::Run => self.keep_running(&order).await,
                Want::Stop => self.report_stopped(&order),
                Want::Leave => break,
            }
            // Compared, not awaited as a change: the order may have changed while it was carried out.
            let done = order.gist();
            let other = self.orders.wait_for(|now| now.gist() != done).await;
            if other.is_err() {
                break;
            }
        }
        if self.orders.borrow().want == Want::Leave {
            let home = self.home();
            // It can only fail by the end of the runtime; then the next start does it.
            let _ = spawn_blocking(move || remove_dir(&home)).await;
        }
        self.around.reports.forget(self.id);
    }

    /// What it last did under this epoch stands: an operator wants to know how it ended.
    fn report_stopped(&self, order: &Order) {
        let latest = self.around.reports.latest();
        let ended = latest
            .get(&self.id)
            .is_some_and(|known| known.epoch == order.epoch && known.state.is_over());
        if !ended {
            self.report(order, AgentState::Stopped, "stopped as ordered".into(), 0);
        }
    }

    /// Starts the process again and again as its policy says. Returns when there is another order and
    /// nothing runs, or when the process ended for good.
    async fn keep_running(&mut self, order: &Order) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut restarts = 0;
        loop {
            if self.wait_for_lease(order, restarts).await.is_err() {
                return;
            }
            let began = Instant::now();
            let (success, words) = match self.one_life(order, restarts).await {
                End::Ordered => return,
                End::Fenced => {
                    restarts += 1;
                    continue;
                }
                End::Itself { success, words } => (success, words),
            };
            let again = match order.spec.restart {
                RestartPolicy::Always => true,
                RestartPolicy::OnFailure => !success,
                RestartPolicy::Never => false,
            };
            if !again {
                let state = if success {
                    AgentState::Stopped
                } else {
                    AgentState::Failed
                };
                return self.report(order, state, words, restarts);
            }
            if began.elapsed() >= HEALTHY {
                backoff.reset();
            }
            let pause = backoff.pause();
            restarts += 1;
            let words = format!("{words}; starts again in {:.1} s", pause.as_secs_f64());
            self.report(order, AgentState::Starting, words, restarts);
            tokio::select! {
                () = sleep(pause) => {}
                () = dismissed(&mut self.orders, order) => return,
            }
        }
    }

    /// Returns once the agent may act; an error is another order.
    async fn wait_for_lease(&mut self, order: &Order, restarts: u32) -> Result<(), ()> {
        if !exclusive(order) || self.around.lease.live() {
            return Ok(());
        }
        let words = "exclusive: starts once the managers have confirmed this container";
        self.report(order, AgentState::Starting, words.into(), restarts);
        let lease = self.around.lease.clone();
        tokio::select! {
            () = lease.begun() => Ok(()),
            () = dismissed(&mut self.orders, order) => Err(()),
        }
    }

    /// From one start to the end of the process.
    async fn one_life(&mut self, order: &Order, restarts: u32) -> End {
        let mut process = match self.start(order).await {
            Ok(process) => process,
            Err(words) => {
                return End::Itself {
                    success: false,
                    words,
                };
            }
        };
        let (out, err) = process.take_output();
        let capture = Capture::start(self.home(), out, err);
        let words = format!("runs as process {}", process.pid());
        self.report(order, AgentState::Running, words, restarts);

        let lease = self.around.lease.clone();
        let status = tokio::select! {
            // The lease first: if it ended with something else at once, nothing may be started again.
            biased;
            () = lease.ended(), if exclusive(order) => {
                let words = "fenced: no manager has counted this runner in time";
                self.report(order, AgentState::Stopping, words.into(), restarts);
                // What can go wrong here is only knowing how it ended.
                let _ = process.kill().await;
                tracing::warn!(replica = %self.replica, "stopped: no manager has counted this runner in time");
                return End::Fenced;
            }
            () = dismissed(&mut self.orders, order) => {
                self.stop(order, &mut process, restarts).await;
                capture.finish().await;
                return End::Ordered;
            }
            status = process.wait() => status,
        };
        // The fence's own thread may have been quicker than this task's clock.
        if exclusive(order) && !lease.live() {
            return End::Fenced;
        }
        match status {
            Ok(status) => End::Itself {
                success: status.success(),
                words: program::ending(status, capture.finish().await.as_deref()),
            },
            Err(error) => End::Itself {
                success: false,
                words: format!("ended, and the system can't say how: {error}"),
            },
        }
    }

    async fn start(&self, order: &Order) -> Result<Process, String> {
        let (home, spec) = (self.home(), order.spec.clone());
        let who = program::Who {
            container: self.around.container,
            placement: self.id,
            replica: self.replica,
            epoch: order.epoch,
        };
        // A file system that hangs holds up this agent's start, and no worker of the runtime.
        let prepare = move || {
            std::fs::create_dir_all(&home).map_err(|e| format!("cannot make {}: {e}", home.display()))?;
            program::launch(&spec, who, &home)
        };
        let mut launch = spawn_blocking(prepare)
            .await
            .map_err(|e| format!("cannot prepare a process: {e}"))??;
        launch.fence = exclusive(order).then(|| self.around.lease.fence().clone());
        self.around
            .spawner
            .spawn(launch)
            .await
            .map_err(|e| format!("cannot start a process: {e}"))
    }

    /// SIGTERM, the grace, SIGKILL. An exclusive agent's grace ends with its lease.
    async fn stop(&self, order: &Order, process: &mut Process, restarts: u32) {
        self.report(order, AgentState::Stopping, "stops as ordered".into(), restarts);
        process.terminate();
        tokio::select! {
            _ = process.wait() => return,
            () = sleep(Duration::from_secs(order.spec.stop_grace_seconds)) => {}
            () = self.around.lease.ended(), if exclusive(order) => {}
            () = self.around.hurry.cancelled() => {}
        }
        let _ = process.kill().await;
    }

    fn home(&self) -> PathBuf {
        self.around.home.join(self.id.to_string())
    }

    fn report(&self, order: &Order, state: AgentState, reason: String, restarts: u32) {
        self.around.reports.put(PlacementReport {
            placement: self.id,
            replica: self.replica,
            epoch: order.epoch,
            generation: order.generation,
            state,
            reason,
            restarts,
        });
    }
}

/// Removes what a placement has left in its directory. Blocks.
pub(super) fn remove_dir(home: &Path) {
    match std::fs::remove_dir_all(home) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(dir = %home.display(), %error, "a placement's directory is not removed");
        }
        _ => {}
    }
}

fn exclusive(order: &Order) -> bool {
    order.spec.on_disconnect == DisconnectPolicy::Exclusive
}

/// Waits for an order under which a process of this one must not run. That nobody can give orders any more is
/// one.
async fn dismissed(orders: &mut watch::Receiver<Order>, running: &Order) {
    // An error says that the sender is gone.
    let _ = orders.wait_for(|order| order.gist() != running.gist()).await;
}
