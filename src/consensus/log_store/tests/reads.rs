//! Reading, truncating and purging across the borders of chunks and of the tail.

use super::*;

/// Few entries in memory, so that most reads go to rows.
const SMALL_TAIL: TailLimits = TailLimits {
    entries: 40,
    bytes: 1 << 20,
};

fn open_small(dir: &Path) -> TestStore {
    let disk = SledDisk::open(dir).unwrap();
    let (store, writer) = TestStore::on_disk(Arc::new(disk), SMALL_TAIL, no_fatal()).unwrap();
    driver::spawn(writer, store.queue.downgrade(), driver::Watch::default()).unwrap();
    store
}

async fn append(store: &mut TestStore, entries: Vec<TestEntry>) {
    store.blocking_append(entries).await.unwrap();
}

#[tokio::test]
async fn every_range_reads_the_same_from_rows_and_tail() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open_small(dir.path());
    let log = entries(1, 0..700, 50);
    for piece in log.chunks(30) {
        append(&mut store, piece.to_vec()).await;
    }
    let check = async |store: &mut TestStore| {
        for start in (0..700).step_by(37).chain([255, 256, 257, 659, 660, 661, 699]) {
            for end in [start + 1, start + 2, start + 256, start + 300, 700, 900] {
                let expected = &log[start..end.min(700)];
                assert_eq!(
                    read(store, start as u64..end as u64).await,
                    expected,
                    "{start}..{end}"
                );
            }
        }
        assert_eq!(read(store, 700..900).await, []);
    };
    check(&mut store).await;
    store.close().await;
    let mut store = open_small(dir.path());
    check(&mut store).await;
    assert_eq!(store.get_log_state().await.unwrap().last_log_id, Some(id(1, 699)));
}

#[tokio::test]
async fn a_large_entry_is_split_over_rows_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut log = entries(1, 0..3, 50);
    log.push(entry(1, 3, 1 << 20));
    log.extend(entries(1, 4..6, 99_000));
    log.extend(entries(1, 6..600, 700));
    append(&mut store, log.clone()).await;
    let chunk = store.shared.view().index.covering(3, 4).next().unwrap();
    assert_eq!((chunk.0, chunk.1.count, chunk.1.parts), (3, 1, 11));
    store.close().await;
    let mut store = open(dir.path());
    assert_eq!(read(&mut store, 0..600).await, log);
    assert_eq!(read(&mut store, 3..4).await, log[3..4]);
    assert_eq!(read(&mut store, 2..5).await, log[2..5]);
    let blobs = std::fs::read_dir(dir.path().join("blobs")).unwrap().count();
    assert_eq!(blobs, 0, "a blob file, which sled never syncs");
    // Truncation takes all parts.
    store.truncate_after(Some(id(1, 2))).await.unwrap();
    append(&mut store, entries(2, 3..5, 50)).await;
    store.close().await;
    let mut store = open(dir.path());
    assert_eq!(
        read(&mut store, 0..600).await,
        [entries(1, 0..3, 50), entries(2, 3..5, 50)].concat()
    );
    // So does a purge.
    append(&mut store, vec![entry(2, 5, 1 << 20)]).await;
    store.purge(id(2, 5)).await.unwrap();
    store.close().await;
    let mut store = open(dir.path());
    assert_eq!(read(&mut store, 0..600).await, []);
    assert_eq!(store.get_log_state().await.unwrap().last_log_id, Some(id(2, 5)));
}

#[tokio::test]
async fn truncation_inside_a_chunk_holds_at_once_and_after_reopening() {
    for at in [0, 1, 254, 255, 256, 299, 398] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open_small(dir.path());
        append(&mut store, entries(1, 0..300, 50)).await;
        append(&mut store, entries(1, 300..400, 50)).await;
        store.truncate_after(Some(id(1, at))).await.unwrap();
        assert_eq!(read(&mut store, 0..500).await, entries(1, 0..at + 1, 50));
        // Before the writer has come that far.
        let more = entries(2, at + 1..at + 4, 50);
        let (done, told) = <TestConfig as openraft::type_config::TypeConfigExt>::oneshot();
        store
            .append(more.clone(), openraft::storage::IOFlushed::signal(done))
            .await
            .unwrap();
        let expected = [entries(1, 0..at + 1, 50), more].concat();
        assert_eq!(read(&mut store, 0..500).await, expected);
        told.await.unwrap().unwrap();
        assert_eq!(read(&mut store, 0..500).await, expected);
        store.close().await;
        let mut store = open_small(dir.path());
        assert_eq!(read(&mut store, 0..500).await, expected);
        assert_eq!(
            store.get_log_state().await.unwrap().last_log_id,
            Some(id(2, at + 3))
        );
    }
}

#[tokio::test]
async fn a_purge_inside_a_chunk_hides_its_front_and_a_purge_beyond_the_end_starts_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open_small(dir.path());
    append(&mut store, entries(1, 0..400, 50)).await;
    for upto in [10, 255, 256, 300, 390] {
        store.purge(id(1, upto)).await.unwrap();
        assert_eq!(read(&mut store, 0..400).await, entries(1, upto + 1..400, 50));
        store.close().await;
        store = open_small(dir.path());
        assert_eq!(read(&mut store, 0..400).await, entries(1, upto + 1..400, 50));
    }
    assert_eq!(
        store.shared.view().index.chunks(),
        1,
        "whole chunks are gone, the last one is not"
    );
    // As after a snapshot was installed.
    store.purge(id(2, 1000)).await.unwrap();
    assert_eq!(read(&mut store, 0..2000).await, []);
    append(&mut store, entries(3, 1001..1003, 50)).await;
    assert_eq!(read(&mut store, 0..2000).await, entries(3, 1001..1003, 50));
    store.close().await;
    let mut store = open_small(dir.path());
    assert_eq!(read(&mut store, 0..2000).await, entries(3, 1001..1003, 50));
    let state = store.get_log_state().await.unwrap();
    assert_eq!(
        (state.last_purged_log_id, state.last_log_id),
        (Some(id(2, 1000)), Some(id(3, 1002)))
    );
}

#[tokio::test]
async fn small_rows_are_merged_while_nothing_else_is_to_do() {
    let disk = Arc::new(super::memory::MemoryDisk::default());
    let (mut store, mut writer) =
        TestStore::on_disk(disk.clone(), TailLimits { entries: 1, bytes: 0 }, no_fatal()).unwrap();
    for index in 0..600 {
        store
            .append([entry(1, index, 50)], openraft::storage::IOFlushed::noop())
            .await
            .unwrap();
        writer.run_waiting(false);
    }
    assert_eq!(disk.rows().len(), 600);
    writer.run_waiting(true);
    assert_eq!(disk.rows().len(), 2 + 600 - 512);
    assert_eq!(read(&mut store, 0..600).await, entries(1, 0..600, 50));
    // Again after reopening, and what was merged can be cut.
    let (mut store, mut writer) =
        TestStore::on_disk(disk.clone(), TailLimits::default(), no_fatal()).unwrap();
    assert_eq!(read(&mut store, 0..600).await, entries(1, 0..600, 50));
    store.truncate_after(Some(id(1, 300))).await.unwrap();
    store
        .append(entries(2, 301..400, 50), openraft::storage::IOFlushed::noop())
        .await
        .unwrap();
    writer.run_waiting(true);
    let expected = [entries(1, 0..301, 50), entries(2, 301..400, 50)].concat();
    assert_eq!(read(&mut store, 0..600).await, expected);
}

#[tokio::test]
async fn readers_see_a_whole_log_while_it_is_appended_merged_and_purged() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SledDisk::open(dir.path()).unwrap();
    let limits = TailLimits { entries: 8, bytes: 0 };
    let (mut store, writer) = TestStore::on_disk(Arc::new(disk), limits, no_fatal()).unwrap();
    driver::spawn(writer, store.queue.downgrade(), driver::Watch::default()).unwrap();
    let reader = std::thread::spawn({
        let store = store.clone();
        move || {
            let mut reads = 0;
            loop {
                let (from, end) = {
                    let view = store.shared.view();
                    (view.start(), view.end())
                };
                let log = store.shared.read(from..end, read::Limit::None).unwrap();
                // Purged meanwhile at the front, never a hole, never short at the end.
                let first = log.first().map_or(end, entry_index::<TestConfig>);
                assert!(first >= from);
                assert_eq!(log, entries(1, first..end, 20));
                reads += 1;
                if end == 3000 {
                    return reads;
                }
            }
        }
    });
    for index in 0..3000 {
        append(&mut store, vec![entry(1, index, 20)]).await;
        if index % 700 == 699 {
            store.purge(id(1, index - 500)).await.unwrap();
        }
    }
    assert!(reader.join().unwrap() > 10);
}

#[tokio::test]
async fn a_leaders_stream_ends_when_the_vote_changes() {
    use futures::TryStreamExt;
    use openraft::storage::LeaderBoundedStreamError;
    let dir = tempfile::tempdir().unwrap();
    let mut store = open_small(dir.path());
    store.save_vote(&vote(1)).await.unwrap();
    // Several pieces, so that the change comes between two of them.
    append(&mut store, entries(1, 0..4000, 1000)).await;
    let leader = vote(1).leader_id;
    let stream = store.clone();
    let mut reader = stream.clone();
    let all: Vec<_> = reader
        .leader_bounded_stream(leader, 0..5000)
        .await
        .try_collect()
        .await
        .unwrap();
    assert_eq!(all, entries(1, 0..4000, 1000));
    let mut reader = stream.clone();
    let mut entries = std::pin::pin!(reader.leader_bounded_stream(leader, 0..5000).await);
    let mut seen = 0;
    let ended = loop {
        match entries.try_next().await {
            Ok(Some(_)) if seen == 0 => {
                store.save_vote(&vote(2)).await.unwrap();
                seen = 1;
            }
            Ok(Some(_)) => seen += 1,
            Ok(None) => panic!("it went on to the end"),
            Err(e) => break e,
        }
    };
    assert!(matches!(ended, LeaderBoundedStreamError::LeaderChanged(_)));
    assert!(seen < 4000);
}
