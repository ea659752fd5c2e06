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
    driver::spawn(writer, store.queue.downgrade()).unwrap();
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
