//! Three members of one system: started on fresh data, killed, restarted, ended with their data.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::process::Process;

/// Members of each cluster.
pub const MEMBERS: usize = 3;
/// How long members may take until all of them serve and agree on a leader.
const SETTLE: Duration = Duration::from_secs(60);
/// How long one question to a member may take while settling.
const QUESTION: Duration = Duration::from_secs(3);
/// Between two looks at a cluster that is not settled yet.
const LOOK: Duration = Duration::from_millis(50);

/// Which of the two is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    Quorate,
    Etcd,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Quorate => "Quorate",
            Self::Etcd => "etcd",
        })
    }
}

/// What a member says about itself and its leader, in the system's own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub id: u64,
    pub leader: Option<u64>,
}

/// A system that can be measured. Members are numbered from 0.
pub trait Target: Send + Sync {
    type Client: Client;
    const SYSTEM: System;

    /// How member `member` is started, the first time and after it was killed.
    fn command(&self, member: usize) -> Command;

    /// `count` clients of one member, connected.
    fn connect(&self, member: usize, count: usize) -> impl Future<Output = Result<Vec<Self::Client>>> + Send;

    /// What member `member` says of itself.
    fn status(&self, member: usize) -> impl Future<Output = Result<Status>> + Send;
}

/// One client of one member. A call that is dropped half-way, or that failed, leaves the client fit for the next.
pub trait Client: Send + 'static {
    /// Writes key `key`; returns once the write is acknowledged.
    fn put(&mut self, key: usize) -> impl Future<Output = Result<()>> + Send;

    /// Reads key `key`, linearizably; it is an error when the key has not the value that was written.
    fn read(&mut self, key: usize) -> impl Future<Output = Result<()>> + Send;
}

/// Three running members. Dropping it kills them and removes their data.
pub struct Cluster<T: Target> {
    pub target: T,
    processes: Vec<Process>,
    dir: RunDir,
}

impl<T: Target> Cluster<T> {
    /// Starts `target`'s members, whose data and logs are in `dir`, and waits until they are settled.
    ///
    /// # Errors
    /// A member does not start, or they do not settle.
    pub async fn start(target: T, dir: RunDir) -> Result<Self> {
        let mut cluster = Self {
            target,
            processes: Vec::with_capacity(MEMBERS),
            dir,
        };
        for member in 0..MEMBERS {
            let process = cluster.spawn(member)?;
            cluster.processes.push(process);
        }
        cluster.settled().await?;
        Ok(cluster)
    }

    fn spawn(&self, member: usize) -> Result<Process> {
        let log = self.dir.path().join(format!("member-{}.log", member + 1));
        Process::spawn(self.target.command(member), log)
    }

    /// The member that all members take for the leader.
    ///
    /// # Errors
    /// A member does not answer, or they do not agree.
    pub async fn leader(&self) -> Result<usize> {
        let mut statuses = Vec::with_capacity(MEMBERS);
        for member in 0..MEMBERS {
            let asked = timeout(QUESTION, self.target.status(member)).await;
            let status = asked.context("no answer in time").flatten();
            statuses.push(status.with_context(|| format!("member {} is not serving", member + 1))?);
        }
        let leader = statuses[0].leader;
        if leader.is_none() || statuses.iter().any(|status| status.leader != leader) {
            bail!("the members do not agree on a leader");
        }
        let position = statuses.iter().position(|status| Some(status.id) == leader);
        position.context("the leader is none of the members")
    }

    /// Waits until the members agree on a leader and each of them acknowledges a write and a linearizable read.
    ///
    /// # Errors
    /// A member ends, or they take longer than a minute.
    pub async fn settled(&mut self) -> Result<()> {
        let deadline = Instant::now() + SETTLE;
        loop {
            for (member, process) in self.processes.iter_mut().enumerate() {
                if let Some(status) = process.ended() {
                    let said = process.last_words();
                    bail!(
                        "{} member {} ended by itself ({status}):\n{said}",
                        T::SYSTEM,
                        member + 1
                    );
                }
            }
            match self.serves().await {
                Ok(()) => return Ok(()),
                Err(reason) if Instant::now() > deadline => {
                    let said = self
                        .processes
                        .iter()
                        .map(Process::last_words)
                        .collect::<Vec<_>>()
                        .join("\n--\n");
                    let what = format!(
                        "{} did not settle within {SETTLE:?}; its members said:\n{said}",
                        T::SYSTEM
                    );
                    return Err(reason.context(what));
                }
                Err(_) => sleep(LOOK).await,
            }
        }
    }

    async fn serves(&self) -> Result<()> {
        self.leader().await?;
        for member in 0..MEMBERS {
            let exchange = async {
                let mut clients = self.target.connect(member, 1).await?;
                let client = clients.first_mut().context("no client")?;
                client.put(member).await?;
                client.read(member).await
            };
            timeout(QUESTION, exchange)
                .await
                .context("a write and a read took too long")??;
        }
        Ok(())
    }

    /// Kills member `member` (SIGKILL) and waits until the kernel has taken it down.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(&mut self, member: usize) -> Result<()> {
        self.processes[member].kill().await
    }

    /// Starts member `member` again, on the data it left, and waits until all are settled.
    ///
    /// # Errors
    /// It does not start, or they do not settle.
    pub async fn restart(&mut self, member: usize) -> Result<()> {
        self.processes[member] = self.spawn(member)?;
        self.settled().await
    }

    /// Member `member` as a process.
    pub fn process(&self, member: usize) -> &Process {
        &self.processes[member]
    }

    /// Processor time the three members have used.
    pub fn processor_time(&self) -> Duration {
        self.processes.iter().map(Process::processor_time).sum()
    }

    /// Kills all members and waits until they are gone.
    ///
    /// # Errors
    /// One cannot be killed.
    pub async fn end(mut self) -> Result<()> {
        for process in &mut self.processes {
            process.kill().await?;
        }
        Ok(())
    }
}

/// A turn's directory, removed when dropped unless it is to be kept.
pub struct RunDir {
    path: PathBuf,
    keep: bool,
}

impl RunDir {
    /// Creates the directory of this process's run, in `base`, which is made if it is not there.
    ///
    /// # Errors
    /// As [`RunDir::create`].
    pub fn of_this_run(base: &Path, kind: &str, keep: bool) -> Result<Self> {
        std::fs::create_dir_all(base).with_context(|| format!("{} cannot be created", base.display()))?;
        let base = base.canonicalize().context("the data's directory has no path")?;
        Self::create(base.join(format!("{kind}-{}", std::process::id())), keep)
    }

    /// Creates `path`.
    ///
    /// # Errors
    /// It cannot be created, or it exists: members must start on no data.
    pub fn create(path: PathBuf, keep: bool) -> Result<Self> {
        std::fs::create_dir(&path).with_context(|| format!("{} cannot be created", path.display()))?;
        Ok(Self { path, keep })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if !self.keep {
            // A leftover directory is no reason to lose the figures; the next run uses another name.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
