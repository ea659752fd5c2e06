//! A manager or runner process: started, started again when it dies, and stopped.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{self, Command},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::process::end;

/// The pauses before a child is started again: doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A child that ran this long begins anew with the first pause.
const RAN_WELL: Duration = Duration::from_secs(10);

/// Between SIGTERM and SIGKILL: longer than a runner gives its agents.
const GRACE: Duration = Duration::from_secs(15);

/// A longer log is emptied at a start.
const LOG_BYTES: u64 = 8 << 20;

/// What a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Manager,
    Runner,
}

impl Kind {
    fn subcommand(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Runner => "runner",
        }
    }

    /// What a child of this kind is called.
    pub fn name(self, number: u16) -> String {
        format!("{}-{number}", self.subcommand())
    }

    /// The name of its configuration's file.
    pub fn config_file(self) -> String {
        format!("{}.toml", self.subcommand())
    }
}

/// Where a child's configuration is, what it says goes, and its process id.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub config: PathBuf,
    pub log: PathBuf,
    pub pid: PathBuf,
}

/// One child.
#[derive(Debug)]
pub(super) struct Child {
    pub program: PathBuf,
    pub kind: Kind,
    pub number: u16,
    pub files: Files,
    pub restart: bool,
    pub end: CancellationToken,
}

impl Child {
    /// Starts the process, and starts it again when it dies, until the end.
    pub async fn keep_running(self) {
        let mut pause = FIRST_PAUSE;
        while !self.end.is_cancelled() {
            let begin = Instant::now();
            let how = match self.start() {
                Ok(process) => match self.watch(process).await {
                    Some(status) => ending(status),
                    None => return,
                },
                Err(error) => format!("could not be started: {error}"),
            };
            // Its id may be another process's soon.
            let _ = fs::remove_file(&self.files.pid);
            if begin.elapsed() >= RAN_WELL {
                pause = FIRST_PAUSE;
            }
            let name = self.kind.name(self.number);
            if !self.restart {
                eprintln!("{name} {how}; it stays down");
                return;
            }
            let log = self.files.log.display();
            eprintln!("{name} {how} (see {log}); it starts again in {pause:?}");
            tokio::select! {
                () = sleep(pause) => {}
                () = self.end.cancelled() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn start(&self) -> io::Result<process::Child> {
        let log = self.open_log()?;
        let mut command = Command::new(&self.program);
        command
            .arg(self.kind.subcommand())
            .arg("--config")
            .arg(&self.files.config)
            .args(["--die-with", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C is for this process, which ends the others in order.
            .process_group(0)
            .kill_on_drop(true);
        // One listen address for all of them, say, would help none; how much they log is welcome.
        for (name, _) in std::env::vars_os() {
            let ours = name.to_str().is_some_and(|name| name.starts_with("QUORATE_"));
            if ours && !name.to_string_lossy().starts_with("QUORATE_LOGS_") {
                command.env_remove(name);
            }
        }
        let process = command.spawn()?;
        if let Some(id) = process.id() {
            // Whole at every moment for who reads it.
            let draft = self.files.pid.with_extension("pid.new");
            fs::write(&draft, format!("{id}\n"))?;
            fs::rename(&draft, &self.files.pid)?;
        }
        Ok(process)
    }

    fn open_log(&self) -> io::Result<File> {
        let log = File::options().create(true).append(true).open(&self.files.log)?;
        if log.metadata()?.len() > LOG_BYTES {
            log.set_len(0)?;
        }
        Ok(log)
    }

    /// Waits for the process to die; `None` when it was stopped, at the end.
    async fn watch(&self, mut process: process::Child) -> Option<ExitStatus> {
        tokio::select! {
            // It fails only for a process that is no child of ours.
            status = process.wait() => status.ok(),
            () = self.end.cancelled() => {
                self.stop(process).await;
                None
            }
        }
    }

    async fn stop(&self, mut process: process::Child) {
        let id = process.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id {
            // It may have ended in this moment.
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        if timeout(GRACE, process.wait()).await.is_err() {
            let name = self.kind.name(self.number);
            eprintln!("{name} did not stop within {GRACE:?}; it is killed");
            if let Err(error) = process.kill().await {
                eprintln!("{name} can't be killed: {error}");
            }
        }
    }
}

fn ending(status: ExitStatus) -> String {
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(end::CONSENSUS) => format!("stopped for safety: consensus can't go on as it is ({status})"),
        Some(end::STORAGE) => format!("stopped for safety: its storage failed ({status})"),
        _ => format!("ended ({status})"),
    }
}
