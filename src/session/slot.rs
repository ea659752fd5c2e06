//! What the rest of a manager may do to a session: leave the latest word for it.
//!
//! A slot holds at most one word of each kind, the latest; nothing queues up behind a slow runner.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::assign::Seen;
use crate::model::{ContainerId, Revision, session::Assignment};

/// Why a manager ends a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    /// A later session of the same container is open, here or elsewhere.
    Replaced,
    /// The container was removed.
    Removed,
    /// The container was declared lost; a new session puts that right.
    Lost(String),
    /// This manager stops.
    Stopping,
}

/// Words for a session that have not been sent.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub list: Option<(Revision, Vec<Assignment>)>,
    pub counted: Option<u64>,
    pub over: Option<Over>,
}

/// One open session.
#[derive(Debug)]
pub(super) struct Slot {
    pub container: ContainerId,
    /// The runner's start.
    pub boot: u64,
    /// What the fan-out last saw of this container. Only the fan-out locks it for long.
    pub seen: Mutex<Seen>,
    words: Mutex<Words>,
    news: Notify,
}

impl Slot {
    pub(super) fn new(container: ContainerId, boot: u64) -> Self {
        Self {
            container,
            boot,
            seen: Mutex::default(),
            words: Mutex::default(),
            news: Notify::new(),
        }
    }

    /// A list of agents, in the place of an earlier one that was not sent yet.
    pub(super) fn list(&self, revision: Revision, agents: Vec<Assignment>) {
        self.words().list = Some((revision, agents));
        self.news.notify_one();
    }

    /// The leader has counted a heartbeat, and with it all before it.
    pub(super) fn counted(&self, seq: u64) {
        let mut words = self.words();
        words.counted = words.counted.max(Some(seq));
        self.news.notify_one();
    }

    /// Ends the session; the first reason counts.
    pub(super) fn end(&self, over: Over) {
        self.words().over.get_or_insert(over);
        self.news.notify_one();
    }

    /// Waits for words and takes them. Safe to cancel.
    pub(super) async fn take(&self) -> Words {
        self.news.notified().await;
        std::mem::take(&mut *self.words())
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        // Nothing panics while it is held, and each field stands alone.
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_latest_of_each_kind_is_kept() {
        let slot = Slot::new(ContainerId(1), 2);
        slot.list(5, Vec::new());
        slot.list(6, Vec::new());
        slot.counted(9);
        slot.counted(8);
        slot.end(Over::Removed);
        slot.end(Over::Replaced);
        let words = slot.take().await;
        assert_eq!(words.list, Some((6, Vec::new())));
        assert_eq!(words.counted, Some(9));
        assert_eq!(words.over, Some(Over::Removed));
        slot.counted(10);
        let words = slot.take().await;
        assert_eq!((words.list, words.counted, words.over), (None, Some(10), None));
    }
}
