//! A million entries: opened in seconds, purged in seconds, and the space comes back.

use super::*;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

const COUNT: u64 = 1_000_000;
/// How many stay behind a purge.
const KEPT: u64 = 20_000;

/// Bytes that the files take on disk.
fn disk_usage(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap());
    files.map(|file| file.blocks() * 512).sum()
}

#[tokio::test]
async fn a_million_entries_open_soon_and_purging_them_gives_the_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for first in (0..COUNT).step_by(20_000) {
        store
            .blocking_append(entries(1, first..first + 20_000, 100))
            .await
            .unwrap();
    }
    store.close().await;
    let before = disk_usage(dir.path());

    let start = Instant::now();
    let mut store = open(dir.path());
    let opened = start.elapsed();
    assert!(opened < Duration::from_secs(10), "opening took {opened:?}");
    assert_eq!(
        store.get_log_state().await.unwrap().last_log_id,
        Some(id(1, COUNT - 1))
    );
    assert_eq!(
        read(&mut store, COUNT / 2..COUNT / 2 + 300).await,
        entries(1, COUNT / 2..COUNT / 2 + 300, 100)
    );

    store.purge(id(1, COUNT - KEPT)).await.unwrap();
    // Sled's collector finishes at most one segment each 500 ms, and only while the log moves on. So this
    // writes at a pace, as a cluster does; the space comes back after some ten seconds.
    let start = Instant::now();
    let mut next = COUNT;
    while disk_usage(dir.path()) >= before / 2 {
        let waited = start.elapsed();
        assert!(
            waited < Duration::from_secs(60),
            "{} bytes of {before} after {waited:?}",
            disk_usage(dir.path())
        );
        store
            .blocking_append(entries(1, next..next + 4_000, 100))
            .await
            .unwrap();
        next += 4_000;
        store.purge(id(1, next - KEPT)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!(
        "opened in {opened:?}; {before} bytes, {} after {:?}",
        disk_usage(dir.path()),
        start.elapsed()
    );
    assert_eq!(
        read(&mut store, 0..next).await,
        entries(1, next - KEPT + 1..next, 100)
    );
    store.close().await;
}
