//! Cut and flipped files: refused, or everything that the watermark vouches for is there.

use super::*;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

/// What stood in the log when it was closed: each entry's term and size, by index from `first` on.
struct Written {
    dir: tempfile::TempDir,
    purged: u64,
    log: Vec<TestEntry>,
}

/// A log with a history: several segments, votes, a truncation, a purge, a split entry, merges.
async fn written() -> Written {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.save_vote(&vote(1)).await.unwrap();
    for first in (0..6000).step_by(500) {
        store
            .blocking_append(entries(1, first..first + 500, 2000))
            .await
            .unwrap();
    }
    store.truncate_after(Some(id(1, 5800))).await.unwrap();
    // Sled writes a snapshot of its page table when it opens a database that has grown.
    store.close().await;
    let mut store = open(dir.path());
    store.save_vote(&vote(2)).await.unwrap();
    for first in 5801..5900 {
        store.blocking_append([entry(2, first, 300)]).await.unwrap();
    }
    store.purge(id(1, 900)).await.unwrap();
    store.blocking_append([entry(2, 5900, 400_000)]).await.unwrap();
    store.save_committed(Some(id(2, 5850))).await.unwrap();
    store.blocking_append(entries(2, 5901..6200, 1000)).await.unwrap();
    let log = read(&mut store, 0..9999).await;
    assert_eq!(log.len(), 6199 - 900);
    store.close().await;
    Written {
        dir,
        purged: 900,
        log,
    }
}

/// Opens a damaged copy. `true`: it was refused in the right words. `false`: all of it is there.
async fn refused(written: &Written, damage: impl FnOnce(&Path)) -> bool {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(written.dir.path()).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    damage(copy.path());
    let fatal = Fatal::default();
    let mut store = match TestStore::open(copy.path(), fatal.hook()) {
        Err(OpenError::Damaged { .. }) => return true,
        Err(other) => panic!("the wrong words: {other}"),
        Ok(store) => store,
    };
    let state = store.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id.map(|id| id.index), Some(written.purged));
    assert_eq!(store.read_vote().await.unwrap(), Some(vote(2)));
    match store.try_get_log_entries(0..9999).await {
        Ok(log) => assert!(log == written.log, "another log came back"),
        // Damage that only a later read finds must stop the log.
        Err(_) => assert_eq!(fatal.told().len(), 1),
    }
    store.close().await;
    false
}

fn cut(dir: &Path, file: &str, length: u64) {
    OpenOptions::new()
        .write(true)
        .open(dir.join(file))
        .unwrap()
        .set_len(length)
        .unwrap();
}

fn flip(dir: &Path, file: &str, at: u64, bit: u8) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(dir.join(file))
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}

fn size(written: &Written, file: &str) -> u64 {
    fs::metadata(written.dir.path().join(file)).unwrap().len()
}

/// Places all over a file, the same in each run.
fn places(length: u64, count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % length)
}

#[tokio::test]
async fn a_cut_database_is_refused() {
    let written = written().await;
    let length = size(&written, "db");
    let segment = 8 << 20;
    for at in [0, 1, 20, segment - 1, segment, segment + 1]
        .into_iter()
        .chain(places(length - segment, 10))
    {
        assert!(
            refused(&written, |dir| cut(dir, "db", at)).await,
            "cut to {at} of {length}"
        );
    }
    // The last bytes of the file need not be the last of the log: refused, or all is there.
    for less in [1, 100, 8192, 100_000] {
        refused(&written, |dir| cut(dir, "db", length - less)).await;
    }
    assert!(!refused(&written, |_| {}).await);
}

#[tokio::test]
async fn a_flipped_bit_in_the_database_is_refused_or_does_no_harm() {
    let written = written().await;
    let mut refusals = 0;
    for (n, at) in places(size(&written, "db"), 40).enumerate() {
        refusals += usize::from(refused(&written, |dir| flip(dir, "db", at, n as u8 % 8)).await);
    }
    // Most of the file is superseded pages, so most flips do no harm.
    assert!(refusals > 0, "no flip hit anything: nothing was proven");
}

#[tokio::test]
async fn damage_to_the_files_beside_the_database_is_refused_or_does_no_harm() {
    let written = written().await;
    let names = fs::read_dir(written.dir.path())
        .unwrap()
        .map(|file| file.unwrap().file_name());
    let snapshot = names
        .map(|name| name.into_string().unwrap())
        .find(|name| name.starts_with("snap."));
    let snapshot = snapshot.expect("sled has written no snapshot, this test needs one");
    for (file, flips) in [("conf", 20), (snapshot.as_str(), 20), ("watermark", 20)] {
        for (n, at) in places(size(&written, file), flips).enumerate() {
            refused(&written, |dir| flip(dir, file, at, n as u8 % 8)).await;
        }
        for at in places(size(&written, file), 5) {
            refused(&written, |dir| cut(dir, file, at)).await;
        }
        refused(&written, |dir| fs::remove_file(dir.join(file)).unwrap()).await;
    }
}

#[tokio::test]
async fn missing_files_are_refused() {
    let written = written().await;
    for file in ["db", "watermark"] {
        assert!(
            refused(&written, |dir| fs::remove_file(dir.join(file)).unwrap()).await,
            "without {file}"
        );
        assert!(
            refused(&written, |dir| cut(dir, file, 0)).await,
            "with an empty {file}"
        );
    }
    let both_slots = |dir: &Path| {
        [10, 4106]
            .into_iter()
            .for_each(|at| flip(dir, "watermark", at, 3))
    };
    assert!(refused(&written, both_slots).await);
}

#[tokio::test]
async fn a_creation_that_was_interrupted_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    drop(watermark::WatermarkFile::create(dir.path()).unwrap());
    fs::write(dir.path().join("db"), b"half of a database").unwrap();
    fs::write(dir.path().join("conf"), b"half").unwrap();
    let mut store = open(dir.path());
    store.blocking_append(entries(1, 0..3, 10)).await.unwrap();
    store.close().await;
    assert_eq!(read(&mut open(dir.path()), 0..9).await, entries(1, 0..3, 10));
}
