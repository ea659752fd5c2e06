//! The adapter between raft and the pure state: applies entries, publishes, builds snapshots.
//!
//! Apply works on the state in place, a chunk of entries at a time. Versions for readers are made when
//! someone looks (see `Shared::published`), and an answer is given only after what it speaks of can be
//! seen.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
};

use super::{
    handle::Shared,
    runtime::blocking,
    snapshot_store::{SnapshotFile, SnapshotStore},
    types::{LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig},
};
use crate::{
    command::{Outcome, Reply},
    model::Revision,
    state::State,
};

/// Entries applied in one go: bounds how long a reader waits for the lock, and the first answer of a
/// large batch for its last.
const CHUNK: usize = 64;

/// The state as raft sees it.
#[derive(Debug)]
pub(super) struct StateMachine {
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
            applied: None,
            membership: StoredMembership::default(),
            shared,
            snapshots,
        };
        if let Some(file) = machine.snapshots.latest() {
            let meta = decode_meta(&file)?;
            machine.restore(&meta, read_state(&file)?);
            planted!(ApplySkipsAnEntryAfterRestart => machine.applied.iter_mut().for_each(|id| id.index += 1););
        }
        Ok(machine)
    }

    fn restore(&mut self, meta: &SnapshotMeta, state: State) {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        let mut current = self.shared.lock();
        *current = state;
        self.shared.publish(&current);
        self.announce(current.revision(), current.objects_revision());
    }

    /// Applies a chunk, lets others see it, and only then answers.
    fn apply_chunk(&mut self, chunk: &mut Vec<EntryResponder<TypeConfig>>) {
        if chunk.is_empty() {
            return;
        }
        failpoint!("apply");
        let mut answers: Vec<(ApplyResponder<TypeConfig>, Reply)> = Vec::with_capacity(chunk.len());
        let mut current = self.shared.lock();
        let objects = current.objects_revision();
        for (entry, responder) in chunk.drain(..) {
            let (revision, term) = (entry.log_id.index, entry.log_id.committed_leader_id().term);
            self.applied = Some(entry.log_id);
            let reply = match entry.payload {
                EntryPayload::Normal(proposal) => current.apply(revision, term, &proposal),
                EntryPayload::Blank => advance(&mut current, revision, term),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    advance(&mut current, revision, term)
                }
            };
            answers.extend(responder.map(|responder| (responder, reply)));
        }
        let (revision, changed) = (current.revision(), current.objects_revision());
        if changed != objects {
            self.shared.publish(&current);
        }
        drop(current);
        self.announce(revision, changed);
        failpoint!("applied");
        answers
            .into_iter()
            .for_each(|(responder, reply)| responder.send(reply));
    }

    fn announce(&self, revision: Revision, objects: Revision) {
        self.shared.revision.store(revision, Ordering::Release);
        self.shared.applied.send_replace(revision);
        self.shared
            .objects
            .send_if_modified(|known| std::mem::replace(known, objects) != objects);
    }
}

fn advance(state: &mut State, revision: Revision, term: u64) -> Reply {
    state.advance(revision, term);
    Reply {
        revision,
        replayed: false,
        result: Ok(Outcome::Done),
    }
}

/// Reads and decodes all of a snapshot; blocks.
pub(super) fn read_state(file: &SnapshotFile) -> io::Result<State> {
    State::read_from(file.reader()?).map_err(|error| {
        let why = std::error::Error::source(&error).map_or_else(String::new, |why| format!(": {why}"));
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a snapshot can't be used: {error}{why}"),
        )
    })
}

pub(super) fn decode_meta(file: &SnapshotFile) -> io::Result<SnapshotMeta> {
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
        let mut chunk = Vec::with_capacity(CHUNK);
        while let Some(next) = entries.next().await {
            match next {
                Ok(next) => chunk.push(next),
                Err(error) => {
                    self.apply_chunk(&mut chunk);
                    return Err(error);
                }
            }
            if chunk.len() == CHUNK {
                self.apply_chunk(&mut chunk);
            }
        }
        self.apply_chunk(&mut chunk);
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            state: self.shared.lock().clone(),
            meta: SnapshotMeta {
                last_log_id: self.applied,
                last_membership: if planted!(SnapshotWithoutMembership) {
                    StoredMembership::default()
                } else {
                    self.membership.clone()
                },
            },
            snapshots: self.snapshots.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        let read = blocking(move || read_state(&snapshot)).await;
        self.restore(meta, read??);
        failpoint!("snapshot-installed");
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
        blocking(write).await?
    }
}
