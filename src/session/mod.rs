//! The manager side of runner sessions.
//!
//! ```text
//!  runner ──TLS──> accept ──no certificate──> admit: Enroll, JoinManager (one answer, then the end)
//!                    │
//!                    └──a runner's certificate──> open: Connect, Report, Welcome
//!                                                   │
//!       log <── reports, one proposal at a time ── serve ──> list, when placements changed
//!    leader <── pulse: one digest a manager ── heartbeats     ^ woken by roster: one look at the
//!       └────── counted ──> HeartbeatAck                      │ state for all sessions
//!
//!  runner ──TLS──> accept ──a ticket that its session was told──> streams: bytes, with credit
//! ```
//!
//! What holds:
//!
//! - Nothing is decided here. What a runner says becomes a command; what it is told is read from the
//!   state, as a level: a list that was overtaken before it began is never sent.
//! - A heartbeat is acknowledged only after the leader counted it and a quorum confirmed the leader.
//! - The first list of placements of a session comes from a state in which the session is open.
//! - A container has one session at a manager. A later one, here or at another manager, ends it.
//! - Whoever has no certificate gets one short frame, one answer and a few seconds.
//! - A session holds at most one list and one batch of reports in memory, and an hour of samples; a runner
//!   that does not take what is sent to it is cut off.
//!
//! It leaves out: judging silence (the leader's control loops) and placing agents.

mod accept;
mod admit;
mod assessed;
mod complaints;
mod desired;
mod echo;
mod fan_in;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod list;
mod open;
mod pulse;
mod reporter;
mod roster;
mod samples;
mod serve;
mod streams;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{complaints::Complaints, fan_in::FanIn, pulse::Pulse};
pub use self::{
    fan_in::Count,
    roster::Roster,
    samples::Samples,
    streams::{MeasureError, Measured, OpenError, Streams},
};
use crate::{consensus::Consensus, model::session::FromManager, peers::Peers, security::Ca};

/// What sessions stand on.
pub struct Deps {
    /// State and proposals.
    pub consensus: Consensus,
    /// The way to the leader, for heartbeats.
    pub peers: Peers,
    /// Counts heartbeats while this manager leads.
    pub count: Count,
    /// Signs runners' certificates.
    pub ca: Arc<Ca>,
    /// Of the session port: a client certificate is optional.
    pub tls: Arc<rustls::ServerConfig>,
    /// How long a runner's exclusive agents may go on without an acknowledged heartbeat. Shorter
    /// than the leader's window for replacing them.
    pub fence_after: Duration,
    /// Where runners' samples are kept.
    pub samples: Arc<Samples>,
    /// Where open sessions are noted.
    pub roster: Arc<Roster>,
}

/// What all sessions share.
#[derive(Debug)]
struct Core {
    consensus: Consensus,
    ca: Arc<Ca>,
    fence_after: Duration,
    roster: Arc<Roster>,
    pulse: Pulse,
    complaints: Complaints,
    samples: Arc<Samples>,
    /// Connections for streams that there may be more.
    stream_places: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// Serves runners, and managers that join, until its shutdown.
#[derive(Debug)]
pub struct SessionServer {
    tasks: TaskTracker,
}

impl SessionServer {
    /// Starts to accept connections from `listener`. After `shutdown` runners are told to go to
    /// another manager.
    pub fn start(listener: TcpListener, deps: Deps, shutdown: CancellationToken) -> Self {
        let Deps {
            consensus,
            peers,
            count,
            ca,
            tls,
            fence_after,
            samples,
            roster,
        } = deps;
        let fan_in = FanIn::start(consensus.clone(), peers, count);
        let core = Arc::new(Core {
            consensus,
            ca,
            fence_after,
            roster,
            pulse: Pulse::default(),
            complaints: Complaints::default(),
            samples,
            stream_places: Arc::new(Semaphore::new(streams::CONNECTIONS)),
            shutdown,
        });
        let tasks = TaskTracker::new();
        let acceptor = TlsAcceptor::from(tls);
        tasks.spawn(accept::run(listener, acceptor, core.clone(), tasks.clone()));
        tasks.spawn(fan_out(core.clone()));
        tasks.spawn(count_heartbeats(core, fan_in));
        tasks.close();
        Self { tasks }
    }

    /// Waits until all sessions have ended, which takes some seconds after the shutdown at most.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

async fn fan_out(core: Arc<Core>) {
    let looks = core.roster.fan_out(&core.consensus);
    core.shutdown.run_until_cancelled(looks).await;
}

async fn count_heartbeats(core: Arc<Core>, fan_in: Arc<FanIn>) {
    let send = |heartbeats| {
        let fan_in = fan_in.clone();
        async move {
            let counted = fan_in.send(heartbeats).await;
            if let Err(error) = &counted {
                tracing::debug!(%error, "a digest of heartbeats was not confirmed");
            }
            counted.is_ok()
        }
    };
    core.shutdown.run_until_cancelled(core.pulse.run(send)).await;
}

/// Why a runner or manager is sent away.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    reason: String,
    retry: bool,
}

impl Refusal {
    /// Trying again, here or at another manager, may help.
    fn for_now(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            retry: true,
        }
    }

    /// Only a person can help.
    fn for_good(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            retry: false,
        }
    }
}

impl From<Refusal> for FromManager {
    fn from(Refusal { reason, retry }: Refusal) -> Self {
        Self::Refused { reason, retry }
    }
}
