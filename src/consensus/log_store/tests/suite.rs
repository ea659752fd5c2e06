//! openraft's own test suite, with the smallest state machine that satisfies it.

use super::*;
use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot, SnapshotMeta};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, StorageError, StoredMembership};
use tempfile::TempDir;

type Clid = LeaderId<u64, u64>;
type Meta = SnapshotMeta<Clid, u64, openraft::BasicNode>;
type TestSnapshot = Snapshot<Clid, u64, openraft::BasicNode, ()>;

/// Knows only how far it has come.
#[derive(Clone, Default)]
struct Applied {
    meta: Meta,
    snapshot: Arc<Mutex<Option<Meta>>>,
}

impl RaftSnapshotBuilder<TestConfig> for Applied {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<TestSnapshot> {
        *self.snapshot.lock().unwrap() = Some(self.meta.clone());
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot: (),
        })
    }
}

impl RaftStateMachine<TestConfig> for Applied {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(
        Option<TestLogId>,
        StoredMembership<Clid, u64, openraft::BasicNode>,
    )> {
        Ok((self.meta.last_log_id, self.meta.last_membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TestConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.meta.last_log_id = Some(entry.log_id);
            if let EntryPayload::Membership(members) = entry.payload {
                self.meta.last_membership = StoredMembership::new(Some(entry.log_id), members);
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &Meta, (): ()) -> io::Result<()> {
        self.meta = meta.clone();
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<TestSnapshot>> {
        Ok(self
            .snapshot
            .lock()
            .unwrap()
            .clone()
            .map(|meta| Snapshot { meta, snapshot: () }))
    }
}

struct Builder;

impl StoreBuilder<TestConfig, TestStore, Applied, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, TestStore, Applied), StorageError<TestConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        Ok((dir, store, Applied::default()))
    }
}

#[tokio::test]
async fn openrafts_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}
