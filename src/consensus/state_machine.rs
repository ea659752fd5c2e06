//! The adapter between raft and the pure state: applies entries, publishes, builds snapshots.
//!
//! Apply mutates a private copy and publishes it once a batch: readers see only whole batches, and
//! an answer is given only after what it speaks of is published.

use std::{
    io::{self, Read},
    sync::Arc,
};

use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
};

use super::{
    handle::Shared,
    snapshot_store::{SnapshotFile, SnapshotStore},
    types::{LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig},
};
use crate::{
    command::{Outcome, Reply},
    state::State,
};

/// Entries between two publications: bounds how long the first answer of a large batch waits.
const PUBLISH_EVERY: usize = 512;

/// The state as raft sees it.
#[derive(Debug)]
pub(super) struct StateMachine {
    state: State,
    applied: Option<LogId>,
    membership: StoredMembership,
    shared: Arc<Shared>,
    snapshots: Arc<SnapshotStore>,
}

impl StateMachine {
    /// Starts from the latest snapshot, or from nothing.
    ///
    /// # Errors
    /// When the latest snapshot can't be read or is damaged: this manager must not go on.
    pub fn open(shared: Arc<Shared>, snapshots: Arc<SnapshotStore>) -> io::Result<Self> {
        let mut machine = Self {
            state: State::default(),
            applied: None,
            membership: StoredMembership::default(),
            shared,
            snapshots,
        };
        if let Some(file) = machine.snapshots.latest() {
            let meta = decode_meta(&file)?;
            machine.restore(&meta, read_state(&file)?);
        }
        Ok(machine)
    }

    fn restore(&mut self, meta: &SnapshotMeta, state: State) {
        self.state = state;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.publish();
    }

    fn publish(&self) {
        self.shared.published.store(Arc::new(self.state.clone()));
        self.shared.applied.send_replace(self.state.revision());
    }
}

/// Reads and decodes all of a snapshot; blocks.
fn read_state(file: &SnapshotFile) -> io::Result<State> {
    let mut payload = Vec::with_capacity(usize::try_from(file.bytes()).unwrap_or(0));
    file.reader()?.read_to_end(&mut payload)?;
    State::read_from(&payload).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a snapshot does not decode: {error}"),
        )
    })
}

fn decode_meta(file: &SnapshotFile) -> io::Result<SnapshotMeta> {
    postcard::from_bytes(file.meta()).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a snapshot's head does not decode: {error}"),
        )
    })
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut answers: Vec<(ApplyResponder<TypeConfig>, Reply)> = Vec::new();
        let mut unpublished = 0;
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let (revision, term) = (entry.log_id.index, entry.log_id.committed_leader_id().term);
            self.applied = Some(entry.log_id);
            let reply = match &entry.payload {
                EntryPayload::Normal(proposal) => self.state.apply(revision, term, proposal),
                EntryPayload::Blank => self.advance(revision, term),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                    self.advance(revision, term)
                }
            };
            answers.extend(responder.map(|responder| (responder, reply)));
            unpublished += 1;
            if unpublished == PUBLISH_EVERY {
                self.publish();
                unpublished = 0;
                answers
                    .drain(..)
                    .for_each(|(responder, reply)| responder.send(reply));
            }
        }
        self.publish();
        answers
            .drain(..)
            .for_each(|(responder, reply)| responder.send(reply));
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            state: self.state.clone(),
            meta: SnapshotMeta {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
            },
            snapshots: self.snapshots.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        let read = tokio::task::spawn_blocking(move || read_state(&snapshot)).await;
        self.restore(meta, read.map_err(io::Error::other)??);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let Some(file) = self.snapshots.latest() else {
            return Ok(None);
        };
        Ok(Some(Snapshot {
            meta: decode_meta(&file)?,
            snapshot: file,
        }))
    }
}

impl StateMachine {
    fn advance(&mut self, revision: u64, term: u64) -> Reply {
        self.state.advance(revision, term);
        Reply {
            revision,
            replayed: false,
            result: Ok(Outcome::Done),
        }
    }
}

/// Writes one version of the state to a file, beside apply.
#[derive(Debug)]
pub(super) struct Builder {
    state: State,
    meta: SnapshotMeta,
    snapshots: Arc<SnapshotStore>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let (state, meta, snapshots) = (self.state.clone(), self.meta.clone(), self.snapshots.clone());
        let write = move || {
            let head = postcard::to_stdvec(&meta).map_err(io::Error::other)?;
            let file = snapshots
                .write(state.revision(), &head, |out| state.write_to(out))
                .map_err(io::Error::other)?;
            Ok(Snapshot { meta, snapshot: file })
        };
        tokio::task::spawn_blocking(write)
            .await
            .map_err(io::Error::other)?
    }
}
