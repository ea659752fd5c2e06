//! Killing managers under load: nothing acknowledged is lost, nothing happens twice, nothing stale is
//! served as linearizable.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use quorate::client::{Condition, Page};
use support::{
    Cluster,
    load::{Load, all_there},
};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn killing_any_manager_under_load_loses_nothing() {
    let mut cluster = Cluster::start(3).await;
    let load = Load::start(&cluster, 6);
    load.more(&cluster, 100).await;
    let leader = cluster.leader().await;
    for victim in [leader, (leader + 1) % 3] {
        cluster.kill(victim);
        load.more(&cluster, 100).await;
        cluster.restart(victim);
        cluster.recovered().await;
        load.more(&cluster, 50).await;
    }
    let names = load.finish().await;
    all_there(&cluster, 3, &names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_all_managers_under_load_loses_nothing() {
    let mut cluster = Cluster::start(3).await;
    let load = Load::start(&cluster, 6);
    for _ in 0..3 {
        load.more(&cluster, 100).await;
        (0..3).for_each(|at| cluster.kill(at));
        (0..3).for_each(|at| cluster.restart(at));
        cluster.recovered().await;
    }
    load.more(&cluster, 50).await;
    let names = load.finish().await;
    all_there(&cluster, 3, &names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_through_every_manager_never_go_back_while_leaders_die() {
    let mut cluster = Cluster::start(3).await;
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    let (writer, stopped, high) = (cluster.client_of_all(), stop.clone(), acknowledged.clone());
    tasks.spawn(async move {
        let mut value = 0_u64;
        while !stopped.load(Ordering::Relaxed) {
            value += 1;
            // One writer, each write tried to its end: the value only grows.
            if writer
                .put_config("counter", "text/plain", value.to_string(), Condition::Any, None)
                .await
                .is_ok()
            {
                high.store(value, Ordering::SeqCst);
            }
        }
        0
    });
    for at in 0..3 {
        let (reader, stopped, high) = (cluster.client(at), stop.clone(), acknowledged.clone());
        tasks.spawn(async move {
            let mut reads = 0;
            while !stopped.load(Ordering::Relaxed) {
                let at_least = high.load(Ordering::SeqCst);
                match reader.get_config("counter", &Page::default()).await {
                    Ok(read) => {
                        let value: u64 = String::from_utf8(read.value.to_vec()).unwrap().parse().unwrap();
                        assert!(
                            value >= at_least,
                            "manager {at} showed {value} after {at_least} was acknowledged"
                        );
                        reads += 1;
                    }
                    // It is down, or there is no quorum just now.
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
            reads
        });
    }
    for _ in 0..2 {
        let before = acknowledged.load(Ordering::SeqCst);
        cluster
            .eventually("writes go on", async || {
                acknowledged.load(Ordering::SeqCst) > before + 50
            })
            .await;
        let leader = cluster.leader().await;
        cluster.kill(leader);
        let before = acknowledged.load(Ordering::SeqCst);
        cluster
            .eventually("writes go on", async || {
                acknowledged.load(Ordering::SeqCst) > before + 50
            })
            .await;
        cluster.restart(leader);
        cluster.recovered().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut reads = 0;
    while let Some(ended) = tasks.join_next().await {
        reads += ended.unwrap();
    }
    assert!(reads > 100, "only {reads} reads: this proves nothing");
}

fn tell_to_stop(cluster: &Cluster, at: usize) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(cluster.pid(at)).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_told_to_stop_under_load_end_in_order_and_lose_nothing() {
    let mut cluster = Cluster::start(3).await;
    let load = Load::start(&cluster, 6);
    for _ in 0..3 {
        load.more(&cluster, 100).await;
        let leader = cluster.leader().await;
        tell_to_stop(&cluster, leader);
        let told = Instant::now();
        let code = cluster.exit_code(leader).await;
        let took = told.elapsed();
        assert_eq!(code, Some(0), "{}", cluster.log(leader));
        // What its steps may take in all, see `node`.
        assert!(
            took < Duration::from_secs(10),
            "{took:?}\n{}",
            cluster.log(leader)
        );
        cluster.restart(leader);
        cluster.recovered().await;
    }
    let names = load.finish().await;
    all_there(&cluster, 3, &names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_leader_hands_over() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    tell_to_stop(&cluster, leader);
    assert_eq!(
        cluster.exit_code(leader).await,
        Some(0),
        "{}",
        cluster.log(leader)
    );
    assert!(
        cluster.log(leader).contains("leadership is handed over"),
        "{}",
        cluster.log(leader)
    );
    let other = cluster.client((leader + 1) % 3);
    other
        .put_config("k", "text/plain", "v", Condition::Any, None)
        .await
        .unwrap();
}
