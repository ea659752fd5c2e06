//! One open session: reads, writes and reports in one loop, so that nothing here needs a lock.
//!
//! Nothing queues up for a slow runner: acknowledgements and lists are levels, made when what was
//! sent before has gone out. Reading goes on while a write waits, so two sides that both write never
//! wait for each other.

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    io::{ReadHalf, WriteHalf, split},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::server::TlsStream;

use super::{
    Core, Refusal, admit, assessed::Assessed, desired, echo::Echo, list::Lists, open, reporter::Reporter,
    roster::Handle,
};
use crate::{
    command::{AgentCommand, Command, ContainerCommand, Principal, Rejection},
    model::{
        Revision,
        session::{FromManager, FromRunner, MAX_FRAME_BYTES},
    },
    security::RUNNER_LIFETIME,
    wire::{FramedReader, FramedWriter, WireError},
};

/// Without any frame of the runner, which sends a heartbeat each second.
const IDLE: Duration = Duration::from_secs(30);

/// Without any byte of what is to be sent going out.
const WRITE: Duration = Duration::from_secs(10);

/// For the last frame to go out.
const FAREWELL: Duration = Duration::from_secs(2);

/// For a goodbye to be put into the log.
const LEAVING: Duration = Duration::from_secs(5);

/// Frames that are taken together at most.
const TOGETHER: usize = 256;

/// Bytes of a list that wait to go out, about: an acknowledgement is never behind more.
const AHEAD: usize = 256 << 10;

/// Between certificates.
const RENEW_PAUSE: Duration = Duration::from_secs(5);

/// Under what a session was opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// The revision of its `Connect`.
    pub opened: Revision,
    /// Where the runner calls from.
    pub from: IpAddr,
    /// The end of the runner's certificate.
    pub not_after: SystemTime,
    /// The version of the session's frames.
    pub version: u16,
}

/// How a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// The runner closed it.
    Closed,
    /// The connection failed, or the runner sent nonsense.
    Broken(WireError),
    /// The runner left for good.
    Left,
    /// The runner is silent or takes nothing.
    Stuck(&'static str),
    /// This side ended it.
    Refused(Refusal),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the runner closed it"),
            Self::Broken(WireError::Io(error)) => write!(f, "the connection failed: {error}"),
            Self::Broken(error) => write!(f, "{error}"),
            Self::Left => f.write_str("the runner said goodbye"),
            Self::Stuck(how) => f.write_str(how),
            Self::Refused(refusal) => f.write_str(&refusal.reason),
        }
    }
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Broken(error)
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

pub(super) fn stopping() -> Refusal {
    Refusal::for_now("this manager is stopping")
}

/// An open session.
pub(super) struct Session<'a> {
    core: &'a Core,
    handle: Arc<Handle>,
    terms: Terms,
    reader: FramedReader<ReadHalf<TlsStream<TcpStream>>>,
    writer: FramedWriter<WriteHalf<TlsStream<TcpStream>>>,
    reporter: Reporter,
    assessed: Assessed,
    echo: Echo,
    /// The heartbeat that was acknowledged last.
    acknowledged: u64,
    lists: Lists,
    heard: Instant,
    /// While something is to be sent: when it last got on, and how many bytes were left then.
    sending: Option<(Instant, usize)>,
    renewed: Option<Instant>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        core: &'a Core,
        handle: Arc<Handle>,
        terms: Terms,
        stream: TlsStream<TcpStream>,
    ) -> Self {
        let (read, write) = split(stream);
        Self {
            core,
            handle,
            terms,
            reader: FramedReader::new(read, MAX_FRAME_BYTES),
            writer: FramedWriter::new(write, MAX_FRAME_BYTES),
            reporter: Reporter::default(),
            assessed: Assessed::default(),
            echo: Echo::default(),
            acknowledged: 0,
            lists: Lists::default(),
            heard: Instant::now(),
            sending: None,
            renewed: None,
        }
    }

    fn by(&self) -> Principal {
        Principal::Runner {
            container: self.handle.container,
            from: self.terms.from,
        }
    }

    /// Serves until the session is over.
    pub(super) async fn run(mut self) -> End {
        let Err(end) = self.serve().await;
        if let End::Refused(refusal) = &end {
            self.farewell(refusal.clone()).await;
        }
        if let End::Left = end {
            // The runner waits for this close before it ends.
            let _ = timeout(FAREWELL, self.writer.close()).await;
        }
        end
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        self.welcome()?;
        loop {
            self.refresh()?;
            let stuck_at = self.stuck_at();
            let by = &self.by();
            let Self {
                core,
                handle,
                reader,
                writer,
                reporter,
                assessed,
                ..
            } = self;
            let unsent = writer.pending() > 0;
            let report = |reports| propose(core, by, reports_of(handle, reports));
            let state = || Arc::clone(&core.consensus.objects());
            tokio::select! {
                frame = reader.read() => {
                    let frame = frame?.ok_or(End::Closed)?;
                    self.take_all(frame).await?;
                }
                sent = writer.flush(), if unsent => {
                    sent?;
                    self.sending = None;
                }
                () = handle.woken() => {}
                rejection = reporter.run(report) => return Err(over(&rejection).into()),
                rejection = assessed.run(state, handle, |command| propose(core, by, command)) => {
                    return Err(over(&rejection).into());
                }
                () = sleep_until(stuck_at) => self.check_stuck()?,
                () = core.shutdown.cancelled() => return Err(stopping().into()),
            }
        }
    }

    /// When it is time to look whether the runner is stuck.
    fn stuck_at(&mut self) -> Instant {
        self.note_progress();
        let idle = self.heard + IDLE;
        self.sending.map_or(idle, |(at, _)| idle.min(at + WRITE))
    }

    fn check_stuck(&mut self) -> Result<(), End> {
        if self.heard.elapsed() >= IDLE {
            return Err(End::Stuck("the runner is silent"));
        }
        self.note_progress();
        match self.sending {
            Some((at, _)) if at.elapsed() >= WRITE => {
                Err(End::Stuck("the runner does not take what is sent to it"))
            }
            _ => Ok(()),
        }
    }

    fn note_progress(&mut self) {
        let left = self.writer.pending();
        self.sending = match self.sending {
            _ if left == 0 => None,
            Some((at, before)) if left >= before => Some((at, before)),
            _ => Some((Instant::now(), left)),
        };
    }

    fn welcome(&mut self) -> Result<(), End> {
        let managers = self.core.consensus.status().managers;
        self.push(&FromManager::Welcome {
            version: self.terms.version,
            container: self.handle.container,
            managers: managers
                .into_values()
                .map(|manager| manager.info.session)
                .collect(),
            fence_after_ms: u64::try_from(self.core.fence_after.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Prepares what is due to be sent, once what was sent before has gone out.
    fn refresh(&mut self) -> Result<(), End> {
        if self.handle.is_replaced() {
            return Err(desired::replaced().into());
        }
        // The welcome and the first list go together.
        if self.writer.pending() > 0 && self.lists.begun() {
            return Ok(());
        }
        let seq = self.handle.counted();
        if seq > self.acknowledged {
            self.acknowledged = seq;
            self.push(&FromManager::HeartbeatAck { seq })?;
        }
        if !self.lists.under_way() && self.handle.take_changed() {
            self.begin_list()?;
        }
        while self.writer.pending() < AHEAD
            && let Some(frame) = self.lists.next()
        {
            self.push(&frame)?;
        }
        if let Some(ticket) = self.handle.streams.due() {
            self.push(&FromManager::OpenStreams { ticket })?;
        }
        // Heartbeats wake this loop often enough. Behind nothing else, or what waits before it would count.
        if self.writer.pending() == 0
            && self.acknowledged > 0
            && let Some(number) = self.echo.due(Instant::now())
        {
            self.push(&FromManager::Echo { number })?;
        }
        Ok(())
    }

    /// Begins to send the list of placements if it is another one than before.
    fn begin_list(&mut self) -> Result<(), End> {
        let id = self.handle.container;
        let state = Arc::clone(&self.core.consensus.objects());
        desired::standing(&state, id, self.handle.boot, self.terms.opened)?;
        self.lists.begin(&state, id);
        Ok(())
    }

    /// Takes a frame and all that have arrived with it.
    async fn take_all(&mut self, frame: FromRunner) -> Result<(), End> {
        self.heard = Instant::now();
        self.take(frame).await?;
        for _ in 1..TOGETHER {
            match self.reader.buffered()? {
                Some(frame) => self.take(frame).await?,
                None => break,
            }
        }
        Ok(())
    }

    async fn take(&mut self, frame: FromRunner) -> Result<(), End> {
        match frame {
            FromRunner::Heartbeat { seq, .. } => {
                if self.terms.not_after <= SystemTime::now() {
                    return Err(Refusal::for_now("the runner's certificate has ended").into());
                }
                self.core.pulse.beat(&self.handle, seq);
                Ok(())
            }
            FromRunner::Report(report) => {
                self.reporter.add(report);
                Ok(())
            }
            FromRunner::Sample(sample) => {
                self.core.samples.take(self.handle.container, &sample);
                Ok(())
            }
            FromRunner::Assessed(found) => {
                self.assessed.add(&self.handle, found);
                Ok(())
            }
            FromRunner::Echo { number } => {
                if let Some(trip) = self.echo.back(number, Instant::now()) {
                    self.handle.echoed(trip);
                }
                Ok(())
            }
            FromRunner::Renew { csr } => self.renew(&csr),
            FromRunner::Goodbye => Err(self.leave().await),
            FromRunner::Enroll { .. }
            | FromRunner::JoinManager { .. }
            | FromRunner::Hello { .. }
            | FromRunner::Streams { .. } => Err(Refusal::for_now("this session is open already").into()),
        }
    }

    fn renew(&mut self, csr: &str) -> Result<(), End> {
        if self.renewed.is_some_and(|at| at.elapsed() < RENEW_PAUSE) {
            return Err(Refusal::for_now("certificates are asked for too often").into());
        }
        self.renewed = Some(Instant::now());
        let container = self.handle.container;
        let state = Arc::clone(&self.core.consensus.objects());
        desired::standing(&state, container, self.handle.boot, self.terms.opened)?;
        match admit::sign(self.core, csr, container) {
            Ok(chain) => {
                self.terms.not_after = SystemTime::now() + RUNNER_LIFETIME;
                self.push(&FromManager::Certificate { container, chain })
            }
            // The runner has a certificate that still serves, and asks again.
            Err(refusal) => {
                tracing::warn!(%container, reason = %refusal.reason, "no certificate was made");
                Ok(())
            }
        }
    }

    /// The runner has stopped its agents; they may start elsewhere at once.
    async fn leave(&mut self) -> End {
        let leave = Command::Container(ContainerCommand::Leave {
            id: self.handle.container,
            boot: self.handle.boot,
        });
        // Unconfirmed, the leader finds its silence, only later.
        match timeout(LEAVING, open::propose(self.core, &self.by(), &leave)).await {
            Ok(_) => End::Left,
            Err(_) => Refusal::for_now("the managers did not confirm the goodbye in time").into(),
        }
    }

    fn push(&mut self, frame: &FromManager) -> Result<(), End> {
        Ok(self.writer.push(frame)?)
    }

    /// Says why, and closes. What the runner still sends is read, or the system would take back what
    /// was just sent.
    async fn farewell(&mut self, refusal: Refusal) {
        let Self { reader, writer, .. } = self;
        if writer.push(&FromManager::from(refusal)).is_err() {
            return;
        }
        let close = async {
            writer.close().await?;
            while reader.read::<FromRunner>().await?.is_some() {}
            Ok::<_, WireError>(())
        };
        // The connection is dropped whatever comes of it.
        let _ = timeout(FAREWELL, close).await;
    }
}

/// Reports of the session's runner, as a command.
fn reports_of(handle: &Handle, reports: Vec<crate::model::session::PlacementReport>) -> Command {
    Command::Agent(AgentCommand::Report {
        container: handle.container,
        boot: handle.boot,
        reports,
    })
}

fn propose(
    core: &Core,
    by: &Principal,
    command: Command,
) -> futures::future::BoxFuture<'static, Result<crate::command::Reply, crate::consensus::ProposeError>> {
    let (consensus, by) = (core.consensus.clone(), by.clone());
    Box::pin(async move { consensus.propose(by, None, command).await })
}

/// Reports and assessments are only rejected when another start of the runner has come, or the container
/// is gone; its next hello shows which.
fn over(rejection: &Rejection) -> Refusal {
    Refusal::for_now(rejection.to_string())
}
