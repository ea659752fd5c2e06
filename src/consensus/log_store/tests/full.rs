//! The file system is full: the log stops, says so, and never hangs.

use super::*;
use openraft::storage::IOFlushed;
use openraft::type_config::TypeConfigExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// A small file system in memory.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, with the reason printed, where mounting is not permitted; in CI that is a failure.
    fn mount(megabytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            other => {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "CI must be able to mount: {other:?}"
                );
                eprintln!("SKIPPED: a small file system cannot be mounted here: {other:?}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: after a failure the database is leaked with its files open.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// The hook comes, all callbacks come, and what was acknowledged is there when there is space again.
async fn fill(batch: u64, bytes: usize) {
    let Some(disk) = SmallDisk::mount(40) else { return };
    let dir = disk.0.path().join("log");
    let fatal = Fatal::default();
    let mut store = TestStore::open(&dir, fatal.hook()).unwrap();
    let mut acknowledged = 0;
    let start = Instant::now();
    let limit = Duration::from_secs(30);
    let error = loop {
        let (done, told) = TestConfig::oneshot();
        let log = entries(1, acknowledged..acknowledged + batch, bytes);
        if let Err(refused) = store.append(log, IOFlushed::signal(done)).await {
            break refused;
        }
        match tokio::time::timeout(limit, told)
            .await
            .expect("the callback did not come")
            .unwrap()
        {
            Ok(()) => acknowledged += batch,
            Err(failed) => break failed,
        }
        assert!(start.elapsed() < 2 * limit, "a full disk was not noticed");
    };
    assert!(acknowledged > 0, "{error}");
    let told = Instant::now();
    while fatal.told().is_empty() {
        assert!(told.elapsed() < limit, "the hook did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Nothing hangs afterwards.
    let vote = tokio::time::timeout(limit, store.save_vote(&vote(7)))
        .await
        .expect("the vote hangs");
    assert!(vote.is_err());
    tokio::time::timeout(limit, store.close())
        .await
        .expect("the close hangs");
    eprintln!(
        "{acknowledged} entries, {:?}: {:?}",
        start.elapsed(),
        fatal.told()
    );

    // As the next process would find it on a larger disk.
    let larger = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(&dir).unwrap().map(Result::unwrap) {
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), larger.path().join(file.file_name())).unwrap();
        }
    }
    let mut store = open(larger.path());
    let log = store.try_get_log_entries(0..acknowledged).await.unwrap();
    assert!(
        log == entries(1, 0..acknowledged, bytes),
        "acknowledged entries are gone"
    );
    store.close().await;
}

#[tokio::test]
async fn a_full_disk_stops_the_log_with_full_rows() {
    fill(256, 300).await;
}

#[tokio::test]
async fn a_full_disk_stops_the_log_with_small_rows() {
    fill(7, 900).await;
}
