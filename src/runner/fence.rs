//! Ends exclusive agents when their lease does, on a thread of its own.
//!
//! The runtime's workers may be held up, by a file system for one, and then no task notices that the
//! lease has ended. This thread waits for nothing but the end of the lease, and touches no file.
//! Agents' tasks notice the same end on their own and wait for the processes to be gone. And where this
//! whole process stands still, each agent's keeper holds it to the same end ([`super::deadline`]).

use std::{
    collections::BTreeSet,
    io,
    process::Stdio,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use super::{deadline::Deadline, process::kill_all};

/// Cheap to clone; its thread ends with the last clone.
#[derive(Debug, Clone)]
pub(super) struct Fence(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    /// The same end, for the keepers.
    deadline: Deadline,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Until when exclusive agents may act, if they may.
    until: Option<Instant>,
    /// The keepers of those that run.
    keepers: BTreeSet<i32>,
    closed: bool,
}

impl Shared {
    /// Held for a few instructions and signals only, never while a process is started or waited for.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    fn watch(&self) {
        let mut state = self.lock();
        while !state.closed {
            let left = state
                .until
                .map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_none_or(|left| left.is_zero()) {
                for keeper in std::mem::take(&mut state.keepers) {
                    kill_all(keeper);
                }
            }
            // Without anybody to kill it waits for a change.
            let waited = match left.filter(|_| !state.keepers.is_empty()) {
                Some(left) => self
                    .changed
                    .wait_timeout(state, left)
                    .map(|(state, _)| state)
                    .ok(),
                None => self.changed.wait(state).ok(),
            };
            state = waited.unwrap_or_else(|| self.lock());
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.change(|state| state.closed = true);
    }
}

impl Fence {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread or memory to give.
    pub(super) fn start() -> io::Result<Self> {
        let deadline = Deadline::new()?;
        let shared = Arc::new(Shared::default());
        let watched = shared.clone();
        thread::Builder::new()
            .name("fence".into())
            .spawn(move || watched.watch())?;
        Ok(Self(Arc::new(Handle { shared, deadline })))
    }

    /// Exclusive agents may act until then, or may not.
    pub(super) fn set(&self, until: Option<Instant>) {
        self.0.deadline.set(until);
        self.0.shared.change(|state| state.until = until);
    }

    /// Where a keeper reads the end of the lease: its standard input.
    ///
    /// # Errors
    /// When this process has too many files open.
    pub(super) fn for_keeper(&self) -> io::Result<Stdio> {
        self.0.deadline.for_keeper()
    }

    /// Ends this keeper's agent with the lease, or at once if there is none, until the post is dropped.
    pub(super) fn guard(&self, keeper: i32) -> Post {
        self.0.shared.change(|state| {
            state.keepers.insert(keeper);
        });
        Post {
            shared: self.0.shared.clone(),
            keeper,
        }
    }
}

/// One agent under guard.
#[derive(Debug)]
pub(super) struct Post {
    shared: Arc<Shared>,
    keeper: i32,
}

impl Drop for Post {
    fn drop(&mut self) {
        self.shared.lock().keepers.remove(&self.keeper);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::{CommandExt, ExitStatusExt},
        process::{Child, Command},
        time::Duration,
    };

    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };

    use super::*;

    fn sleeper() -> (Child, i32) {
        let child = Command::new("sleep")
            .arg("1000")
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        (child, pid)
    }

    #[test]
    fn it_needs_no_runtime_to_end_what_a_lease_no_longer_covers() {
        let fence = Fence::start().unwrap();
        let ((mut one, first), (mut two, second)) = (sleeper(), sleeper());
        fence.set(Some(Instant::now() + Duration::from_secs(60)));
        let _post = fence.guard(first);
        drop(fence.guard(second));
        let begin = Instant::now();
        fence.set(Some(begin + Duration::from_millis(200)));
        assert_eq!(one.wait().unwrap().signal(), Some(9));
        assert!(begin.elapsed() >= Duration::from_millis(200));
        // All of a pass end under its lock, and the first signal counts.
        drop(fence.0.shared.lock());
        kill(Pid::from_raw(second), Signal::SIGTERM).unwrap();
        assert_eq!(
            two.wait().unwrap().signal(),
            Some(15),
            "it was not under guard any more"
        );
        // What starts too late ends at once.
        let (mut three, third) = sleeper();
        let _post = fence.guard(third);
        assert_eq!(three.wait().unwrap().signal(), Some(9));
    }
}
