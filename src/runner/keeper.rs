//! The keeper of one agent: a small process between the runner and the program.
//!
//! ```text
//!   runner ──> keeper (this; leads nothing) ──> program ──> whatever it starts
//!                │  subreaper: what loses its parent becomes the keeper's
//!                └─ ends only when it has no child left, with the program's status
//! ```
//!
//! - The kernel hands it every descendant whose parent ends, so that having no child is proof that
//!   nothing of the agent is left, in whatever group or session.
//! - When the program ends, or the runner does, or the runner says so ([`END_ALL`]), it kills all of
//!   them. A runner killed by SIGKILL so leaves nothing behind.
//! - An exclusive agent's keeper reads until when the agent may act ([`super::deadline`]) and kills all
//!   of it then, so that a runner which stands still stops nobody from being stopped.
//! - The process group the runner made, whose id is the keeper's, holds the program and what stays in
//!   it, and not the keeper: the runner kills the group by itself and the keeper lives to do the rest.
//! - If the keeper is killed, the program is (see [`super::exec`]), and the runner looks for the rest.
//!
//! All signals are blocked and read one by one: there are no handlers, no threads and no runtime.

use std::{
    convert::Infallible,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    path::Path,
    process::{Command, Stdio, exit},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl::{set_child_subreaper, set_pdeathsig},
        resource::{Resource, setrlimit},
        signal::{SigSet, Signal, kill, killpg, raise},
        signalfd::{SfdFlags, SignalFd, siginfo},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getpgid, getpgrp, getpid, getppid, setpgid},
};

use super::{
    deadline::Remaining,
    exec::{self, CANNOT_RUN, RUNNER_GONE},
    stray,
};

/// From the runner: kill everything. From anybody else it is a signal like others.
pub(super) const END_ALL: Signal = Signal::SIGUSR2;

/// Between two looks for children that are being killed.
const LOOK: Duration = Duration::from_millis(2);

/// A shell's way to say that a signal ended the program.
const BY_SIGNAL: i32 = 128;

/// Starts the program and keeps it until nothing of it is left; then ends as it ended. One that is
/// `leased` is killed when its lease is over, and not started then.
pub(super) fn run(
    runner: Pid,
    leased: bool,
    program: &OsStr,
    args: impl Iterator<Item = OsString>,
) -> Result<Infallible, (i32, String)> {
    let failed = |errno: Errno| (CANNOT_RUN, format!("cannot keep an agent: {errno}"));
    let signals = SigSet::all();
    signals.thread_block().map_err(failed)?;
    let queue = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).map_err(failed)?;
    set_child_subreaper(true).map_err(failed)?;
    set_pdeathsig(Signal::SIGTERM).map_err(failed)?;
    // The runner may have died before the line above; then no signal ever comes.
    if getppid() != runner {
        return Err((RUNNER_GONE, "the runner ended before the agent began".into()));
    }
    let lease = leased.then(lease).transpose().map_err(|error| {
        let words = format!("cannot read the lease of an agent: {error}");
        (CANNOT_RUN, words)
    })?;
    if lease.as_ref().is_some_and(|lease| lease.left().is_zero()) {
        return Err((RUNNER_GONE, "the lease ended before the agent began".into()));
    }
    // A runner has made the group already; whoever else starts this may not have.
    if getpgrp() != getpid() {
        setpgid(getpid(), getpid()).map_err(failed)?;
    }
    let head = Command::new("/proc/self/exe")
        .arg0("quorate")
        .args([exec::SUBCOMMAND, exec::PROGRAM, &getpid().to_string(), "--"])
        .arg(program)
        .args(args)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| (CANNOT_RUN, format!("cannot run {}: {error}", program.display())))?;
    // Only now: a group without a member is gone. Where it fails, the group's end is the keeper's too.
    let apart = getpgid(Some(runner))
        .and_then(|group| setpgid(getpid(), group))
        .is_ok();
    let mut keeper = Keeper {
        runner,
        head: Pid::from_raw(head.id().cast_signed()),
        ended: None,
        apart,
        lease,
    };
    keeper.watch(&queue);
    keeper.end_all();
    keeper.end()
}

/// What the runner gave as standard input.
fn lease() -> io::Result<Remaining> {
    let memory = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(Remaining::of(File::from(memory)))
}

struct Keeper {
    runner: Pid,
    /// The program.
    head: Pid,
    ended: Option<WaitStatus>,
    /// Whether the keeper has left the program's group.
    apart: bool,
    /// Of an exclusive agent.
    lease: Option<Remaining>,
}

impl Keeper {
    /// Hands signals on until it is time to end all.
    fn watch(&mut self, queue: &SignalFd) {
        while self.wait(queue) {
            // It fails for no reason that goes away.
            let Ok(Some(told)) = queue.read_signal() else {
                return;
            };
            self.reap();
            if self.ended.is_some() || getppid() != self.runner {
                return;
            }
            let signal = i32::try_from(told.ssi_signo)
                .ok()
                .and_then(|n| Signal::try_from(n).ok());
            match signal {
                Some(END_ALL) if self.is_from_runner(&told) => return,
                Some(Signal::SIGCHLD) | None => {}
                // A terminal's are for the runner, which stops its agents in order; and its own reach
                // the keeper if it could not leave the group.
                Some(_) if [0, std::process::id()].contains(&told.ssi_pid) => {}
                Some(signal) => self.hand_on(signal),
            }
        }
    }

    /// Waits for a signal; false when the lease has ended.
    fn wait(&self, queue: &SignalFd) -> bool {
        let Some(lease) = &self.lease else {
            // Reading waits.
            return true;
        };
        loop {
            let left = lease.left();
            if left.is_zero() {
                return false;
            }
            // Rounded up, so that nobody turns in circles in the last millisecond.
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            let mut ready = [PollFd::new(queue.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, timeout) {
                Ok(0) | Err(Errno::EINTR) => {}
                // An error is the reader's to find.
                Ok(_) | Err(_) => return true,
            }
        }
    }

    fn is_from_runner(&self, told: &siginfo) -> bool {
        i32::try_from(told.ssi_pid).is_ok_and(|pid| pid == self.runner.as_raw())
    }

    fn hand_on(&self, signal: Signal) {
        let group = getpid();
        // Whoever ended in this moment needs no signal.
        let _ = killpg(group, signal);
        if getpgid(Some(self.head)).is_ok_and(|other| other != group) {
            let _ = kill(self.head, signal);
        }
    }

    /// Takes note of children that have ended. Gives whether there are others.
    fn reap(&mut self) -> bool {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return true,
                Ok(status) if status.pid() == Some(self.head) => self.ended = Some(status),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Returns when there is no descendant any more.
    fn end_all(&mut self) {
        while self.reap() {
            if self.apart {
                let _ = killpg(getpid(), Signal::SIGKILL);
            }
            stray::kill_descendants(Path::new("/proc"));
            thread::sleep(LOOK);
        }
    }

    /// Ends as the program did.
    fn end(&self) -> ! {
        let signal = match self.ended {
            Some(WaitStatus::Exited(_, code)) => exit(code),
            Some(WaitStatus::Signaled(_, signal, _)) => signal,
            _ => exit(RUNNER_GONE),
        };
        // The program's own memory is worth a dump, the keeper's is not.
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
        let mut this_one = SigSet::empty();
        this_one.add(signal);
        let _ = this_one.thread_unblock();
        // Twice: the first may only take the language's own handler away.
        let _ = raise(signal);
        let _ = raise(signal);
        exit(BY_SIGNAL + signal as i32)
    }
}
