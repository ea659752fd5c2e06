//! What is in use in a container, through every manager, while its session moves.

mod support;

use quorate::{
    client::types::ContainerStats,
    model::{ContainerState, Millis},
};
use support::{Cluster, runner::Runner};

const FIGURE: &str = r#"container="box""#;

async fn stats(cluster: &Cluster, through: usize) -> ContainerStats {
    let client = cluster.client(through);
    client.container_stats("box", Millis(0)).await.unwrap()
}

/// Which managers show the container's figures, by index.
async fn shown_by(cluster: &Cluster, managers: &[usize]) -> Vec<usize> {
    let mut shown = Vec::new();
    for at in managers {
        let metrics = cluster.client(*at).get("/metrics").await.unwrap().body;
        if String::from_utf8_lossy(&metrics).contains(FIGURE) {
            shown.push(*at);
        }
    }
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_are_found_through_every_manager_and_who_is_gone_is_named() {
    let mut cluster = Cluster::start(3).await;
    let _runner = Runner::start(&cluster, "box");
    let client = cluster.client_of_all();
    cluster
        .eventually("the container is ready", async || {
            let container = client.container("box").await;
            container.is_ok_and(|container| container.state == ContainerState::Ready)
        })
        .await;
    cluster
        .eventually("a sample", async || !stats(&cluster, 0).await.samples.is_empty())
        .await;
    let shown = shown_by(&cluster, &[0, 1, 2]).await;
    let [holder] = shown[..] else {
        panic!("one holds the session: {shown:?}")
    };
    let id = u64::try_from(holder).unwrap() + 1;
    for through in 0..3 {
        let found = stats(&cluster, through).await;
        assert_eq!(
            (found.managers, found.unanswered),
            (vec![id], vec![]),
            "through {through}"
        );
        let sample = found.samples[0].sample;
        assert!(
            sample.memory_bytes > 0 && sample.disk_used_bytes > 0,
            "{sample:?}"
        );
    }
    let later = Millis(stats(&cluster, 0).await.samples[0].at.0 + 3_600_000);
    let nothing = client.container_stats("box", later).await.unwrap();
    assert_eq!(
        (nothing.samples, nothing.managers, nothing.since),
        (vec![], vec![], later)
    );

    // What it held is gone with it, and nobody says that there was nothing.
    cluster.kill(holder);
    let others: Vec<_> = (0..3).filter(|at| *at != holder).collect();
    cluster
        .eventually("another one has the session, and a sample", async || {
            shown_by(&cluster, &others).await.len() == 1
        })
        .await;
    for through in others {
        let found = stats(&cluster, through).await;
        assert_eq!(found.unanswered, [id], "through {through}");
        assert!(found.managers.len() == 1 && found.managers[0] != id && !found.samples.is_empty());
    }
}
