//! Processes of agents: each with a keeper ([`super::keeper`]), the first of its process group.
//!
//! They are started by one thread that lives as long as the runner, because the kernel's parent-death
//! signal follows the *thread* that forked, and a thread of the runtime's pool may end. The same thread
//! reaps orphans, so that it never takes a child it has just started for one, and needs no lock.

use std::{
    collections::HashSet,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};
use tokio::{
    process::{Child, ChildStderr, ChildStdout, Command},
    sync::oneshot,
    task::spawn_blocking,
    time::timeout,
};

use super::{
    exec,
    fence::{Fence, Post},
    keeper::END_ALL,
    stray::{self, Mark},
};

/// How long a keeper may take to end what it was told to kill; then it is killed too, and the runner
/// looks for what is left.
const KEEPER: Duration = Duration::from_secs(2);

/// What to start.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    /// The program's file.
    pub program: PathBuf,
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, OsString)>,
    pub dir: PathBuf,
    /// What in the environment tells this agent's processes.
    pub mark: Mark,
    /// For an exclusive agent: what ends it with its lease.
    pub fence: Option<Fence>,
}

type Answer = oneshot::Sender<io::Result<Process>>;

#[derive(Debug)]
enum Job {
    Start(Box<Launch>, Answer),
    /// Somebody no longer waits for this child.
    Forget(i32),
    ReapOrphans,
}

/// Starts processes. Cheap to clone; its thread ends with the last clone.
#[derive(Debug, Clone)]
pub(super) struct Spawner {
    jobs: mpsc::Sender<Job>,
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
        let runtime = tokio::runtime::Handle::current();
        thread::Builder::new().name("spawner".into()).spawn(move || {
            let _inside = runtime.enter();
            serve(&shim, &queue);
        })?;
        Ok(Self { jobs })
    }

    /// Starts a process.
    ///
    /// # Errors
    /// When the system can't start one.
    pub(super) async fn spawn(&self, launch: Launch) -> io::Result<Process> {
        let gone = || io::Error::other("the thread that starts processes has ended");
        let (answer, wait) = oneshot::channel();
        let job = Job::Start(Box::new(launch), answer);
        self.jobs.send(job).map_err(|_| gone())?;
        let mut process = wait.await.map_err(|_| gone())??;
        process.jobs = Some(self.jobs.clone());
        Ok(process)
    }

    /// Reaps children that nobody waits for: orphans that were handed to this process because it is the
    /// first of its container.
    pub(super) fn reap_orphans(&self) {
        // The thread ends after all who could ask.
        let _ = self.jobs.send(Job::ReapOrphans);
    }
}

fn serve(shim: &Path, queue: &mpsc::Receiver<Job>) {
    let mut owned = HashSet::new();
    for job in queue {
        match job {
            Job::Start(launch, answer) => {
                let started = start(shim, *launch);
                owned.extend(started.as_ref().ok().map(Process::pid));
                // Whoever asked may have gone; the process then ends by being dropped.
                let _ = answer.send(started);
            }
            Job::Forget(pid) => {
                owned.remove(&pid);
            }
            Job::ReapOrphans => while reap_orphan(&owned) {},
        }
    }
}

/// Gives whether there may be more. Looks before it takes: what somebody waits for is left alone.
fn reap_orphan(owned: &HashSet<i32>) -> bool {
    let look = WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG | WaitPidFlag::WEXITED;
    let ended = match waitid(Id::All, look) {
        Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) => pid,
        _ => return false,
    };
    !owned.contains(&ended.as_raw()) && waitpid(ended, Some(WaitPidFlag::WNOHANG)).is_ok()
}

fn start(shim: &Path, launch: Launch) -> io::Result<Process> {
    let mut command = Command::new(shim);
    let lease = launch.fence.as_ref().map(Fence::for_keeper).transpose()?;
    command
        .arg(exec::SUBCOMMAND)
        .arg(std::process::id().to_string())
        .args(lease.is_some().then_some(exec::LEASED))
        .arg("--")
        .arg(launch.program)
        .args(launch.args)
        .env_clear()
        .envs(launch.env)
        .current_dir(launch.dir)
        .stdin(lease.unwrap_or_else(Stdio::null))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = command.spawn()?;
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .ok_or_else(|| io::Error::other("the process has no id"))?;
    Ok(Process {
        child,
        pid,
        mark: launch.mark,
        // Here, and not by whoever asked, whom the runtime may keep waiting.
        post: launch.fence.map(|fence| fence.guard(pid)),
        jobs: None,
    })
}

/// Kills the program with its group, and has its keeper kill what has left the group.
pub(super) fn kill_all(keeper: i32) {
    let keeper = Pid::from_raw(keeper);
    complain(keeper, Signal::SIGKILL, killpg(keeper, Signal::SIGKILL));
    complain(keeper, END_ALL, kill(keeper, END_ALL));
}

fn complain(pid: Pid, signal: Signal, sent: nix::Result<()>) {
    match sent {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => tracing::warn!(%pid, %signal, %error, "cannot signal an agent"),
    }
}

/// An agent's keeper, and with it the program and all that it started. Dropped, they are killed.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: i32,
    mark: Mark,
    post: Option<Post>,
    /// Who is told that nobody waits for it any more.
    jobs: Option<mpsc::Sender<Job>>,
}

impl Process {
    /// The keeper's id, which is the program's process group too.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Its output, once.
    pub(super) fn take_output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// Asks the program and its group to end.
    pub(super) fn terminate(&self) {
        if self.child.id().is_some() {
            let keeper = Pid::from_raw(self.pid);
            complain(keeper, Signal::SIGTERM, kill(keeper, Signal::SIGTERM));
        }
    }

    /// Waits until the program has ended and nothing that it started is left. Safe to cancel.
    ///
    /// # Errors
    /// When the system can't tell how it ended.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.post = None;
        // A keeper that ended by itself left nothing; one that was killed may have.
        let mark = self.mark.clone();
        let swept = spawn_blocking(move || stray::sweep(Path::new("/proc"), &mark)).await;
        if let Ok(killed @ 1..) = swept {
            tracing::warn!(pid = self.pid, killed, "ended what an agent's processes left");
        }
        status
    }

    /// Kills everything and waits until it is gone.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub(super) async fn kill(&mut self) -> io::Result<ExitStatus> {
        if self.child.id().is_some() {
            kill_all(self.pid);
        }
        if let Ok(ended) = timeout(KEEPER, self.child.wait()).await {
            ended?;
        } else {
            // Stopped, say: then it can't do its part.
            self.child.start_kill()?;
        }
        self.wait().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.id().is_some() {
            kill_all(self.pid);
        }
        if let Some(jobs) = &self.jobs {
            // The thread may have ended before.
            let _ = jobs.send(Job::Forget(self.pid));
        }
    }
}
