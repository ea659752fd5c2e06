//! Tests of the log store as a whole. What they share stands here.

mod damage;
mod failures;
mod full;
mod memory;
mod reads;
mod scale;
mod steps;
mod suite;

use super::*;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use openraft::vote::leader_id_adv::LeaderId;
use openraft::{Entry, EntryPayload, Vote};
use std::sync::Mutex;

openraft::declare_raft_types!(
    /// Entries are strings.
    pub(super) TestConfig: D = String, R = ()
);

type TestStore = LogStore<TestConfig>;
type TestEntry = <TestConfig as RaftTypeConfig>::Entry;
type TestLogId = LogIdOf<TestConfig>;

fn id(term: u64, index: u64) -> TestLogId {
    LogId {
        leader_id: LeaderId { term, node_id: 1 },
        index,
    }
}

fn vote(term: u64) -> Vote<LeaderId<u64, u64>> {
    Vote {
        leader_id: LeaderId { term, node_id: 1 },
        committed: true,
    }
}

fn entry(term: u64, index: u64, bytes: usize) -> TestEntry {
    let text = format!("{index}:");
    let fill = bytes.saturating_sub(text.len());
    Entry {
        log_id: id(term, index),
        payload: EntryPayload::Normal(text + &"x".repeat(fill)),
    }
}

fn entries(term: u64, range: std::ops::Range<u64>, bytes: usize) -> Vec<TestEntry> {
    range.map(|index| entry(term, index, bytes)).collect()
}

/// Remembers what the hook was told.
#[derive(Clone, Default)]
struct Fatal(Arc<Mutex<Vec<String>>>);

impl Fatal {
    fn hook(&self) -> FatalHook {
        let told = Arc::clone(&self.0);
        Arc::new(move |why| told.lock().unwrap().push(why))
    }

    fn told(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A hook for tests in which nothing may fail.
fn no_fatal() -> FatalHook {
    Arc::new(|why| panic!("the log failed: {why}"))
}

fn open(dir: &Path) -> TestStore {
    TestStore::open(dir, no_fatal()).unwrap()
}

async fn read(store: &mut TestStore, range: std::ops::Range<u64>) -> Vec<TestEntry> {
    store.try_get_log_entries(range).await.unwrap()
}

impl Writer<TestConfig> {
    /// Does what waits, without waiting for more; then all background work, if asked to.
    fn run_waiting(&mut self, tidy: bool) {
        while self.turn_now() {}
        while tidy && self.should_tidy() {
            self.tidy_or_fail();
        }
    }
}
