//! The manager's side of sessions with runners, and the fan-in of their liveness to the leader.
//!
//! ```text
//!  runner ── Enroll ──> join: token, entry, certificate ── closed
//!  runner ── Hello ───> serve: entry, welcome, then:
//!                         heartbeats ──> beats ── one digest / 500 ms ──> leader
//!                         reports ─────> told ─── proposals ────────────> log
//!                         lists  <────── assign <── each applied batch ── state
//! ```
//!
//! - A stranger gets five seconds and small frames, and nothing but joining. Who has a certificate is
//!   the container it names, and nobody else.
//! - A session is open once its `Connect` entry is applied here: the first list of agents is not
//!   older than that, which is what a runner's lease rests on.
//! - What a manager has to say to a runner is the latest of each kind ([`slot`]), and a runner that
//!   does not take it in time is disconnected: no queue grows with a slow runner.
//! - Nothing here decides that a container is lost; that is the leader's liveness loop.

mod assign;
mod beats;
mod door;
mod join;
mod serve;
mod slot;
mod table;
mod told;

use std::{sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{beats::Beats, slot::Over, table::Table};
use crate::{
    consensus::Consensus,
    security::{self, Ca, Leaf, SecurityError},
};

/// What the sessions of a manager need.
#[derive(Debug, Clone)]
pub struct SessionDeps {
    /// The replicated state.
    pub consensus: Consensus,
    /// Signs runners' certificates.
    pub ca: Arc<Ca>,
    /// How long runners' exclusive agents may go on without an acknowledged heartbeat.
    pub fence_after: Duration,
}

/// What all connections share.
#[derive(Debug)]
struct Context {
    deps: SessionDeps,
    table: Arc<Table>,
    beats: Arc<Beats>,
    /// Ends sessions with a word to the runner.
    end: CancellationToken,
}

/// The running session server of one manager.
#[derive(Debug)]
pub struct SessionServer {
    context: Arc<Context>,
    tasks: TaskTracker,
}

impl SessionServer {
    /// Serves sessions on `listener`, as the manager whose certificate `leaf` is.
    ///
    /// # Errors
    /// When the certificate makes no TLS configuration.
    pub fn start(listener: TcpListener, leaf: &Leaf, deps: SessionDeps) -> Result<Self, SecurityError> {
        let tls = security::session_server(leaf, deps.ca.trust())?;
        let context = Arc::new(Context {
            table: Arc::new(Table::default()),
            beats: Arc::new(Beats::default()),
            end: CancellationToken::new(),
            deps,
        });
        let tasks = TaskTracker::new();
        let consensus = || context.deps.consensus.clone();
        tasks.spawn(assign::run(
            consensus(),
            context.table.clone(),
            context.end.clone(),
        ));
        tasks.spawn(beats::run(
            consensus(),
            context.beats.clone(),
            context.end.clone(),
        ));
        tasks.spawn(door::run(listener, tls, context.clone(), tasks.clone()));
        Ok(Self { context, tasks })
    }

    /// Sessions that are open now.
    pub fn count(&self) -> usize {
        self.context.table.len()
    }

    /// Takes no more sessions, sends those that are open to other managers, and returns when all have
    /// ended.
    pub async fn stop(&self) {
        self.context.end.cancel();
        for slot in self.context.table.all() {
            slot.end(Over::Stopping);
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}
