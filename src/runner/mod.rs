//! `quorate runner`: the small process inside a container that starts and stops its agents.
//!
//! ```text
//!   manager <── session ──> Runner ── list ──> Supervisor ── order ──> one task a placement
//!                 │  ^                                                             │   │
//!                 v  └──────────────── latest reports <────────────────────────────┘   v
//!               lease ──────────── may exclusive agents act? ──────────────────> keeper, program
//! ```
//!
//! - The runner dials out, to any manager, and goes on to the next one when a session breaks. Agents
//!   do not notice.
//! - Exclusive agents act only under a lease ([`lease`]) that acknowledged heartbeats renew.
//! - What shall run comes as a whole list, what is observed goes as the latest report of each agent:
//!   both are levels, so a lost frame or session costs time and nothing else.
//! - Agents end with their runner, and with all that they started ([`keeper`]).

mod agent;
mod assess;
mod backoff;
mod deadline;
mod door;
mod error;
pub mod exec;
mod fence;
mod identity;
mod interpreters;
mod keeper;
mod last_words;
mod lease;
mod link;
mod list;
mod look;
mod output;
pub mod pace;
mod process;
mod program;
mod reports;
mod sampler;
mod session;
mod stray;
mod streams;
mod supervisor;

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::fcntl::{Flock, FlockArg};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

pub use self::error::RunnerError;
use self::{
    agent::Surroundings,
    door::Door,
    error::SessionError,
    fence::Fence,
    identity::{Identity, Managers},
    last_words::LastWords,
    lease::Lease,
    link::{Asking, Pinned},
    look::{Looking, Looks},
    process::Spawner,
    reports::Reports,
    sampler::Sampling,
    session::Session,
    stray::Mark,
    supervisor::Supervisor,
};
use crate::{
    config::RunnerConfig,
    model::{
        Assessment, ContainerId, Labels, Resources,
        session::{Hello, PlacementReport},
    },
    security::{JoinToken, files},
};

/// The longest grace of an agent when the runner is to end. Docker kills a container 10 s after it told
/// it to stop, and by then the managers must have been told that nothing runs.
const GRACE: Duration = Duration::from_secs(8);

/// Between looks for orphans, when this is the first process of its container.
const REAP: Duration = Duration::from_secs(1);

/// Runs until `shutdown`, then stops the agents, each with its grace, and says goodbye.
///
/// # Errors
/// [`RunnerError`] when it can't begin, or when the managers refuse it for good. The agents have then
/// been stopped.
pub async fn run(config: RunnerConfig, shutdown: CancellationToken) -> Result<(), RunnerError> {
    // The same file as this process's, also when its name was given to a newer version.
    run_with_shim(config, "/proc/self/exe".into(), shutdown).await
}

/// [`run`], with the `quorate` binary at `shim`: for programs that are not that binary themselves.
///
/// # Errors
/// As [`run`].
pub async fn run_with_shim(
    config: RunnerConfig,
    shim: PathBuf,
    shutdown: CancellationToken,
) -> Result<(), RunnerError> {
    let dir = config.data_dir.clone();
    files::make_dir(&dir)?;
    let _held = lock(&dir)?;
    let adopted = config.adopted.is_some().then_some(&*dir);
    let last_words = LastWords::new(adopted);
    let mut runner = Runner::new(&config, shim).inspect_err(|error| last_words.say(error))?;
    let reaper = runner.reap_orphans();
    let end = runner.run(&config, &shutdown).await;
    if let Err(error) = &end {
        last_words.say(error);
    }
    if let Some(mut supervisor) = runner.supervisor.take() {
        supervisor.stop_all_within(GRACE).await;
    }
    if let Some(reaper) = reaper {
        reaper.abort();
    }
    end
}

/// Two runners of one identity would take the container from each other for ever.
fn lock(dir: &Path) -> Result<Flock<File>, RunnerError> {
    let path = dir.join("lock");
    let data = |source| RunnerError::Data {
        path: path.clone(),
        source,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(data)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| RunnerError::Taken(dir.to_owned()))
}

/// What lives as long as the runner.
struct Runner {
    dir: PathBuf,
    /// Without what is told anew in each session.
    about: Hello,
    managers: Managers,
    spawner: Spawner,
    lease: Lease,
    reports: Reports,
    looking: Looking,
    sampling: Sampling,
    identity: Option<Identity>,
    /// What it asks managers to sign until one has answered.
    asking: Asking,
    /// There is one while agents may run.
    supervisor: Option<Supervisor>,
    /// No certificate is asked for before this.
    renew_not_before: Instant,
    /// Whether it has given an identity up that the managers did not want.
    anew: bool,
    /// The last heartbeat. Goes on over sessions, so that no number ever stands for two heartbeats.
    seq: u64,
}

impl Runner {
    fn new(config: &RunnerConfig, shim: PathBuf) -> Result<Self, RunnerError> {
        let root = Path::new("/");
        let found = assess::resources(root);
        let about = Hello {
            name: config.name.parse().map_err(|e| RunnerError::config("name", e))?,
            // Zero stands for no start at all.
            boot: rand::random_range(1..=u64::MAX),
            engine_container: config.adopted.clone().or_else(|| assess::engine_container(root)),
            labels: Labels::new(config.labels.clone()).map_err(|e| RunnerError::config("labels", e))?,
            capabilities: assess::capabilities(),
            resources: Resources {
                cpu_millis: config.capacity.cpu_millis.unwrap_or(found.cpu_millis),
                memory_bytes: config.capacity.memory.map_or(found.memory_bytes, |size| size.0),
            },
            assessment: None,
            placements: Vec::new(),
        };
        let addresses = config.managers.iter().map(ToString::to_string).collect();
        let data = |source| RunnerError::Data {
            path: config.data_dir.clone(),
            source,
        };
        let dir = std::path::absolute(&config.data_dir).map_err(data)?;
        let spawner = Spawner::start(shim).map_err(data)?;
        let looks = Looks {
            root: root.to_owned(),
            dir: dir.clone(),
            spawner: spawner.clone(),
            boot: about.boot,
            declared: config.capabilities.clone(),
            every: config.assess_every,
        };
        Ok(Self {
            about,
            managers: Managers::load(&config.data_dir, addresses),
            looking: looks.start(),
            sampling: Sampling::start(root.to_owned(), dir.clone()),
            dir,
            spawner,
            lease: Lease::new(Fence::start().map_err(data)?),
            reports: Reports::new(),
            identity: None,
            asking: Asking::default(),
            supervisor: None,
            renew_not_before: Instant::now(),
            anew: false,
            seq: 0,
        })
    }

    async fn run(&mut self, config: &RunnerConfig, shutdown: &CancellationToken) -> Result<(), RunnerError> {
        self.identity = Identity::load(&self.dir)?;
        if let Some(identity) = &self.identity {
            sweep_leftovers(identity.container).await;
        }
        let mut door = None;
        while !shutdown.is_cancelled() {
            self.mind(&mut door, config).await?;
            if door.is_some() && (self.managers.are_none() || !config.has_join_token()) {
                // Nothing can be done but to wait.
                tokio::select! {
                    invitation = Door::invitation(&mut door) => self.follow(invitation, shutdown).await,
                    () = shutdown.cancelled() => {}
                }
                continue;
            }
            let before = Instant::now();
            let error = match self.attempt(config, &mut door, shutdown).await? {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            error.complain(self.managers.current());
            if let SessionError::Refused { reason, retry: false } = error
                && !self.may_join_anew(config)?
            {
                return Err(RunnerError::Refused(reason));
            }
            if let Some(pause) = self.managers.failed(before.elapsed()) {
                tokio::select! {
                    () = sleep(pause) => {}
                    invitation = Door::invitation(&mut door) => self.follow(invitation, shutdown).await,
                    () = shutdown.cancelled() => {}
                }
            }
        }
        Ok(())
    }

    /// A runner that a manager has just brought in has a token of its own time. If the managers no longer
    /// want what an earlier one kept here, its container removed say, it joins as somebody new, once.
    fn may_join_anew(&mut self, config: &RunnerConfig) -> Result<bool, RunnerError> {
        let may = config.adopted.is_some() && config.has_join_token() && !self.anew;
        let refused = self.identity.take_if(|_| may);
        if refused.is_none() {
            return Ok(false);
        }
        self.anew = true;
        Identity::forget(&self.dir)?;
        tracing::warn!("the managers do not want this identity; joining anew");
        Ok(true)
    }

    /// Joins if need be, and serves one session. The outer error is for good.
    async fn attempt(
        &mut self,
        config: &RunnerConfig,
        door: &mut Option<Door>,
        shutdown: &CancellationToken,
    ) -> Result<Result<(), SessionError>, RunnerError> {
        let known = self.identity.take();
        let had_one = known.is_some();
        let identity = match known.filter(|known| !known.expired()) {
            Some(identity) => identity,
            None => {
                let token = join_token(config, had_one)?;
                match shutdown.run_until_cancelled(self.join(&token)).await {
                    Some(Ok(identity)) => identity,
                    Some(Err(error)) => return Ok(Err(error)),
                    None => return Ok(Ok(())),
                }
            }
        };
        *door = None;
        self.supervise(identity.container).await;
        let over = self.serve(&identity, shutdown).await;
        // A renewed one is in place already.
        self.identity.get_or_insert(identity);
        Ok(over)
    }

    async fn join(&mut self, token: &JoinToken) -> Result<Identity, SessionError> {
        let pinned = Pinned::dial(self.managers.current(), token).await?;
        let hello = self.hello(None, Vec::new());
        pinned.enroll(token, hello, &self.dir, &mut self.asking).await
    }

    async fn serve(&mut self, identity: &Identity, shutdown: &CancellationToken) -> Result<(), SessionError> {
        let address = self.managers.current().to_owned();
        let session = tokio::select! {
            session = Session::open(self, identity) => session?,
            () = shutdown.cancelled() => return Ok(()),
        };
        tracing::info!(manager = %address, container = %identity.container, "the session is open");
        session.serve(shutdown).await
    }

    /// Makes sure that there is somebody to take lists of placements for this container. Agents of another
    /// one, which this runner was before, are stopped first.
    async fn supervise(&mut self, container: ContainerId) {
        if self
            .supervisor
            .as_ref()
            .is_some_and(|s| s.container() == container)
        {
            return;
        }
        if let Some(mut former) = self.supervisor.take() {
            former.stop_all().await;
            self.lease = self.lease.anew();
        }
        let supervisor = Supervisor::new(Surroundings {
            container,
            home: self.dir.join("agents"),
            spawner: self.spawner.clone(),
            lease: self.lease.clone(),
            reports: self.reports.clone(),
            hurry: CancellationToken::new(),
        });
        self.supervisor = Some(supervisor.await);
    }

    fn hello(&self, assessment: Option<Assessment>, placements: Vec<PlacementReport>) -> Hello {
        Hello {
            assessment,
            placements,
            ..self.about.clone()
        }
    }

    /// Keeps a fresh certificate and gives how long until the next one.
    fn renewed(
        &mut self,
        container: ContainerId,
        ca: &str,
        chain: String,
        key: String,
    ) -> Result<Duration, SessionError> {
        let identity = Identity::keep(&self.dir, container, ca, chain, key)?;
        tracing::info!(%container, "the certificate is renewed");
        let next = identity.renew_in();
        self.identity = Some(identity);
        Ok(next)
    }

    /// The first process of a container inherits the orphans of all others and must reap them.
    fn reap_orphans(&self) -> Option<JoinHandle<()>> {
        let spawner = self.spawner.clone();
        (std::process::id() == 1).then(|| {
            tokio::spawn(async move {
                loop {
                    sleep(REAP).await;
                    spawner.reap_orphans();
                }
            })
        })
    }
}

/// Ends what an earlier start of this runner left: keepers end with their runner, but a keeper may have
/// been killed with it, and a copy that nobody supervises must not act beside the new one.
async fn sweep_leftovers(container: ContainerId) {
    let sweep = move || stray::sweep(Path::new("/proc"), &Mark::of_container(container));
    // It can only fail by the end of the runtime.
    let killed = spawn_blocking(sweep).await.unwrap_or_default();
    if killed > 0 {
        tracing::warn!(
            killed,
            "ended processes left over from an earlier start of this runner"
        );
    }
}

fn join_token(config: &RunnerConfig, had_one: bool) -> Result<JoinToken, RunnerError> {
    let key = if config.join_token.is_some() {
        "join_token"
    } else {
        "join_token_file"
    };
    let text = match (&config.join_token, &config.join_token_file) {
        (Some(token), _) => token.expose().to_owned(),
        (None, Some(file)) => files::read(file)?,
        (None, None) => {
            let why = if had_one {
                "this runner's certificate has expired while it was away"
            } else {
                "this runner has not joined yet"
            };
            return Err(RunnerError::NoToken { why });
        }
    };
    text.trim().parse().map_err(|e| RunnerError::config(key, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_without_a_token_is_told_why_it_needs_one_and_what_to_do() {
        let config = RunnerConfig::default();
        for (had_one, why) in [(true, "certificate has expired"), (false, "has not joined yet")] {
            let words = join_token(&config, had_one).unwrap_err().to_string();
            assert!(
                words.contains(why) && words.contains("set `join_token`"),
                "{words}"
            );
        }
    }
}
