//! Kills a process that appends, again and again, and looks for entries it had acknowledged.
//!
//! The process is this test binary, told by an environment variable to be the appender. It prints each
//! index once its callback says that it is durable, and each vote once it is saved.

use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::vote::leader_id_adv::LeaderId;
use openraft::{Entry, EntryPayload, LogId, Vote};
use quorate::consensus::log_store::LogStore;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

openraft::declare_raft_types!(
    pub KillConfig: D = String, R = ()
);

type Store = LogStore<KillConfig>;

const DIR: &str = "QUORATE_TEST_APPEND_TO";
const ROUNDS: u64 = 50;

fn open(dir: &Path) -> Store {
    Store::open(dir, Arc::new(|why| panic!("the log failed: {why}"))).unwrap()
}

fn id(term: u64, index: u64) -> LogId<LeaderId<u64, u64>> {
    LogId {
        leader_id: LeaderId { term, node_id: 1 },
        index,
    }
}

fn entry(term: u64, index: u64) -> Entry<LeaderId<u64, u64>, EntryPayload<String, u64, openraft::BasicNode>> {
    // Now and then one that takes several rows.
    let bytes = if index.is_multiple_of(997) {
        250_000
    } else {
        50 + (index % 500) as usize
    };
    Entry {
        log_id: id(term, index),
        payload: EntryPayload::Normal("y".repeat(bytes)),
    }
}

/// The term of an entry, unless it was purged: after a truncation the end may lie where the purge of an
/// earlier life had not come yet.
async fn term_of(store: &mut Store, index: u64) -> Option<u64> {
    let found = store.try_get_log_entries(index..=index).await.unwrap();
    found.first().map(|entry| entry.log_id.leader_id.term)
}

/// Not a test of its own: the process that is killed. It never ends by itself.
#[tokio::test]
async fn child_appender() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let mut store = open(Path::new(&dir));
    let term = store
        .read_vote()
        .await
        .unwrap()
        .map_or(1, |vote| vote.leader_id.term + 1);
    let vote = Vote {
        leader_id: LeaderId { term, node_id: 1 },
        committed: true,
    };
    store.save_vote(&vote).await.unwrap();
    println!("vote {term}");
    let mut next = store
        .get_log_state()
        .await
        .unwrap()
        .last_log_id
        .map_or(0, |id| id.index + 1);
    if next > 20 {
        // As a new leader would.
        next -= term % 20;
        let last = id(
            term_of(&mut store, next - 1).await.expect("it was not purged"),
            next - 1,
        );
        println!("cut {next}");
        store.truncate_after(Some(last)).await.unwrap();
    }
    println!("from {next}");
    // Bounded, or the queue would outrun the disk.
    let (submitted, mut waiting) = tokio::sync::mpsc::channel(64);
    let append = async move {
        loop {
            let count = 1 + next % 40;
            let (done, told) = KillConfig::oneshot();
            let batch: Vec<_> = (next..next + count).map(|index| entry(term, index)).collect();
            store.append(batch, IOFlushed::signal(done)).await.unwrap();
            next += count;
            submitted.send((next - 1, told)).await.unwrap();
            if next.is_multiple_of(11) && next > 3000 {
                let upto = next - 2500;
                if let Some(term) = term_of(&mut store, upto).await {
                    store.purge(id(term, upto)).await.unwrap();
                }
            }
        }
    };
    let report = async move {
        while let Some((index, told)) = waiting.recv().await {
            let durable: Result<(), std::io::Error> = told.await.unwrap();
            durable.unwrap();
            println!("durable {index}");
        }
    };
    let _: ((), ()) = tokio::join!(report, append);
}

/// What the process has promised.
#[derive(Default)]
struct Promised {
    vote: u64,
    /// One past the last durable index.
    end: u64,
    /// The term of the entries from an index on.
    terms: BTreeMap<u64, u64>,
    lines: u64,
}

impl Promised {
    fn line(&mut self, line: &str) {
        let Some((word, number)) = line.split_once(' ') else {
            return;
        };
        let Ok(number) = number.parse::<u64>() else { return };
        match word {
            "vote" => self.vote = number,
            "cut" => self.end = self.end.min(number),
            "from" => {
                self.terms.split_off(&number);
                self.terms.insert(number, self.vote);
            }
            "durable" => self.end = self.end.max(number + 1),
            _ => return,
        }
        self.lines += 1;
    }

    async fn check(&self, dir: &Path, round: u64) {
        let mut store = open(dir);
        let vote = store
            .read_vote()
            .await
            .unwrap()
            .map_or(0, |vote| vote.leader_id.term);
        assert!(
            vote >= self.vote,
            "round {round}: vote {vote} came back, {} was saved",
            self.vote
        );
        let state = store.get_log_state().await.unwrap();
        let start = state.last_purged_log_id.map_or(0, |id| id.index + 1);
        let end = state.last_log_id.map_or(0, |id| id.index + 1);
        assert!(
            end >= self.end,
            "round {round}: {} entries were acknowledged, {end} are there",
            self.end
        );
        let log = store.try_get_log_entries(..).await.unwrap();
        assert_eq!(log.len() as u64, end - start, "round {round}");
        for (index, found) in (start..end).zip(log) {
            let term = found.log_id.leader_id.term;
            assert_eq!(found, entry(term, index), "round {round}");
            if index < self.end {
                let promised = self.terms.range(..=index).next_back().map(|(_, term)| *term);
                assert_eq!(
                    Some(term),
                    promised,
                    "round {round}: entry {index} is another one"
                );
            }
        }
        store.close().await;
    }
}

fn spawn(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_appender", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    if std::env::var_os(DIR).is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut promised = Promised::default();
    let mut durable = 0;
    for round in 0..ROUNDS {
        let mut child = spawn(dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // From the middle of the open to the middle of a purge.
        let wanted = round * 37 % 200;
        if wanted == 0 {
            std::thread::sleep(Duration::from_millis(round % 40));
        }
        let until = promised.lines + wanted;
        while promised.lines < until {
            promised.line(&lines.next().expect("the appender ended by itself").unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died counts too.
        lines.for_each(|line| promised.line(&line.unwrap()));
        promised.check(dir.path(), round).await;
        durable = durable.max(promised.end);
    }
    assert!(
        durable > 10_000,
        "only {durable} entries in all rounds: nothing was proven"
    );
}
