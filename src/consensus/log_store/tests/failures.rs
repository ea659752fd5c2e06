//! The disk fails, hangs or is in use.

use super::memory::MemoryDisk;
use super::*;
use openraft::storage::IOFlushed;
use openraft::type_config::TypeConfigExt;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

async fn told(fatal: &Fatal) -> Vec<String> {
    let start = Instant::now();
    while fatal.told().is_empty() {
        assert!(start.elapsed() < SOON, "the hook was not called");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    fatal.told()
}

#[tokio::test]
async fn after_the_first_error_all_who_wait_are_told_and_nothing_is_written_again() {
    // Two calls make the log and two the marks: the fifth put fails.
    let disk = MemoryDisk::dying_at(7);
    let fatal = Fatal::default();
    let (mut store, mut writer) =
        TestStore::on_disk(disk.clone(), TailLimits::default(), fatal.hook()).unwrap();
    let mut answers = Vec::new();
    for index in 0..10 {
        let (done, told) = TestConfig::oneshot();
        store
            .append([entry(1, index, 90_000)], IOFlushed::signal(done))
            .await
            .unwrap();
        answers.push(told);
    }
    writer.run_waiting(true);
    for answer in answers {
        let error = answer.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
    let why = fatal.told();
    assert_eq!(why.len(), 1);
    assert!(why[0].contains("writing the log: the disk is full"), "{why:?}");
    // Everything is refused now, reads too.
    assert!(store.append([entry(1, 10, 10)], IOFlushed::noop()).await.is_err());
    assert!(store.truncate_after(None).await.is_err());
    assert!(store.purge(id(1, 3)).await.is_err());
    assert!(store.try_get_log_entries(0..3).await.is_err());
    let (vote, again) = (vote(3), &mut writer);
    let (saved, ()) = tokio::join!(store.save_vote(&vote), async { again.run_waiting(true) });
    assert!(saved.is_err());
    writer.finish();
    assert_eq!(fatal.told().len(), 1);
    assert_eq!(disk.calls_after_death(), 0);
}

#[tokio::test]
async fn a_hanging_disk_leads_to_the_hook() {
    let disk = Arc::new(MemoryDisk::default());
    let fatal = Fatal::default();
    let (mut store, writer) = TestStore::on_disk(disk.clone(), TailLimits::default(), fatal.hook()).unwrap();
    let watch = driver::Watch {
        every: Duration::from_millis(10),
        patience: 5,
    };
    driver::spawn(writer, store.queue.downgrade(), watch).unwrap();
    store.blocking_append(entries(1, 0..3, 10)).await.unwrap();
    assert!(fatal.told().is_empty());
    disk.hang();
    store.append([entry(1, 3, 10)], IOFlushed::noop()).await.unwrap();
    let why = told(&fatal).await;
    assert!(why[0].contains("has not answered"), "{why:?}");
    assert!(store.append([entry(1, 4, 10)], IOFlushed::noop()).await.is_err());
    disk.go_on();
    store.close().await;
    assert_eq!(fatal.told().len(), 1);
}

#[tokio::test]
async fn a_damaged_row_met_while_running_stops_the_log() {
    let disk = Arc::new(MemoryDisk::default());
    let fatal = Fatal::default();
    let limits = TailLimits { entries: 1, bytes: 0 };
    let (mut store, mut writer) = TestStore::on_disk(disk.clone(), limits, fatal.hook()).unwrap();
    store
        .append(entries(1, 0..10, 10), IOFlushed::noop())
        .await
        .unwrap();
    writer.run_waiting(true);
    assert_eq!(read(&mut store, 0..10).await.len(), 10);
    let mut row = disk.rows()[&row::log_key(0, 0)].clone();
    row[40] ^= 4;
    disk.put(&row::log_key(0, 0), &row).unwrap();
    let error = store.try_get_log_entries(0..10).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(
        fatal.told(),
        ["reading the log: the entries of row l|0 fail their checksum"]
    );
}

#[tokio::test]
async fn a_second_manager_on_the_directory_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let refused = TestStore::open(dir.path(), no_fatal()).err().unwrap();
    assert!(matches!(refused, OpenError::Locked(_)));
    assert!(
        refused
            .to_string()
            .contains("another manager runs on this directory")
    );
    store.close().await;
    drop(open(dir.path()));
}

#[tokio::test]
async fn a_log_whose_handles_were_dropped_can_be_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..5 {
        let mut store = open(dir.path());
        assert_eq!(read(&mut store, 0..100).await, entries(1, 0..n, 10));
        store.append([entry(1, n, 10)], IOFlushed::noop()).await.unwrap();
    }
}

#[tokio::test]
async fn entries_that_leave_a_hole_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.blocking_append(entries(1, 0..3, 10)).await.unwrap();
    for first in [2, 4] {
        let refused = store
            .append([entry(1, first, 10)], IOFlushed::noop())
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
    store.blocking_append([entry(1, 3, 10)]).await.unwrap();
}
