//! What readers, the store's front and the writer share.

use super::disk::LogDisk;
use super::index::Index;
use super::tail::{Tail, TailLimits};
use super::{LogIdOf, VoteOf};
use openraft::RaftTypeConfig;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Called once, with the reason, when the log cannot go on.
pub type FatalHook = Arc<dyn Fn(String) + Send + Sync>;

/// The log as the next read must see it, whatever is still on its way to the disk.
pub(super) struct View<C: RaftTypeConfig> {
    /// The last vote that is durable.
    pub vote: Option<VoteOf<C>>,
    pub committed: Option<LogIdOf<C>>,
    pub purged: Option<LogIdOf<C>>,
    /// The last log id; the purged one if the log is empty.
    pub last: Option<LogIdOf<C>>,
    /// Where a log began whose first append was not at index 0. Raft does not do that, but openraft's
    /// test suite does; [`load`](super::load) takes such a log for a damaged one.
    pub origin: u64,
    pub tail: Tail<C>,
    /// Only the writer changes it. It may lag behind `last` and `purged`; readers clamp by those.
    pub index: Index,
    /// Set once; nothing is accepted afterwards.
    pub stopped: Option<Stop>,
}

/// Why the store accepts nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    Closed,
    Failed(io::ErrorKind, String),
}

impl Stop {
    pub fn error(&self) -> io::Error {
        match self {
            Self::Closed => io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed"),
            Self::Failed(kind, why) => io::Error::new(*kind, format!("the log failed: {why}")),
        }
    }
}

impl<C: RaftTypeConfig> View<C> {
    pub fn empty(limits: TailLimits) -> Self {
        Self {
            vote: None,
            committed: None,
            purged: None,
            last: None,
            origin: 0,
            tail: Tail::new(limits),
            index: Index::default(),
            stopped: None,
        }
    }

    /// The first index that is not purged.
    pub fn start(&self) -> u64 {
        self.purged.as_ref().map_or(self.origin, |id| id.index + 1)
    }

    /// One past the last index.
    pub fn end(&self) -> u64 {
        self.last.as_ref().map_or(0, |id| id.index + 1)
    }

    /// An error after a failure; closing is not one.
    pub fn check_not_failed(&self) -> io::Result<()> {
        match &self.stopped {
            Some(stop @ Stop::Failed(..)) => Err(stop.error()),
            _ => Ok(()),
        }
    }

    /// An error after a failure or close.
    pub fn check_running(&self) -> io::Result<()> {
        self.stopped.as_ref().map_or(Ok(()), |stop| Err(stop.error()))
    }
}

/// Lock order: `disk` before `view`; nothing blocks while `view` is held.
pub(super) struct Shared<C: RaftTypeConfig> {
    view: Mutex<View<C>>,
    /// Readers hold it shared from the look into the index until the rows are read; the writer holds
    /// it exclusively while it moves entries between rows (truncate, drop, merge), so that no reader
    /// finds a row gone that the index named. Adding rows needs no lock. `None` after close.
    pub disk: RwLock<Option<Arc<dyn LogDisk>>>,
    fatal: FatalHook,
}

impl<C: RaftTypeConfig> Shared<C> {
    pub fn new(view: View<C>, disk: Arc<dyn LogDisk>, fatal: FatalHook) -> Self {
        Self {
            view: Mutex::new(view),
            disk: RwLock::new(Some(disk)),
            fatal,
        }
    }

    pub fn view(&self) -> MutexGuard<'_, View<C>> {
        // No code that holds the guard can panic between two changes that belong together.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the store and calls the hook, both only the first time. Returns the error to report.
    pub fn fail(&self, what: &str, error: &io::Error) -> io::Error {
        let why = format!("{what}: {error}");
        let (stop, first) = {
            let mut view = self.view();
            let first = !matches!(view.stopped, Some(Stop::Failed(..)));
            if first {
                view.stopped = Some(Stop::Failed(error.kind(), why.clone()));
            }
            (view.stopped.clone(), first)
        };
        if first {
            tracing::error!(%why, "the log cannot go on");
            (self.fatal)(why);
        }
        stop.unwrap_or(Stop::Closed).error()
    }
}
