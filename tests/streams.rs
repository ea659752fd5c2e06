//! Streams into a container, through every manager, while runner and managers die.

mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use quorate::{
    client::{
        ClientError,
        types::{ContainerRequest, EchoView},
    },
    model::{ContainerState, Labels},
};
use support::{Cluster, runner::Runner};
use tokio::time::{sleep, timeout};

const MIB: u64 = 1 << 20;

/// More than is back before somebody dies.
const LONG: u64 = 1 << 30;

/// For an error to be told once somebody is dead; far below the bound for an echo that hangs.
const TOLD: Duration = Duration::from_secs(20);

async fn ready(cluster: &Cluster) {
    let client = cluster.client_of_all();
    cluster
        .eventually("the container is ready", async || {
            let container = client.container("box").await;
            container.is_ok_and(|container| container.state == ContainerState::Ready)
        })
        .await;
}

async fn echo(cluster: &Cluster, through: usize, bytes: u64) -> Result<EchoView, ClientError> {
    cluster.client(through).echo_container("box", bytes).await
}

/// An echo that is under way.
async fn begun(cluster: &Cluster, through: usize) -> tokio::task::JoinHandle<Result<EchoView, ClientError>> {
    let client = cluster.client(through);
    let echo = tokio::spawn(async move { client.echo_container("box", LONG).await });
    sleep(Duration::from_millis(500)).await;
    assert!(!echo.is_finished(), "{:?}", echo.await);
    echo
}

/// The one manager that holds the container's session, by index.
async fn holder(cluster: &Cluster) -> usize {
    let mut holders = Vec::new();
    cluster
        .eventually("one manager shows the container's figures", async || {
            holders.clear();
            for at in 0..3 {
                let metrics = cluster.client(at).get("/metrics").await;
                let text = metrics.map(|text| String::from_utf8_lossy(&text.body).into_owned());
                holders.extend(
                    text.is_ok_and(|text| text.contains(r#"container="box""#))
                        .then_some(at),
                );
            }
            holders.len() == 1
        })
        .await;
    holders[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_reach_a_container_through_every_manager_and_places_are_given_back() {
    let cluster = Cluster::start(3).await;
    let _runner = Runner::start(&cluster, "box");
    ready(&cluster).await;
    for through in 0..3 {
        let view = echo(&cluster, through, 64 * MIB).await.unwrap();
        assert_eq!((view.bytes, view.name.as_str()), (64 * MIB, "box"));
        let none = echo(&cluster, through, 0).await.unwrap();
        assert_eq!(none.bytes, 0);
    }
    // More than there are places for, each given up while it is under way.
    for turn in 0..80 {
        let given_up = timeout(Duration::from_millis(40), echo(&cluster, turn % 3, LONG)).await;
        assert!(given_up.is_err(), "{given_up:?}");
    }
    for through in 0..3 {
        cluster
            .eventually("there are places again", async || {
                echo(&cluster, through, MIB).await.is_ok()
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_reached_is_told_and_nothing_hangs_when_somebody_dies() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client_of_all();
    let code = |error: &ClientError| error.code().map(str::to_owned);
    let unknown = client.echo_container("nobody", 1).await.unwrap_err();
    assert_eq!(code(&unknown).as_deref(), Some("not_found"));
    let away = ContainerRequest {
        name: "away".parse().unwrap(),
        labels: Labels::default(),
    };
    client.register_container(&away).await.unwrap();
    let error = cluster.client(0).echo_container("away", 1).await.unwrap_err();
    assert_eq!(code(&error).as_deref(), Some("no_session"), "{error}");
    let error = cluster
        .client(0)
        .echo_container("away", LONG + 1)
        .await
        .unwrap_err();
    assert_eq!(code(&error).as_deref(), Some("invalid_field"), "{error}");

    let runner = Runner::start(&cluster, "box");
    ready(&cluster).await;
    let through = (holder(&cluster).await + 1) % 3;
    let under_way = begun(&cluster, through).await;
    let dies = Instant::now();
    runner.signal(Signal::SIGKILL);
    let error = timeout(TOLD, under_way)
        .await
        .expect("it hangs")
        .unwrap()
        .unwrap_err();
    assert_eq!(code(&error).as_deref(), Some("stream_failed"), "{error}");
    assert!(dies.elapsed() < TOLD);

    drop(runner);
    let _runner = Runner::start(&cluster, "box");
    for through in 0..3 {
        cluster
            .eventually("the runner is back", async || {
                echo(&cluster, through, MIB).await.is_ok()
            })
            .await;
    }
    let gone = holder(&cluster).await;
    let through = (gone + 1) % 3;
    let under_way = begun(&cluster, through).await;
    cluster.kill(gone);
    let error = timeout(TOLD, under_way)
        .await
        .expect("it hangs")
        .unwrap()
        .unwrap_err();
    assert_eq!(code(&error).as_deref(), Some("stream_failed"), "{error}");
    for through in (0..3).filter(|at| *at != gone) {
        cluster
            .eventually("its session is with another manager", async || {
                echo(&cluster, through, MIB).await.is_ok()
            })
            .await;
    }
}
