//! Processes of agents: started through the shim, each the head of its own process group.
//!
//! They are started by one thread that lives as long as the runner, because the kernel's parent-death
//! signal follows the *thread* that forked, and a thread of the runtime's pool may end.

use std::{
    collections::HashSet,
    ffi::OsString,
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};
use tokio::{
    process::{Child, ChildStderr, ChildStdout, Command},
    sync::oneshot,
};

use super::exec;

/// What to start.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    /// The program's file.
    pub program: PathBuf,
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, OsString)>,
    pub dir: PathBuf,
}

type Job = (Launch, oneshot::Sender<io::Result<Process>>);

/// Starts processes. Cheap to clone; its thread ends with the last clone.
#[derive(Debug, Clone)]
pub(super) struct Spawner {
    jobs: mpsc::Sender<Job>,
    owned: Arc<Owned>,
}

/// Process ids that somebody waits for by name. Held while a process is started or reaped, so that
/// the reaper never takes one that is not listed yet.
#[derive(Debug, Default)]
struct Owned(Mutex<HashSet<i32>>);

impl Owned {
    fn lock(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spawner {
    /// Starts the thread; `shim` is the file of the `quorate` binary.
    ///
    /// Must be called inside a runtime, which then watches the processes.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(super) fn start(shim: PathBuf) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let owned = Arc::new(Owned::default());
        let (runtime, ours) = (tokio::runtime::Handle::current(), owned.clone());
        thread::Builder::new().name("spawner".into()).spawn(move || {
            let _inside = runtime.enter();
            for (launch, answer) in queue {
                // Whoever asked may have gone; the process then ends by being dropped.
                let _ = answer.send(start(&shim, launch, &ours));
            }
        })?;
        Ok(Self { jobs, owned })
    }

    /// Starts a process.
    ///
    /// # Errors
    /// When the system can't start one.
    pub(super) async fn spawn(&self, launch: Launch) -> io::Result<Process> {
        let gone = || io::Error::other("the thread that starts processes has ended");
        let (answer, wait) = oneshot::channel();
        self.jobs.send((launch, answer)).map_err(|_| gone())?;
        wait.await.map_err(|_| gone())?
    }

    /// Reaps one child that nobody waits for: an orphan that was handed to this process because it is
    /// the first of its container. Gives whether there may be more.
    ///
    /// Looks before it takes: a child that somebody waits for is left alone.
    pub(super) fn reap_orphan(&self) -> bool {
        let owned = self.owned.lock();
        let look = WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG | WaitPidFlag::WEXITED;
        let ended = match waitid(Id::All, look) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) => pid,
            _ => return false,
        };
        !owned.contains(&ended.as_raw()) && waitpid(ended, Some(WaitPidFlag::WNOHANG)).is_ok()
    }
}

fn start(shim: &PathBuf, launch: Launch, owned: &Arc<Owned>) -> io::Result<Process> {
    let mut command = Command::new(shim);
    command
        .arg(exec::SUBCOMMAND)
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(launch.program)
        .args(launch.args)
        .env_clear()
        .envs(launch.env)
        .current_dir(launch.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut listed = owned.lock();
    let child = command.spawn()?;
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .ok_or_else(|| io::Error::other("the process has no id"))?;
    listed.insert(pid);
    drop(listed);
    Ok(Process {
        child,
        pid: Pid::from_raw(pid),
        ended: false,
        owned: owned.clone(),
    })
}

/// A process with its group. Dropped, it is killed with its group.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: Pid,
    ended: bool,
    owned: Arc<Owned>,
}

impl Process {
    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Its output, once.
    pub(super) fn take_output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// Sends a signal to the whole group.
    pub(super) fn signal(&self, signal: Signal) {
        match killpg(self.pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => tracing::warn!(pid = self.pid(), %signal, %error, "cannot signal an agent"),
        }
    }

    /// Waits until the process has ended, and ends what is left of its group. Safe to cancel.
    ///
    /// # Errors
    /// When the system can't tell.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        // The group's id is not given to others while members live; if none does, this finds nothing.
        self.signal(Signal::SIGKILL);
        self.ended = true;
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            self.signal(Signal::SIGKILL);
        }
        self.owned.lock().remove(&self.pid.as_raw());
    }
}
