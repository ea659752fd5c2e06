//! Dies at every step of a long script, loses every amount of what was not synced, and opens again.

use super::memory::MemoryDisk;
use super::*;
use openraft::storage::IOFlushed;
use openraft::type_config::TypeConfigExt;

/// What the log must show, apart from what is in memory only.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    vote: u64,
    purged: Option<u64>,
    /// Index, term and size of each entry behind the purged one.
    entries: Vec<(u64, u64, usize)>,
}

#[derive(Clone, Copy, Debug)]
enum Do {
    Vote(u64),
    /// Term, count, bytes each.
    Append(u64, u64, usize),
    /// The index that stays last.
    Truncate(u64),
    Purge(u64),
    Commit(u64),
    Mark,
    Tidy,
}

/// Small and full rows, split entries, truncation in the middle of a row, at a row's border and away
/// from a split entry, purges inside a row, over rows and beyond the end, merges.
const SCRIPT: &[Do] = &[
    Do::Vote(1),
    Do::Append(1, 3, 10),
    Do::Append(1, 300, 10),
    Do::Mark,
    Do::Append(1, 2, 250_000),
    Do::Commit(90),
    Do::Vote(2),
    Do::Truncate(303),
    Do::Append(2, 2, 10),
    Do::Truncate(100),
    Do::Append(2, 200, 600),
    Do::Commit(300),
    Do::Mark,
    Do::Purge(50),
    Do::Tidy,
    Do::Append(2, 1, 150_000),
    Do::Truncate(300),
    Do::Purge(270),
    Do::Tidy,
    Do::Append(3, 1, 90_000),
    Do::Append(3, 1, 90_000),
    Do::Vote(4),
    Do::Append(4, 1, 10),
    Do::Append(4, 1, 10),
    Do::Append(4, 1, 99_990),
    Do::Tidy,
    Do::Tidy,
    Do::Commit(304),
    Do::Purge(400),
    Do::Append(5, 2, 10),
    Do::Mark,
];

impl Model {
    fn last(&self) -> Option<u64> {
        self.entries.last().map(|(index, ..)| *index).or(self.purged)
    }

    /// The states this step may leave on disk, the complete one last.
    fn after(&self, step: Do) -> Vec<Model> {
        let mut next = self.clone();
        match step {
            Do::Vote(term) => next.vote = term,
            Do::Append(term, count, bytes) => {
                let first = self.last().map_or(0, |last| last + 1);
                return (1..=count)
                    .map(|_| {
                        let index = first + (next.entries.len() - self.entries.len()) as u64;
                        next.entries.push((index, term, bytes));
                        next.clone()
                    })
                    .collect();
            }
            Do::Truncate(last) => next.entries.retain(|(index, ..)| *index <= last),
            Do::Purge(upto) => {
                next.entries.retain(|(index, ..)| *index > upto);
                next.purged = Some(upto);
            }
            Do::Commit(_) | Do::Mark | Do::Tidy => {}
        }
        vec![next]
    }
}

fn purged_id(index: u64) -> TestLogId {
    id(1, index)
}

/// Runs the script, a turn after every `pace` steps, until the disk dies. Returns how many steps were
/// acknowledged or need no acknowledgement before one that was.
async fn run(disk: &Arc<MemoryDisk>, pace: usize) -> usize {
    let fatal = Fatal::default();
    let Ok((mut store, mut writer)) = TestStore::on_disk(disk.clone(), TailLimits::default(), fatal.hook())
    else {
        return 0;
    };
    let mut model = Model::default();
    let (mut acknowledged, mut waiting) = (0, Vec::new());
    for (n, step) in SCRIPT.iter().enumerate() {
        match *step {
            Do::Vote(term) => {
                let vote = vote(term);
                let (saved, _) =
                    tokio::join!(store.save_vote(&vote), writer.turn_async(std::future::ready(())));
                if saved.is_ok() {
                    acknowledged = n + 1;
                }
            }
            Do::Append(term, count, bytes) => {
                let first = model.last().map_or(0, |last| last + 1);
                let (done, told) = TestConfig::oneshot();
                let batch = entries(term, first..first + count, bytes);
                if store.append(batch, IOFlushed::signal(done)).await.is_ok() {
                    waiting.push((n + 1, told));
                }
            }
            Do::Truncate(last) => {
                let (_, term, _) = model.entries.iter().find(|(index, ..)| *index == last).unwrap();
                let _ = store.truncate_after(Some(id(*term, last))).await;
            }
            Do::Purge(upto) => drop(store.purge(purged_id(upto)).await),
            Do::Commit(upto) => drop(store.save_committed(Some(id(1, upto))).await),
            Do::Mark => store.refresh_watermark(),
            Do::Tidy => {}
        }
        model = model.after(*step).pop().unwrap();
        let tidy = matches!(step, Do::Tidy);
        if tidy || n % pace == pace - 1 {
            writer.run_waiting(tidy);
        }
    }
    writer.run_waiting(true);
    for (n, mut told) in waiting {
        if matches!(told.try_recv(), Ok(Ok(()))) {
            acknowledged = acknowledged.max(n);
        }
    }
    assert_eq!(
        disk.calls_after_death(),
        0,
        "the disk was used again after it failed"
    );
    if disk.dead() {
        assert_eq!(fatal.told().len(), 1);
    } else {
        assert_eq!(fatal.told(), Vec::<String>::new());
        assert_eq!(acknowledged, SCRIPT.len() - 1);
    }
    acknowledged
}

async fn observe(disk: Arc<MemoryDisk>) -> Model {
    let (mut store, _writer) = TestStore::on_disk(disk, TailLimits::default(), no_fatal()).unwrap();
    let log = store.try_get_log_entries(..).await.unwrap();
    let state = store.get_log_state().await.unwrap();
    let model = Model {
        vote: store
            .read_vote()
            .await
            .unwrap()
            .map_or(0, |vote| vote.leader_id.term),
        purged: state.last_purged_log_id.map(|id| id.index),
        entries: log
            .iter()
            .map(|entry| {
                let EntryPayload::Normal(text) = &entry.payload else {
                    panic!("another payload")
                };
                assert_eq!(
                    *entry,
                    super::entry(entry.log_id.leader_id.term, entry.log_id.index, text.len())
                );
                (entry.log_id.index, entry.log_id.leader_id.term, text.len())
            })
            .collect(),
    };
    assert_eq!(state.last_log_id.map(|id| id.index), model.last());
    model
}

/// After a crash the log must be in a state of the script at or behind the last acknowledged step.
async fn check_every_crash(pace: usize) {
    let whole = Arc::new(MemoryDisk::default());
    run(&whole, pace).await;
    let mut states = vec![vec![Model::default()]];
    for step in SCRIPT {
        let before = states.last().and_then(|states| states.last()).unwrap();
        states.push(before.after(*step));
    }
    assert!(
        whole.steps() > 40,
        "the script has become too short to prove anything"
    );
    for dies_at in 0..=whole.steps() {
        let disk = MemoryDisk::dying_at(dies_at);
        let acknowledged = run(&disk, pace).await;
        for keep in 0..=disk.unsynced() {
            let found = observe(disk.after_power_cut(keep)).await;
            let complete = states[acknowledged].last().unwrap();
            let allowed =
                found == *complete || states[acknowledged + 1..].iter().flatten().any(|s| *s == found);
            assert!(
                allowed,
                "died at step {dies_at}, kept {keep} unsynced calls, {acknowledged} steps acknowledged: \
                 vote {}, purged {:?}, last {:?}",
                found.vote,
                found.purged,
                found.last()
            );
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_step_loses_nothing_acknowledged_with_a_turn_a_step() {
    check_every_crash(1).await;
}

#[tokio::test]
async fn a_crash_at_any_step_loses_nothing_acknowledged_with_shared_turns() {
    check_every_crash(4).await;
}

/// A database that was rolled back (a cut file, a damaged segment) is refused as soon as a vote is
/// missing, or an entry that was there when the watermark was brought up to date.
#[tokio::test]
async fn rows_rolled_back_behind_the_watermark_are_refused() {
    let disk = Arc::new(MemoryDisk::default());
    let (mut store, mut writer) =
        TestStore::on_disk(disk.clone(), TailLimits::default(), no_fatal()).unwrap();
    let mut rows = vec![disk.rows()];
    for term in 1..4 {
        let vote = vote(term);
        let (saved, _) = tokio::join!(store.save_vote(&vote), writer.turn_async(std::future::ready(())));
        saved.unwrap();
        rows.push(disk.rows());
    }
    for rolled_back in &rows[..3] {
        let found = TestStore::on_disk(disk.with_rows(rolled_back), TailLimits::default(), no_fatal());
        assert!(matches!(
            found,
            Err(LoadError::Damage(Damage::LostVote { durable: 3, .. }))
        ));
    }

    let mut rows = vec![disk.rows()];
    for first in [0, 10, 20] {
        store
            .append(entries(1, first..first + 10, 10), IOFlushed::noop())
            .await
            .unwrap();
        writer.run_waiting(false);
        rows.push(disk.rows());
    }
    store.refresh_watermark();
    writer.run_waiting(false);
    for rolled_back in &rows[..3] {
        let found = TestStore::on_disk(disk.with_rows(rolled_back), TailLimits::default(), no_fatal());
        assert!(matches!(
            found,
            Err(LoadError::Damage(Damage::LostTail { durable: 29, .. }))
        ));
    }

    // Now the same indexes by another leader: losing them brings back a log of the same length.
    store.truncate_after(Some(id(1, 9))).await.unwrap();
    store
        .append(entries(2, 10..30, 10), IOFlushed::noop())
        .await
        .unwrap();
    writer.run_waiting(false);
    store.refresh_watermark();
    writer.run_waiting(false);
    let found = TestStore::on_disk(disk.with_rows(&rows[3]), TailLimits::default(), no_fatal());
    assert!(matches!(found, Err(LoadError::Damage(Damage::ChangedEntry(29)))));
    drop(TestStore::on_disk(disk.with_rows(&disk.rows()), TailLimits::default(), no_fatal()).unwrap());
}

/// Each row alone is intact in all of these; only together they are not a log.
#[tokio::test]
async fn rows_that_do_not_belong_together_are_refused() {
    let disk = Arc::new(MemoryDisk::default());
    let (mut store, mut writer) =
        TestStore::on_disk(disk.clone(), TailLimits::default(), no_fatal()).unwrap();
    for (term, first, last) in [(1, 0, 10), (1, 10, 20), (1, 20, 30)] {
        store
            .append(entries(term, first..last, 10), IOFlushed::noop())
            .await
            .unwrap();
        writer.run_waiting(false);
    }
    let old = disk.rows();
    store.truncate_after(Some(id(1, 9))).await.unwrap();
    for (first, count, bytes) in [(10, 10, 10), (20, 1, 250_000), (21, 10, 10)] {
        store
            .append(entries(2, first..first + count, bytes), IOFlushed::noop())
            .await
            .unwrap();
        writer.run_waiting(false);
    }
    let good = disk.rows();
    let refused = |change: &dyn Fn(&mut memory::Rows)| {
        let mut rows = good.clone();
        change(&mut rows);
        match TestStore::on_disk(disk.with_rows(&rows), TailLimits::default(), no_fatal()) {
            Err(LoadError::Damage(damage)) => damage,
            Err(LoadError::Io(e)) => panic!("{e}"),
            Ok(_) => panic!("taken for a log"),
        }
    };
    let key = row::log_key;
    assert!(matches!(
        refused(&|rows| drop(rows.remove(&key(0, 0)))),
        Damage::Gap { from: 0, to: 9 }
    ));
    assert!(matches!(
        refused(&|rows| drop(rows.remove(&key(10, 0)))),
        Damage::Gap { from: 10, to: 19 }
    ));
    assert!(matches!(
        refused(&|rows| drop(rows.remove(&key(20, 0)))),
        Damage::MissingPart(20)
    ));
    assert!(matches!(
        refused(&|rows| drop(rows.remove(&key(20, 1)))),
        Damage::MissingPart(20)
    ));
    assert!(matches!(
        refused(&|rows| drop(rows.remove(&key(20, 2)))),
        Damage::MissingPart(20)
    ));
    let stale = |rows: &mut memory::Rows| drop(rows.insert(key(10, 0), old[&key(10, 0)].clone()));
    assert!(matches!(refused(&stale), Damage::Stale(20)));
    let twice = |rows: &mut memory::Rows| {
        let head = row::Head {
            part: 0,
            parts: 1,
            count: 1,
            chain_before: 0,
            chain_after: 0,
        };
        rows.insert(key(25, 0), row::encode_row(&key(25, 0), head, b""));
    };
    assert!(matches!(refused(&twice), Damage::Overlap(25)));
    let foreign = |rows: &mut memory::Rows| drop(rows.insert(b"x".to_vec(), vec![]));
    assert!(matches!(refused(&foreign), Damage::Row(RowError::UnknownKey(_))));
}
