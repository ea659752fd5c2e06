//! What large values may cost.

use futures::future::join_all;

use super::*;

/// Entries of a quarter of a megabyte each filled memory and disk until 200,000 of them were there.
#[tokio::test(flavor = "multi_thread")]
async fn large_values_make_a_snapshot_due_and_the_log_is_cut() {
    let net = Net::default();
    let dir = Arc::new(TempDir::new().unwrap());
    let settings = RaftSettings {
        snapshot_every: 1_000_000,
        keep_logs: 1_000_000,
        ..settings()
    };
    let first = First::Form([(1, info(1))].into());
    let one = Manager::start_with(&net, 1, 101, dir, first, settings).await;
    let value = "x".repeat(256 << 10);
    let cut = || {
        let snapshots = std::fs::read_dir(one.dir.path().join("snapshots")).unwrap();
        snapshots.count() > 0
    };
    // A snapshot is looked for after 256 MiB; so much more is written in no second.
    let mut written = 0_u64;
    while !cut() {
        let puts = (0..16).map(|i| {
            let name = format!("k{i}");
            let (one, value) = (&one, &value);
            async move { one.put(&name, value).await.unwrap() }
        });
        written += join_all(puts).await.len() as u64 * value.len() as u64;
        assert!(written < 4 << 30, "{written} bytes, and still no snapshot");
    }
    assert!(written > 200 << 20, "after {written} bytes already");
    // What is left comes back whole, over a log whose beginning is gone.
    eventually("the log's beginning is gone", || one.running.first_index() > 1).await;
    let dir = one.stop(&net).await;
    let again = Manager::start(&net, 1, 101, dir, First::Form([(1, info(1))].into())).await;
    assert_eq!(again.get("k7").await.as_deref(), Some(value.as_str()));
}
