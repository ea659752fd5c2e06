//! Engines of a real manager: the real engine of this machine, behind a proxy that fails in every way.

use std::{collections::BTreeMap, path::Path, time::Duration};

use quorate::{
    client::{
        Client, Page,
        types::{ContainerView, EngineView},
    },
    engine::{Endpoint, EngineNews, watch},
    model::{ContainerState, EngineState, HealthStatus},
};
use serde_json::json;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    daemon::Daemon,
    docker::{SOCKET, Yard, docker},
    manager::{Http, Manager, PATIENCE},
    proxy::{Mode, Papers, Proxy},
};

/// Looks again until it shows what is waited for.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let seen = timeout(2 * PATIENCE, looking).await;
    seen.unwrap_or_else(|_| panic!("never: {what}"))
}

pub async fn engine(client: &Client, name: &str, what: &str, is: impl Fn(&EngineView) -> bool) -> EngineView {
    until(what, async || {
        let engine = client.engine(name).await.unwrap();
        is(&engine).then_some(engine)
    })
    .await
}

pub async fn container(client: &Client, name: &str, is: impl Fn(&ContainerView) -> bool) -> ContainerView {
    until(name, async || client.container(name).await.ok().filter(&is)).await
}

pub async fn add(http: &Http, name: &str, url: &str) {
    let body = json!({"name": name, "url": url}).to_string();
    let made = http.send("POST", "/api/v1/engines", &JSON, body).await;
    assert_eq!(made.status, 201, "{}", made.json());
}

pub const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_over_tls_is_watched_as_soon_as_its_keys_are_there() {
    let Some(yard) = Yard::new() else { return };
    let papers = Papers::new();
    let proxy = Proxy::start(Some(papers.acceptor())).await;
    let keys = tempfile::tempdir().unwrap();
    let setting = format!("engines.certificates={}", keys.path().display());
    let manager = Manager::start_with(&[&setting]).await;
    let (client, dir) = (manager.client(), keys.path().join("far"));
    add(&manager.http(), "far", &format!("tls://{}", proxy.address)).await;

    let missing = dir.join("ca.pem").display().to_string();
    let told = |engine: &EngineView, words: &str| {
        engine.state == EngineState::Unreachable && engine.reason.contains(words)
    };
    engine(&client, "far", "which file to put where", |e| told(e, &missing)).await;
    // Somebody else's papers are no way in, whichever side looks first.
    Papers::new().put(&dir);
    engine(&client, "far", "another CA", |e| {
        told(e, "invalid peer certificate")
    })
    .await;
    std::fs::write(dir.join("key.pem"), "rubbish").unwrap();
    engine(&client, "far", "a garbled key", |e| {
        told(e, "key.pem is not usable")
    })
    .await;

    papers.put(&dir);
    engine(&client, "far", "watched", |e| e.state == EngineState::Connected).await;
    let (name, _) = yard.run(&[]);
    let found = container(&client, &name, |_| true).await;
    assert_eq!(found.engine, Some(client.engine("far").await.unwrap().id));
    manager.stop().await;
}

/// A real engine that is killed takes no container with it, and is taken up again when it is back.
async fn outlives_its_engine(daemon: &mut Daemon, manager: &Manager) {
    let Some(yard) = Yard::at(daemon.socket()) else {
        return;
    };
    let (client, none) = (manager.client(), ["--network", "none"]);
    add(&manager.http(), "far", &daemon.url()).await;
    let connected = |e: &EngineView| e.state == EngineState::Connected;
    let id = engine(&client, "far", "watched", connected).await.id;
    let (first, _) = yard.run(&none);
    let known = container(&client, &first, |c| c.engine == Some(id)).await;
    daemon.kill();
    let unreachable = |e: &EngineView| e.state == EngineState::Unreachable;
    engine(&client, "far", "its end is seen", unreachable).await;
    assert_eq!(client.container(&first).await.unwrap(), known);
    daemon.restart();
    engine(&client, "far", "back", connected).await;
    let (second, _) = yard.run(&none);
    container(&client, &second, |c| c.engine == Some(id)).await;
    assert_eq!(client.container(&first).await.unwrap(), known);
    yard.docker(&["rm", "-f", &first]).unwrap();
    until("a candidate that died is forgotten", async || {
        client.container(&first).await.is_err().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_outlive_a_real_engine_over_tcp() {
    let Some(mut daemon) = Daemon::start(None) else {
        return;
    };
    let manager = Manager::start().await;
    outlives_its_engine(&mut daemon, &manager).await;
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_outlive_a_real_engine_over_tls() {
    let (papers, keys) = (Papers::new(), tempfile::tempdir().unwrap());
    let Some(mut daemon) = Daemon::start(Some(&papers)) else {
        return;
    };
    papers.put(&keys.path().join("far"));
    let manager = Manager::start_with(&[&format!("engines.certificates={}", keys.path().display())]).await;
    outlives_its_engine(&mut daemon, &manager).await;
    manager.stop().await;
}

/// Copying in, starting, and feeding a program that reads to the end of its input, each through TLS.
#[tokio::test(flavor = "multi_thread")]
async fn containers_of_an_engine_over_tls_are_adopted() {
    let Some(yard) = Yard::new() else { return };
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/static/quorate");
    if !program.exists() {
        let why = "there is no static binary: run `make static`";
        assert!(std::env::var_os("CI").is_none(), "nothing to test with: {why}");
        eprintln!("skipped: {why}");
        return;
    }
    let papers = Papers::new();
    let proxy = Proxy::start(Some(papers.acceptor())).await;
    let keys = tempfile::tempdir().unwrap();
    papers.put(&keys.path().join("far"));
    let label = format!("quorate.test={:016x}", rand::random::<u64>());
    let manager = Manager::start_with(&[
        &format!("engines.certificates={}", keys.path().display()),
        "adoption.enabled=true",
        &format!("adoption.binary={}", program.display()),
        &format!("adoption.selector={label}"),
        "adoption.grace=1s",
    ])
    .await;
    let client = manager.client();
    add(&manager.http(), "far", &format!("tls://{}", proxy.address)).await;
    let ours = ["--network", "host", "--label", &label];
    let (root, _) = yard.run(&ours);
    let in_memory = [&ours[..], &["--read-only", "--tmpfs", "/m:exec"]].concat();
    let (memory, _) = yard.run(&in_memory);
    for name in [&root, &memory] {
        container(&client, name, |c| c.adopted && c.state == ContainerState::Ready).await;
    }
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_fails_holds_up_no_other_and_kills_no_container() {
    let Some(yard) = Yard::new() else { return };
    let mut proxy = Proxy::start(None).await;
    let manager = Manager::start().await;
    let (client, http) = (manager.client(), manager.http());
    add(&http, "bad", &format!("tcp://{}", proxy.address)).await;
    let connected = |e: &EngineView| e.state == EngineState::Connected;
    let bad = engine(&client, "bad", "watched", connected).await.id;
    let (theirs, _) = yard.run(&[]);
    let known = container(&client, &theirs, |c| c.engine == Some(bad)).await;
    add(&http, "good", &format!("unix://{SOCKET}")).await;
    let good = engine(&client, "good", "watched", connected).await.id;

    for mode in [
        Some(Mode::Reset),
        Some(Mode::Garbage),
        Some(Mode::Flood),
        Some(Mode::Deaf),
        None,
    ] {
        match mode {
            // Those that are open would stay, for the next list to find out: see the test after this one.
            Some(Mode::Deaf) => {
                proxy.set(Mode::Reset);
                proxy.until_left().await;
                proxy.set(Mode::Deaf);
            }
            Some(mode) => proxy.set(mode),
            None => proxy.vanish().await,
        }
        let unreachable = |e: &EngineView| e.state == EngineState::Unreachable;
        engine(&client, "bad", &format!("{mode:?} is seen"), unreachable).await;
        let (name, _) = yard.run(&[]);
        container(&client, &name, |c| c.engine == Some(good)).await;
        docker(&["rm", "-f", &name]).unwrap();
        until("a candidate that died is forgotten", async || {
            client.container(&name).await.is_err().then_some(())
        })
        .await;
        assert_eq!(client.container(&theirs).await.unwrap(), known, "{mode:?}");

        if mode.is_none() {
            proxy.come_back().await;
        }
        proxy.set(Mode::Pass);
        engine(&client, "bad", &format!("back after {mode:?}"), connected).await;
        assert_eq!(client.container(&theirs).await.unwrap(), known, "{mode:?}");
    }
    // What the bad engine had to tell all the while is told now.
    docker(&["rm", "-f", &theirs]).unwrap();
    until("it is gone", async || {
        client.container(&theirs).await.is_err().then_some(())
    })
    .await;
    manager.stop().await;
}

/// Nothing ends the stream of events of an engine that hangs: only the next list finds it out.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_falls_silent_is_found_out_and_left_alone_in_the_end() {
    let Some(_yard) = Yard::new() else { return };
    let proxy = Proxy::start(None).await;
    let (tell, mut news) = mpsc::channel(64);
    let endpoint = Endpoint {
        url: format!("tcp://{}", proxy.address).parse().unwrap(),
        certificates: "/nowhere".into(),
    };
    let mut watching = JoinSet::new();
    watching.spawn(watch(endpoint, tell, Default::default()));
    let mut lists = 0;
    while lists < 2 {
        match timeout(PATIENCE, news.recv()).await.expect("a list").unwrap() {
            EngineNews::Listed { .. } => lists += 1,
            // Other tests have containers on this engine.
            EngineNews::Told { .. } => {}
            EngineNews::Unreachable { reason } => panic!("{reason}"),
        }
    }
    proxy.set(Mode::Deaf);
    let silence = timeout(2 * PATIENCE, async {
        loop {
            match news.recv().await.unwrap() {
                EngineNews::Unreachable { reason } => return reason,
                EngineNews::Listed { found, .. } => panic!("{found:?}"),
                EngineNews::Told { .. } => {}
            }
        }
    });
    let reason = silence.await.expect("it is found out");
    assert!(reason.contains("did not answer"), "{reason}");
    watching.shutdown().await;
    timeout(PATIENCE, proxy.until_left())
        .await
        .expect("no connection is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_health_check_is_seen_and_its_recovery_too() {
    let Some(yard) = Yard::new() else { return };
    let manager = Manager::start().await;
    let client = manager.client();
    add(&manager.http(), "here", &format!("unix://{SOCKET}")).await;
    let (name, _) = yard.run(&[
        "--health-cmd",
        "test -e /ok",
        "--health-interval",
        "1s",
        "--health-retries",
        "1",
    ]);
    let (plain, _) = yard.run(&[]);
    container(&client, &name, |c| c.health == HealthStatus::Unhealthy).await;
    assert_eq!(
        container(&client, &plain, |_| true).await.health,
        HealthStatus::Unchecked
    );
    docker(&["exec", &name, "touch", "/ok"]).unwrap();
    container(&client, &name, |c| c.health == HealthStatus::Healthy).await;

    let page = client.containers(&Page::default()).await.unwrap();
    let health: BTreeMap<_, _> = page
        .items
        .iter()
        .map(|c| (c.name.to_string(), c.health))
        .collect();
    assert_eq!(health[&name], HealthStatus::Healthy);
    manager.stop().await;
}
