//! openraft's traits, on the store.

use super::read::Limit;
use super::writer::{Done, Work};
use super::{LogIdOf, LogStore, VoteOf, entry_index, entry_log_id};
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use openraft::errors::LeaderChanged;
use openraft::storage::{
    IOFlushed, LeaderBoundedStreamError, LeaderBoundedStreamResult, LogState, RaftLogReader, RaftLogStorage,
};
use openraft::vote::RaftVote;
use openraft::{OptionalSend, RaftTypeConfig};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use tokio::sync::oneshot;

/// How much is read from rows at once, in encoded bytes.
const PIECE: usize = 1 << 20;

fn to_range(range: impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl<C: RaftTypeConfig> LogStore<C>
where
    C::Entry: Clone,
{
    /// Reads a piece of `range` for a leader; `None` at its end.
    fn read_as_leader(
        &self,
        leader: &C::LeaderId,
        range: Range<u64>,
    ) -> Result<Option<Vec<C::Entry>>, LeaderBoundedStreamError<C>> {
        self.check_leader(leader)?;
        let entries = self.shared.read(range, Limit::Bytes(PIECE))?;
        // Between the two looks the log may have been truncated by another leader.
        self.check_leader(leader)?;
        Ok((!entries.is_empty()).then_some(entries))
    }

    fn check_leader(&self, leader: &C::LeaderId) -> Result<(), LeaderChanged<C>> {
        let vote = self.shared.view().vote.clone();
        match vote {
            Some(vote) if vote.leader_id() == leader && vote.is_committed() => Ok(()),
            vote => Err(LeaderChanged::new(leader.clone(), vote)),
        }
    }
}

impl<C: RaftTypeConfig> RaftLogReader<C> for LogStore<C>
where
    C::Entry: Clone,
{
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<C::Entry>, io::Error> {
        self.shared.read(to_range(range), Limit::None)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<C::Entry>, io::Error> {
        self.shared.read(start..end, Limit::Bytes(PIECE))
    }

    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: C::LeaderId,
        range: RB,
    ) -> impl Stream<Item = LeaderBoundedStreamResult<C>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let range = to_range(range);
        let store = self.clone();
        // A follower far behind is served from rows piece by piece, not all at once.
        stream::try_unfold((store, leader, range), |(store, leader, range)| async move {
            if range.is_empty() {
                return Ok::<_, LeaderBoundedStreamError<C>>(None);
            }
            let Some(entries) = store.read_as_leader(&leader, range.clone())? else {
                return Ok(None);
            };
            let next = entries
                .last()
                .map_or(range.end, |last| entry_index::<C>(last) + 1);
            let entries = stream::iter(entries.into_iter().map(Ok));
            Ok(Some((entries, (store, leader, next..range.end))))
        })
        .try_flatten()
        .boxed()
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<C>>, io::Error> {
        Ok(self.shared.view().vote.clone())
    }
}

impl<C: RaftTypeConfig> RaftLogStorage<C> for LogStore<C>
where
    C::Entry: Clone,
{
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<C>, io::Error> {
        let view = self.shared.view();
        Ok(LogState {
            last_purged_log_id: view.purged.clone(),
            last_log_id: view.last.clone(),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<C>) -> Result<(), io::Error> {
        let (answer, done) = oneshot::channel();
        self.submit(Work::Vote(vote.clone()), Done::Caller(answer))?;
        done.await.map_err(|_| super::shared::Stop::Closed.error())?
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        self.shared.view().committed.clone_from(&committed);
        self.submit(Work::Committed(committed), Done::Nobody)
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<C>>, io::Error> {
        Ok(self.shared.view().committed.clone())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Arc<Vec<C::Entry>> = Arc::new(entries.into_iter().collect());
        // The queue's order must be the view's order, so it is filled under the view's lock.
        let mut view = self.shared.view();
        view.check_running()?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            // Nothing to write, but it is completed in its turn.
            return self.submit(Work::Mark, Done::Raft(callback));
        };
        let first = entry_index::<C>(first);
        if view.last.is_some() && first != view.end() {
            let hole = format!(
                "entries from {first} on do not continue a log that ends before {}",
                view.end()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, hole));
        }
        if view.last.is_none() {
            view.origin = first;
        }
        view.last = Some(entry_log_id::<C>(last));
        let batch = view.tail.push(first, Arc::clone(&entries));
        failpoint!("append");
        planted!(AcknowledgedBeforeLocalSync => {
            callback.io_completed(Ok(()));
            return self.submit(Work::Append { batch, first, entries }, Done::Nobody);
        });
        self.submit(
            Work::Append {
                batch,
                first,
                entries,
            },
            Done::Raft(callback),
        )
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        let mut view = self.shared.view();
        view.check_running()?;
        let end = last.as_ref().map_or(0, |id| id.index + 1);
        if end >= view.end() {
            return Ok(());
        }
        view.tail.truncate(end);
        view.last = last.clone().or_else(|| view.purged.clone());
        self.submit(Work::Truncate(last), Done::Nobody)
    }

    async fn purge(&mut self, id: LogIdOf<C>) -> Result<(), io::Error> {
        let mut view = self.shared.view();
        view.check_running()?;
        if view
            .purged
            .as_ref()
            .is_some_and(|purged| purged.index >= id.index)
        {
            return Ok(());
        }
        let id = if planted!(PurgeTooEarly) {
            view.committed.clone().unwrap_or(id)
        } else {
            id
        };
        view.tail.purge(id.index);
        view.purged = Some(id.clone());
        if view.last.as_ref().is_none_or(|last| last.index < id.index) {
            view.last = Some(id.clone());
        }
        self.submit(Work::Purge(id), Done::Nobody)
    }
}
