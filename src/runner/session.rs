//! One session: from Hello until it breaks.
//!
//! Whatever arrives or is due is dealt with in one loop, so that nothing here needs a lock. Agents do
//! not end with a session; only exclusive ones end, with their lease.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rustls::ClientConfig;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    GRACE, Runner,
    error::SessionError,
    identity::Identity,
    link::Link,
    list::Arriving,
    look::Found,
    pace::{PATIENCE, next_heartbeat},
    reports::{Latest, news},
    sampler,
    streams::Invited,
    supervisor::Supervisor,
};
use crate::{
    model::{
        ContainerId,
        session::{FromManager, FromRunner, PROTOCOL},
    },
    security::{self, KeyRequest},
};

/// After a request for a certificate that came to nothing.
const RENEW_AGAIN: Duration = Duration::from_secs(60);

/// Heartbeats that wait for their acknowledgement; more than come within any patience.
const MAX_WAITING: usize = 64;

/// A session that is open.
pub(super) struct Session<'a> {
    runner: &'a mut Runner,
    container: ContainerId,
    link: Link,
    fence_after: Duration,
    /// Heartbeats without an acknowledgement, and when each was sent.
    waiting: VecDeque<(u64, Instant)>,
    /// The last acknowledgement, or the opening.
    counted: Instant,
    reports: watch::Receiver<Latest>,
    /// What the manager was told of.
    told: Latest,
    /// What the runner finds when it looks at its container.
    found: Found,
    samples: sampler::Latest,
    arriving: Arriving,
    renew_at: Instant,
    /// The CA that signs, PEM.
    ca: String,
    /// Of the manager, for a second connection.
    address: String,
    tls: Arc<ClientConfig>,
    /// The second connection, if the manager has asked for one; the last one counts.
    streams: Option<AbortOnDropHandle<()>>,
    /// The key of a certificate that was asked for.
    new_key: Option<String>,
    /// Set once the runner is to end: stops the agents.
    stopping: Option<JoinHandle<()>>,
}

impl<'a> Session<'a> {
    /// Connects to a manager and introduces this runner.
    pub(super) async fn open(runner: &'a mut Runner, identity: &Identity) -> Result<Self, SessionError> {
        let tls = security::session_client(&identity.trust, Some(&identity.leaf))?;
        let address = runner.managers.current().to_owned();
        let mut link = Link::open(&address, tls.clone()).await?;
        let mut reports = runner.reports.watch();
        let told = reports.borrow_and_update().clone();
        let mut found = runner.looking.found.clone();
        let assessment = found.borrow_and_update().as_deref().cloned();
        let hello = runner.hello(assessment, news(&Latest::new(), &told));
        link.send(&FromRunner::Hello {
            protocol: PROTOCOL,
            hello,
        })
        .await?;
        let FromManager::Welcome {
            version,
            container,
            managers,
            fence_after_ms,
        } = link.answer().await?
        else {
            return Err(SessionError::Unexpected("something else than a welcome"));
        };
        if !PROTOCOL.has(version) {
            return Err(SessionError::Unexpected("a version that was not offered"));
        }
        if container != identity.container {
            return Err(SessionError::Unexpected("a welcome for another container"));
        }
        runner.managers.learn(managers);
        runner.lease.open();
        let renew_at = (Instant::now() + identity.renew_in()).max(runner.renew_not_before);
        Ok(Self {
            container,
            link,
            fence_after: Duration::from_millis(fence_after_ms),
            waiting: VecDeque::new(),
            counted: Instant::now(),
            reports,
            told,
            found,
            samples: runner.sampling.latest.clone(),
            arriving: Arriving::default(),
            renew_at,
            ca: identity.trust.pem().to_owned(),
            address,
            tls,
            streams: None,
            new_key: None,
            stopping: None,
            runner,
        })
    }

    /// Serves until the session is over. `Ok` means that the runner is to end, and that its agents
    /// have ended.
    pub(super) async fn serve(mut self, shutdown: &CancellationToken) -> Result<(), SessionError> {
        let end = self.serve_until_over(shutdown).await;
        if let Some(stopping) = self.stopping.take() {
            // The agents' own tasks were awaited in it; what failed there was logged.
            let _ = stopping.await;
        }
        end?;
        self.link.send(&FromRunner::Goodbye).await?;
        self.link.close().await;
        Ok(())
    }

    async fn serve_until_over(&mut self, shutdown: &CancellationToken) -> Result<(), SessionError> {
        // The first heartbeat goes at once: exclusive agents wait for its acknowledgement.
        let mut beat_at = Instant::now();
        let lease = self.runner.lease.clone();
        loop {
            // Only a lease that began can lapse.
            let held = lease.live();
            tokio::select! {
                () = sleep_until(beat_at) => {
                    beat_at = Instant::now() + next_heartbeat();
                    self.beat().await?;
                }
                frame = self.link.reader.read() => match frame?.ok_or(SessionError::Closed)? {
                    FromManager::Echo { number } => self.link.send(&FromRunner::Echo { number }).await?,
                    frame => self.take(frame)?,
                },
                // The sender lives in the runner.
                _ = self.reports.changed() => self.tell().await?,
                Ok(()) = self.found.changed() => self.tell_found().await?,
                Ok(()) = self.samples.changed() => self.tell_sample().await?,
                () = lease.ended(), if held => return Err(SessionError::Lapsed(self.fence_after)),
                () = sleep_until(self.counted + PATIENCE) => {
                    return Err(SessionError::Silent { what: "get a heartbeat counted", after: PATIENCE });
                }
                () = sleep_until(self.renew_at) => self.renew().await?,
                () = shutdown.cancelled(), if self.stopping.is_none() => self.begin_to_stop(),
                () = stopped(&mut self.stopping) => return Ok(()),
            }
        }
    }

    /// Heartbeats go on while agents use their grace: managers must not take the container for lost.
    fn begin_to_stop(&mut self) {
        if let Some(mut supervisor) = self.runner.supervisor.take() {
            self.stopping = Some(tokio::spawn(
                async move { supervisor.stop_all_within(GRACE).await },
            ));
        }
    }

    async fn beat(&mut self) -> Result<(), SessionError> {
        self.runner.seq += 1;
        let seq = self.runner.seq;
        let applied = self.runner.supervisor.as_ref().map_or(0, Supervisor::revision);
        // The lease counts from before the sending: later would be later than the truth.
        self.waiting.push_back((seq, Instant::now()));
        if self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
        }
        self.link.send(&FromRunner::Heartbeat { seq, applied }).await
    }

    async fn tell(&mut self) -> Result<(), SessionError> {
        let now = self.reports.borrow_and_update().clone();
        let frames: Vec<_> = news(&self.told, &now)
            .into_iter()
            .map(FromRunner::Report)
            .collect();
        self.told = now;
        self.link.send_all(&frames).await
    }

    async fn tell_found(&mut self) -> Result<(), SessionError> {
        let found = self.found.borrow_and_update().as_deref().cloned();
        match found {
            Some(found) => self.link.send(&FromRunner::Assessed(found)).await,
            None => Ok(()),
        }
    }

    async fn tell_sample(&mut self) -> Result<(), SessionError> {
        let sample = *self.samples.borrow_and_update();
        match sample {
            Some(sample) => self.link.send(&FromRunner::Sample(sample)).await,
            None => Ok(()),
        }
    }

    async fn renew(&mut self) -> Result<(), SessionError> {
        self.renew_at = Instant::now() + RENEW_AGAIN;
        self.runner.renew_not_before = self.renew_at;
        let request = KeyRequest::generate()?;
        self.new_key = Some(request.key_pem);
        let csr = request.csr_pem;
        self.link.send(&FromRunner::Renew { csr }).await
    }

    fn take(&mut self, frame: FromManager) -> Result<(), SessionError> {
        match frame {
            FromManager::HeartbeatAck { seq } => self.acknowledged(seq),
            FromManager::Spec {
                agent,
                generation,
                spec,
            } => self.arriving.spec(agent, generation, spec),
            FromManager::Desired {
                revision,
                placements,
                last,
            } => {
                let list = self.arriving.part(revision, placements, last)?;
                let supervisor = self.runner.supervisor.as_mut();
                if let (Some(list), Some(supervisor)) = (list, supervisor)
                    && supervisor.take(revision, list)
                {
                    self.runner.lease.list_taken();
                }
                Ok(())
            }
            FromManager::Certificate { container, chain } => {
                let Some(key) = self.new_key.take() else {
                    return Err(SessionError::Unexpected("a certificate nobody asked for"));
                };
                let renewed = self.runner.renewed(container, &self.ca, chain, key)?;
                if let Some(identity) = &self.runner.identity {
                    self.tls = security::session_client(&identity.trust, Some(&identity.leaf))?;
                }
                self.renew_at = Instant::now() + renewed;
                Ok(())
            }
            FromManager::Refused { reason, retry } => Err(SessionError::Refused { reason, retry }),
            FromManager::OpenStreams { ticket } => {
                let invited = Invited {
                    address: self.address.clone(),
                    tls: self.tls.clone(),
                    container: self.container,
                    boot: self.runner.about.boot,
                    ticket,
                };
                self.streams = Some(invited.follow());
                Ok(())
            }
            FromManager::StreamsOpen => Err(SessionError::Unexpected("an answer to a second connection")),
            // Answered where it is read.
            FromManager::Echo { .. } => Ok(()),
            FromManager::Welcome { .. } => Err(SessionError::Unexpected("a second welcome")),
            FromManager::Admitted { .. } => Err(SessionError::Unexpected("an answer to a manager")),
        }
    }

    fn acknowledged(&mut self, seq: u64) -> Result<(), SessionError> {
        let mut sent = None;
        while let Some((_, at)) = self.waiting.front().filter(|(waiting, _)| *waiting <= seq) {
            sent = Some(*at);
            self.waiting.pop_front();
        }
        let Some(sent) = sent else { return Ok(()) };
        self.counted = Instant::now();
        let lapsed = |_| SessionError::Lapsed(self.fence_after);
        self.runner.lease.renew(sent, self.fence_after).map_err(lapsed)
    }
}

/// Waits for the agents' end, once they are being stopped.
async fn stopped(stopping: &mut Option<JoinHandle<()>>) {
    match stopping {
        Some(task) => {
            let _ = task.await;
            *stopping = None;
        }
        None => std::future::pending().await,
    }
}
