//! Runners as processes, each in a place of its own beside the managers' seats.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::sync::Mutex;

use super::bundle::{self, SESSIONS};
use super::process::Process;
use super::seat::House;

/// A container, as far as the cluster is concerned: its runner, and the agents that this starts.
pub struct Runner {
    /// Its place in the network.
    pub place: u64,
    /// The container's name.
    pub name: String,
    dir: PathBuf,
    house: House,
    /// Where managers take sessions; another one first for each runner.
    managers: Vec<String>,
    process: Mutex<Option<Process>>,
}

impl Runner {
    /// Sets it up, and starts nothing.
    ///
    /// # Errors
    /// Its directory can't be made.
    pub fn new(dir: &Path, house: House, place: u64, managers: &[IpAddr]) -> Result<Self> {
        let name = format!("box-{place}");
        let dir = dir.join(&name);
        fs::create_dir_all(&dir).context("a runner's directory can't be made")?;
        let mut managers: Vec<_> = managers.iter().map(|at| format!("{at}:{SESSIONS}")).collect();
        let first = usize::try_from(place).unwrap_or_default() % managers.len().max(1);
        managers.rotate_left(first);
        Ok(Self {
            place,
            name,
            dir,
            house,
            managers,
            process: Mutex::default(),
        })
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("runner.log")
    }

    /// Starts it, if it does not run.
    ///
    /// # Errors
    /// It can't be started.
    pub async fn start(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        if let Some(running) = process.as_mut()
            && running.ended().is_none()
        {
            return Ok(());
        }
        let mut command = self.house.network.command(self.place, &self.house.binary)?;
        bundle::without_settings(&mut command);
        command
            .args([
                "runner",
                "--name",
                &self.name,
                "--managers",
                &self.managers.join(","),
            ])
            .arg("--data-dir")
            .arg(self.dir.join("data"))
            .arg("--join-token-file")
            .arg(self.house.bundle.join("join.token"))
            .envs(self.house.environment.iter().cloned());
        let started = Process::spawn(command, &self.log(), self.house.ledger.clone())
            .with_context(|| format!("the runner {}", self.name))?;
        self.house.network.moved_in(self.place, started.pid());
        *process = Some(started);
        Ok(())
    }

    /// Kills it (SIGKILL); gives its process id, when it ran.
    ///
    /// # Errors
    /// It can't be killed.
    pub async fn kill(&self) -> Result<Option<i32>> {
        let Some(mut process) = self.process.lock().await.take() else {
            return Ok(None);
        };
        if process.ended().is_some() {
            return Ok(None);
        }
        let pid = process.pid();
        process.kill().await?;
        Ok(Some(pid))
    }

    /// Stops it (SIGSTOP), and not its agents; whether it ran.
    ///
    /// # Errors
    /// It does not stop.
    pub async fn pause(&self) -> Result<bool> {
        let mut process = self.process.lock().await;
        let Some(process) = process.as_mut() else {
            return Ok(false);
        };
        if process.ended().is_some() {
            return Ok(false);
        }
        process.pause().await.map(|()| true)
    }

    /// Lets it go on; whether it was stopped until now.
    pub async fn resume(&self) -> bool {
        match self.process.lock().await.as_ref() {
            Some(process) => process.paused() && process.resume().is_ok(),
            None => false,
        }
    }

    /// The address of the manager that its session is with, as the kernel knows it.
    pub async fn manager(&self) -> Option<IpAddr> {
        let pid = self.process.lock().await.as_ref()?.pid();
        let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
        session(&table)
    }
}

/// The other end of an established connection to a session port, in the kernel's table.
fn session(table: &str) -> Option<IpAddr> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace().skip(2);
        let (address, port) = columns.next()?.split_once(':')?;
        let established = columns.next()? == "01";
        let ours = u16::from_str_radix(port, 16).ok()? == SESSIONS;
        // As the machine has it in memory.
        let address = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
        (established && ours).then(|| IpAddr::from(address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn a_session_is_found_in_the_kernels_table() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0E40400A:A2C4 0B40400A:1CE9 01 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0E40400A:A2C6 0B40400A:1CEA 06 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0E40400A:A2C8 0C40400A:1CEA 01 00000000:00000000 00:00000000 00000000     0        0 3
";
        assert_eq!(session(table), Some(IpAddr::from([10, 64, 64, 12])));
    }
}
