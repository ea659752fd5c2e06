//! A manager as a child process, which does not outlive the harness.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::ledger::{Ledger, Made, Started, stat_field};

/// How long the kernel may take to stop or end a process.
const SIGNAL_TAKES: Duration = Duration::from_secs(10);
/// How long a manager may take to end in order.
const ORDERLY_END: Duration = Duration::from_secs(15);

/// A running manager.
#[derive(Debug)]
pub struct Process {
    child: Child,
    started: Started,
    ledger: Arc<Ledger>,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with what it prints appended to `log`.
    ///
    /// # Errors
    /// The log cannot be opened, or the program cannot be run.
    pub fn spawn(mut command: Command, log: &Path, ledger: Arc<Ledger>) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("{} cannot be written", log.display()))?;
        let errors = output
            .try_clone()
            .context("a log's handle cannot be duplicated")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // Ctrl-C is for the harness, which ends its managers itself.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{:?} did not start", command.as_std().get_program()))?;
        let id = child.id().context("a child that has just started has no id")?;
        let pid = i32::try_from(id).context("a process id above the kernel's limit")?;
        // A child that was not waited for keeps its entry even when it has ended.
        let started = Started::find(pid).context("a child that has just started is not there")?;
        ledger.note(Made::Process(started))?;
        Ok(Self {
            child,
            started,
            ledger,
            log: log.to_owned(),
        })
    }

    pub fn pid(&self) -> i32 {
        self.started.pid
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // The id is none once the child was reaped: from then on the number may belong to someone else.
        if self.child.id().is_none() {
            bail!("it has ended already");
        }
        kill(Pid::from_raw(self.started.pid), signal).context("it cannot be signalled")
    }

    /// Sends it its end (SIGKILL), and does not wait.
    ///
    /// # Errors
    /// It had ended by itself.
    pub fn strike_down(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)
    }

    /// Kills it at once (SIGKILL), and waits until the kernel has taken it down.
    ///
    /// # Errors
    /// It cannot be waited for, or had ended by itself.
    pub async fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        self.gone(SIGNAL_TAKES).await
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    ///
    /// # Errors
    /// It does not, or had ended by itself.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.gone(ORDERLY_END).await
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// It takes too long.
    pub async fn gone(&mut self, within: Duration) -> Result<ExitStatus> {
        let status = timeout(within, self.child.wait())
            .await
            .with_context(|| format!("it did not end within {within:?}"))?
            .context("it cannot be waited for")?;
        if self.started.runs() {
            bail!("process {} was waited for and still runs", self.started.pid);
        }
        Ok(status)
    }

    /// Stops it (SIGSTOP), and waits until the kernel says so.
    ///
    /// # Errors
    /// It does not stop.
    pub async fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        let deadline = Instant::now() + SIGNAL_TAKES;
        while !self.paused() {
            if Instant::now() > deadline {
                bail!("process {} does not stop", self.started.pid);
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Whether it is stopped now.
    pub fn paused(&self) -> bool {
        stat_field(self.started.pid, 3).as_deref() == Some("T")
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It has ended.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// The last lines it printed, for an error message.
    pub fn last_words(&self) -> String {
        last_lines(&self.log, 8)
    }
}

/// The last lines of a file.
pub fn last_lines(path: &Path, lines: usize) -> String {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(4000)))?;
        file.read_to_end(&mut text)
    });
    if read.is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ledger.undo(&Made::Process(self.started));
    }
}
