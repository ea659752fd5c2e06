//! Keeps the log small where its entries are large.
//!
//! Raft makes a snapshot every so many entries and keeps so many behind it, whatever their size. With the
//! largest configs that would be 50 GiB of log, of which sled holds every row in memory. So here a
//! snapshot is also due when the log holds many bytes, and then all but the newest part of it goes.

use std::{sync::Arc, time::Duration};

use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::{MissedTickBehavior, interval};

use super::{core::Core, log_store::LogStore, types::TypeConfig};
use crate::model::Revision;

/// The log may hold so many bytes, or as many as the last snapshot: writing snapshots must not become most
/// of the work.
const BOUND: usize = 256 << 20;

/// How often the log is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What to do about the log's size.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// Too little of the log is covered by a snapshot.
    Snapshot,
    /// Drop everything up to here.
    Purge(Revision),
}

/// `keep_from` is where the newest part begins, a quarter of the bound; `covered` the last entry that a
/// snapshot holds.
fn step(bytes: usize, bound: usize, keep_from: Option<Revision>, covered: Option<Revision>) -> Step {
    let Some(last) = keep_from.and_then(|from| from.checked_sub(1)) else {
        return Step::Nothing;
    };
    if bytes <= bound {
        Step::Nothing
    } else if covered.is_some_and(|covered| covered >= last) {
        Step::Purge(last)
    } else {
        Step::Snapshot
    }
}

/// Looks after the log until raft ends.
pub(super) async fn run(core: Arc<Core>, log: LogStore<TypeConfig>) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let snapshot = core.snapshots.latest().map_or(0, |file| file.bytes());
        let bound = usize::try_from(snapshot).unwrap_or(usize::MAX).max(BOUND);
        let bytes = log.bytes();
        if bytes <= bound {
            continue;
        }
        let covered = {
            let metrics = core.raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.snapshot.as_ref().map(|id| id.index)
        };
        let done = match step(bytes, bound, log.newest(bound / 4), covered) {
            Step::Nothing => Ok(()),
            Step::Snapshot => core.raft.trigger().snapshot().await,
            Step::Purge(last) => core.raft.trigger().purge_log(last).await,
        };
        if done.is_err() {
            // Raft has ended, which others tell.
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_log_is_covered_by_a_snapshot_first_and_dropped_then() {
        assert_eq!(step(100, 100, Some(7), Some(9)), Step::Nothing);
        assert_eq!(step(101, 100, Some(7), None), Step::Snapshot);
        assert_eq!(step(101, 100, Some(7), Some(5)), Step::Snapshot);
        assert_eq!(step(101, 100, Some(7), Some(6)), Step::Purge(6));
        // One entry that is larger than all that is kept.
        assert_eq!(step(101, 100, Some(0), Some(6)), Step::Nothing);
        assert_eq!(step(101, 100, None, Some(6)), Step::Nothing);
    }
}
