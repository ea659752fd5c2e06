//! A seat: an address, a disk and a log, and whichever manager lives there at the time.

use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use quorate::client::Client;
use quorate::client::types::ClusterStatus;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

use super::bundle::{self, Entry};
use super::clock::Clock;
use super::ledger::Ledger;
use super::process::Process;
use crate::disk::{Disk, Dropped};
use crate::net::Network;

/// How long the kernel may take to end a process that was struck down.
const STRUCK_DOWN_GOES: Duration = Duration::from_secs(10);

/// An end of a manager that nobody here caused.
#[derive(Debug, Clone, Serialize)]
pub struct Exit {
    pub seat: u64,
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// What it said last.
    pub said: String,
}

/// What all seats of a cluster have in common.
#[derive(Clone)]
pub struct House {
    pub binary: PathBuf,
    pub bundle: PathBuf,
    pub ledger: Arc<Ledger>,
    pub network: Arc<dyn Network>,
    /// Environment of every manager.
    pub environment: Vec<(String, String)>,
    /// Keys of every manager's configuration, each as `key=value`.
    pub settings: Vec<String>,
}

/// A seat.
pub struct Seat {
    pub number: u64,
    pub address: IpAddr,
    pub client: Client,
    /// Present when the run needs disks that misbehave.
    pub disk: Option<Disk>,
    /// Present when the run needs clocks that misbehave.
    pub clock: Option<Clock>,
    /// Where data, configuration and log are.
    pub dir: PathBuf,
    pub(super) house: House,
    pub(super) tenant: Mutex<Tenant>,
    /// How often data was wiped here, and the process that runs (0 for none): what tells one manager from the next.
    pub(super) wiped: AtomicU64,
    pub(super) pid: AtomicI32,
}

/// What came of cutting the power of a seat.
pub enum Cut {
    Done {
        pid: i32,
        dropped: Dropped,
    },
    /// Too little was unsynced at this moment, and nothing was cut.
    Synced,
    /// No manager runs there.
    Empty,
}

/// Who lives there.
#[derive(Default)]
pub struct Tenant {
    pub process: Option<Process>,
    /// Whether somebody is to live there, by now or again soon.
    pub wanted: bool,
    /// Whether it is to be started again when it ends by itself, as a supervisor does.
    pub supervised: bool,
}

impl Seat {
    /// The directory of the manager's data.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn file(&self) -> PathBuf {
        self.dir.join("manager.toml")
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("manager.log")
    }

    /// Holds the tenant still, for changes of several steps.
    pub async fn tenant(&self) -> MutexGuard<'_, Tenant> {
        self.tenant.lock().await
    }

    /// Writes the configuration of whoever lives there next.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn furnish(&self, entry: &Entry) -> Result<()> {
        let name = format!("manager-{}", self.number);
        let text = bundle::configuration(
            &self.data().join("manager"),
            &self.house.bundle,
            &name,
            (self.number, self.address),
            self.house.network.behind(),
            entry,
        )?;
        std::fs::write(self.file(), text).context("a configuration cannot be written")
    }

    fn command(&self, more: &[(String, String)]) -> Result<Command> {
        let mut command = self.house.network.command(self.number, &self.house.binary)?;
        bundle::without_settings(&mut command);
        command
            .args(["manager", "--config"])
            .arg(self.file())
            .args(self.house.settings.iter().flat_map(|setting| ["--set", setting]));
        command.envs(self.house.environment.iter().chain(more).cloned());
        if let Some(clock) = &self.clock {
            command.envs(clock.environment());
        }
        Ok(command)
    }

    /// Starts the manager, if it does not run.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start(&self) -> Result<()> {
        let mut tenant = self.tenant().await;
        tenant.wanted = true;
        tenant.supervised = true;
        self.start_in(&mut tenant, &[])
    }

    /// Starts the manager with more in its environment, and does not start it again when it ends.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start_with(&self, more: &[(String, String)]) -> Result<()> {
        let mut tenant = self.tenant().await;
        tenant.supervised = false;
        self.start_in(&mut tenant, more)
    }

    /// Waits until a manager that is not supervised has ended by itself; gives the signal that ended it, if one did.
    ///
    /// # Errors
    /// It goes on.
    pub async fn await_own_end(&self, within: Duration) -> Result<Option<i32>> {
        let deadline = Instant::now() + within;
        loop {
            let mut tenant = self.tenant().await;
            let status = tenant.process.as_mut().and_then(Process::ended);
            drop(tenant);
            if let Some(status) = status {
                return Ok(status.signal());
            }
            if Instant::now() > deadline {
                bail!("the manager of seat {} went on for {within:?}", self.number);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn start_in(&self, tenant: &mut Tenant, more: &[(String, String)]) -> Result<()> {
        if let Some(process) = &mut tenant.process
            && process.ended().is_none()
        {
            return Ok(());
        }
        let process = Process::spawn(self.command(more)?, &self.log(), Arc::clone(&self.house.ledger))
            .with_context(|| format!("the manager of seat {}", self.number))?;
        self.house.network.moved_in(self.number, process.pid());
        self.pid.store(process.pid(), Ordering::SeqCst);
        tenant.process = Some(process);
        Ok(())
    }

    /// How often data was wiped here and which process was started last; nothing before the first.
    pub fn identity(&self) -> Option<(u64, i32)> {
        let pid = self.pid.load(Ordering::SeqCst);
        (pid != 0).then(|| (self.wiped.load(Ordering::SeqCst), pid))
    }

    /// Kills the manager (SIGKILL), and keeps it down; gives its process id, when it ran.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(&self) -> Result<Option<i32>> {
        let mut tenant = self.tenant().await;
        tenant.supervised = false;
        let Some(mut process) = tenant.process.take() else {
            return Ok(None);
        };
        if process.ended().is_some() {
            return Ok(None);
        }
        let pid = process.pid();
        process.kill().await?;
        Ok(Some(pid))
    }

    /// Cuts the power, unless less than `least` is unsynced at this moment: the manager is killed, and what it had not
    /// synced is gone, at one moment. It stays so until the disk has power and the manager is started again.
    ///
    /// # Errors
    /// The seat has no disk of its own, or the manager cannot be killed.
    pub async fn cut_power(&self, least: u64, survives: f64, seed: u64) -> Result<Cut> {
        let disk = self.disk.as_ref().context("the seat has no disk of its own")?;
        let mut tenant = self.tenant().await;
        let Some(process) = &mut tenant.process else {
            return Ok(Cut::Empty);
        };
        if process.ended().is_some() {
            return Ok(Cut::Empty);
        }
        let mut chance = StdRng::seed_from_u64(seed);
        let Some(dropped) = disk.cut(least, || process.strike_down(), survives, &mut chance)? else {
            return Ok(Cut::Synced);
        };
        let pid = process.pid();
        tenant.supervised = false;
        Ok(Cut::Done { pid, dropped })
    }

    /// Waits until a manager that was struck down is gone.
    ///
    /// # Errors
    /// It does not go.
    pub async fn await_end(&self) -> Result<()> {
        let mut tenant = self.tenant().await;
        match tenant.process.take() {
            Some(mut process) => process.gone(STRUCK_DOWN_GOES).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Asks the manager to end (SIGTERM), keeps it down, and gives its exit code.
    ///
    /// # Errors
    /// It did not run, or does not end.
    pub async fn terminate(&self) -> Result<Option<i32>> {
        let mut tenant = self.tenant().await;
        tenant.supervised = false;
        let Some(mut process) = tenant.process.take() else {
            bail!("there is no manager in seat {}", self.number);
        };
        Ok(process.terminate().await?.code())
    }

    /// Stops the manager (SIGSTOP); whether it ran.
    ///
    /// # Errors
    /// It does not stop.
    pub async fn pause(&self) -> Result<bool> {
        let mut tenant = self.tenant().await;
        match &mut tenant.process {
            Some(process) => match process.ended() {
                None => process.pause().await.map(|()| true),
                Some(_) => Ok(false),
            },
            None => Ok(false),
        }
    }

    /// Lets the manager go on; whether it was still stopped until now.
    pub async fn resume(&self) -> bool {
        let tenant = self.tenant().await;
        let Some(process) = &tenant.process else {
            return false;
        };
        // Another fault may have killed it meanwhile.
        process.paused() && process.resume().is_ok()
    }

    /// Whether a manager runs there.
    pub async fn occupied(&self) -> bool {
        let mut tenant = self.tenant().await;
        tenant
            .process
            .as_mut()
            .is_some_and(|process| process.ended().is_none())
    }

    /// Whether a manager shall run there.
    pub async fn wanted(&self) -> bool {
        self.tenant().await.wanted
    }

    /// Nobody lives there any more, and what was kept there is gone.
    ///
    /// # Errors
    /// The manager cannot be killed, or its data not be removed.
    pub async fn vacate(&self) -> Result<()> {
        self.kill().await?;
        self.tenant().await.wanted = false;
        self.wipe()
    }

    /// Removes what a manager kept.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn wipe(&self) -> Result<()> {
        self.wiped.fetch_add(1, Ordering::SeqCst);
        remove_all(&self.data().join("manager"))
    }

    /// What the manager says of the cluster.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self) -> Result<ClusterStatus> {
        let asked = tokio::time::timeout(Duration::from_millis(1500), self.client.cluster_status());
        asked
            .await
            .context("no answer in time")?
            .context("the manager does not tell its status")
    }

    /// Notes an end by itself, and starts the manager again, as a supervisor does.
    pub(super) async fn supervise(&self) -> Result<Option<Exit>> {
        let Ok(mut tenant) = self.tenant.try_lock() else {
            // Somebody is at it.
            return Ok(None);
        };
        if !tenant.supervised {
            return Ok(None);
        }
        let Some(process) = &mut tenant.process else {
            return Ok(None);
        };
        let Some(status) = process.ended() else {
            return Ok(None);
        };
        let exit = Exit {
            seat: self.number,
            code: status.code(),
            signal: status.signal(),
            said: process.last_words(),
        };
        tenant.process = None;
        self.start_in(&mut tenant, &[])?;
        Ok(Some(exit))
    }
}

fn remove_all(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}
