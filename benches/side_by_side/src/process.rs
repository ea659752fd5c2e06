//! A member as a child process in a process group of its own, which cannot outlive us by any way out of the program.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::machine::{self, Memory};

/// How long a killed process may take to be gone when nobody waits for it otherwise.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// A running member.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with what it prints appended to `log`.
    ///
    /// # Errors
    /// The log cannot be opened, or the program cannot be run.
    pub fn spawn(mut command: Command, log: PathBuf) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("{} cannot be written", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(
                output
                    .try_clone()
                    .context("a log's handle cannot be duplicated")?,
            )
            .stderr(output)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{:?} did not start", command.as_std().get_program()))?;
        let id = child.id().context("a child that has just started has no id")?;
        let group = Pid::from_raw(i32::try_from(id).context("a process id above the kernel's limit")?);
        Ok(Self { child, group, log })
    }

    /// Kills the whole group at once (SIGKILL) and waits until the kernel has taken the member down.
    ///
    /// # Errors
    /// It cannot be signalled or waited for.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal();
        self.child
            .wait()
            .await
            .context("a killed member cannot be waited for")?;
        Ok(())
    }

    /// How the member ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last lines the member printed, for an error message.
    pub fn last_words(&self) -> String {
        let printed = std::fs::read(&self.log).unwrap_or_default();
        let printed = String::from_utf8_lossy(&printed[printed.len().saturating_sub(2000)..]).into_owned();
        let lines: Vec<&str> = printed.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    /// Processor time used so far; zero once the member has ended.
    pub fn processor_time(&self) -> Duration {
        machine::processor_time(Path::new(&format!("/proc/{}/stat", self.group)))
    }

    /// Memory it has now; zero once the member has ended.
    pub fn memory(&self) -> Memory {
        machine::memory(Path::new(&format!("/proc/{}/status", self.group)))
    }

    /// Where what it prints goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    fn signal(&self) {
        // The id is none once the child was reaped: from then on the number may belong to someone else.
        if self.child.id().is_some() {
            // The only failure left is that the group is gone already, which is what is wanted.
            let _ = killpg(self.group, Signal::SIGKILL);
        }
    }
}

impl Drop for Process {
    /// Kills the group and gives the kernel a moment to take it down, so that nothing still writes to a directory
    /// that is about to be removed, and nothing is left when the program has ended.
    fn drop(&mut self) {
        self.signal();
        let deadline = Instant::now() + LAST_MOMENT;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
