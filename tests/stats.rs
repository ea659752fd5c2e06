//! What is in use in a container, through every manager, while its session moves.

mod support;

use std::time::Duration;

use quorate::{
    client::types::{ContainerStats, SampleView},
    model::{ContainerState, Millis},
};
use support::{Cluster, runner::Runner};

const FIGURE: &str = r#"container="box""#;

/// What a manager tells, once that is `wanted`: on a busy machine another one may need longer than it is
/// given, and then is named.
async fn stats(
    cluster: &Cluster,
    through: usize,
    what: &str,
    wanted: impl Fn(&ContainerStats) -> bool,
) -> ContainerStats {
    let client = cluster.client(through);
    let mut found = None;
    cluster
        .eventually(&format!("through {through}, {what}"), async || {
            let told = client.container_stats("box", Millis(0)).await;
            found = told.ok().filter(&wanted);
            found.is_some()
        })
        .await;
    found.unwrap()
}

/// The one of these managers that shows the container's figures, by index.
async fn holder(cluster: &Cluster, managers: &[usize]) -> usize {
    let mut shown = Vec::new();
    cluster
        .eventually("one manager shows the container's figures", async || {
            shown.clear();
            for at in managers {
                let metrics = cluster.client(*at).get("/metrics").await;
                let shows = metrics.is_ok_and(|text| String::from_utf8_lossy(&text.body).contains(FIGURE));
                shown.extend(shows.then_some(*at));
            }
            shown.len() == 1
        })
        .await;
    shown[0]
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
    let gone = holder(&cluster, &[0, 1, 2]).await;
    let id = u64::try_from(gone).unwrap() + 1;
    let mut first = Millis(0);
    for through in 0..3 {
        let all_answer = |found: &ContainerStats| found.unanswered.is_empty();
        let found = stats(&cluster, through, "all answer", all_answer).await;
        assert!(found.managers.contains(&id), "through {through}: {found:?}");
        let SampleView { at, sample } = found.samples[0];
        assert!(
            sample.memory_bytes > 0 && sample.disk_used_bytes > 0,
            "{sample:?}"
        );
        first = at;
    }
    let later = first.after(Duration::from_secs(3600));
    let nothing = client.container_stats("box", later).await.unwrap();
    assert_eq!(
        (nothing.samples, nothing.managers, nothing.since),
        (vec![], vec![], later)
    );

    // What it held is gone with it, and nobody says that there was nothing.
    cluster.kill(gone);
    let others: Vec<_> = (0..3).filter(|at| *at != gone).collect();
    holder(&cluster, &others).await;
    for &through in &others {
        let one_is_gone = |found: &ContainerStats| found.unanswered == [id];
        let found = stats(&cluster, through, "the killed one does not answer", one_is_gone).await;
        assert!(
            !found.managers.contains(&id) && !found.samples.is_empty(),
            "{found:?}"
        );
    }

    // Of the time since it has held the session, the new manager has all: the killed one is not asked.
    for through in others {
        let client = cluster.client(through);
        let what = format!("through {through}, the manager that holds the session is asked alone");
        cluster
            .eventually(&what, async || {
                let all = client.container_stats("box", Millis(0)).await;
                let last = all.ok().and_then(|all| Some(all.samples.last()?.at));
                let (Some(last), Ok(container)) = (last, client.container("box").await) else {
                    return false;
                };
                let holder: Vec<_> = container.manager.into_iter().collect();
                let found = client.container_stats("box", last).await;
                found.is_ok_and(|found| found.managers == holder && found.unanswered.is_empty())
            })
            .await;
    }
}
