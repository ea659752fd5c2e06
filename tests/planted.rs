//! Bugs on purpose, in real manager processes: each check passes without its bug and fails with it.
//!
//! The bugs that a test inside the crate catches are in `.ci/planted`; see [`quorate::planted`] for all.

mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use quorate::{
    client::{Client, Condition, Page},
    planted::{BUGS, VARIABLE},
};
use support::{
    Cluster,
    load::{Load, configs, wrong},
    whole_again,
};

const WITHIN: Duration = Duration::from_secs(10);

/// A quorum's disks need this long, so an answer before it was given without them.
const SLOW: Duration = Duration::from_millis(1_200);

async fn start(bug: &str) -> Cluster {
    let cluster = Cluster::start_with(3, "", &[(VARIABLE, bug)]);
    cluster.serving().await;
    cluster
}

/// Starts a manager again with a failpoint, and waits until it serves.
async fn restart_with(cluster: &mut Cluster, at: usize, failpoint: &str) {
    cluster.kill(at);
    cluster.set_env(at, "FAILPOINTS", Some(failpoint));
    cluster.restart(at);
    cluster.serving().await;
}

async fn put(client: &Client, name: &str) -> Result<(), String> {
    let put = client
        .put_config(name, "text/plain", "v", Condition::Any, None)
        .await;
    put.map(drop).map_err(|error| error.to_string())
}

/// With one manager stopped and the disk of another slow, no write may be acknowledged before that disk
/// has it, through whichever manager it came.
async fn nothing_is_acknowledged_without_a_quorum(bug: &str) -> Result<(), String> {
    let mut cluster = start(bug).await;
    let leader = cluster.leader().await;
    let (slow, stopped) = ((leader + 1) % 3, (leader + 2) % 3);
    let failpoint = format!("fsync=sleep({})", SLOW.as_millis());
    restart_with(&mut cluster, slow, &failpoint).await;
    cluster.signal(stopped, Signal::SIGSTOP);
    let mut result = Ok(());
    for through in [leader, slow] {
        let (client, began) = (cluster.client(through), Instant::now());
        let put = put(&client, &format!("through-{through}")).await;
        if put.is_ok() && began.elapsed() < SLOW {
            result = Err(format!("acknowledged after {:?}", began.elapsed()));
        }
    }
    cluster.signal(stopped, Signal::SIGCONT);
    result
}

/// What was acknowledged is there after all managers were killed.
async fn a_kill_of_all_loses_nothing(bug: &str) -> Result<(), String> {
    let mut cluster = start(bug).await;
    let load = Load::start(&cluster, 12);
    load.more(&cluster, 300).await;
    (0..3).for_each(|at| cluster.kill(at));
    (0..3).for_each(|at| cluster.restart(at));
    whole_again(&cluster, WITHIN).await?;
    let acknowledged = load.finish().await;
    for at in 0..3 {
        let found = configs(&cluster.client(at))
            .await
            .map_err(|error| error.to_string())?;
        let wrong = wrong(&found, &acknowledged);
        if !wrong.is_empty() {
            return Err(format!(
                "{} of {}: {:?}",
                wrong.len(),
                acknowledged.len(),
                wrong[0]
            ));
        }
    }
    Ok(())
}

/// A manager that applies late shows nothing older than what was acknowledged.
async fn a_late_manager_shows_nothing_old(bug: &str) -> Result<(), String> {
    let mut cluster = start(bug).await;
    let leader = cluster.leader().await;
    let late = (leader + 1) % 3;
    restart_with(&mut cluster, late, "apply=sleep(300)").await;
    let (writer, reader) = (cluster.client(leader), cluster.client(late));
    for n in 0..3 {
        let name = format!("n{n}");
        put(&writer, &name).await?;
        let read = reader.get_config(&name, &Page::default()).await;
        read.map_err(|error| format!("{name} was acknowledged, and then: {error}"))?;
    }
    Ok(())
}

/// A manager with an empty directory is not taken for the one it was.
async fn a_wiped_manager_stays_out(bug: &str) -> Result<(), String> {
    let mut cluster = start(bug).await;
    let victim = (cluster.leader().await + 1) % 3;
    cluster.kill(victim);
    std::fs::remove_dir_all(cluster.data_dir(victim)).unwrap();
    cluster.restart(victim);
    let (client, deadline) = (cluster.client(victim), Instant::now() + support::PATIENCE);
    while cluster.ended(victim).is_none() {
        if client.configs(&Page::default()).await.is_ok() {
            return Err("it serves, as if it had lost nothing".into());
        }
        assert!(Instant::now() < deadline, "{}", cluster.log(victim));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// A write without a key whose leader dies before it answers is not made again: whoever sent it learns that
/// its outcome is unknown.
async fn a_write_without_a_key_is_made_once(bug: &str) -> Result<(), String> {
    let mut cluster = start(bug).await;
    let leader = cluster.leader().await;
    let (dies, asked) = ((leader + 1) % 3, (leader + 2) % 3);
    restart_with(&mut cluster, dies, "reply-forwarded=return").await;
    let id = u64::try_from(dies).unwrap() + 1;
    cluster
        .eventually("it leads", async || {
            let _ = cluster.client(leader).transfer_leadership(Some(id)).await;
            cluster.leader().await == dies
        })
        .await;
    let raw = raw_client(&cluster);
    let url = format!(
        "https://127.0.0.1:{}/api/v1/configs/once",
        cluster.api_port(asked)
    );
    let answer = raw.put(url).header("if-none-match", "*").body("v").send().await;
    let answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let body = answer.text().await.unwrap_or_default();
    let deadline = Instant::now() + WITHIN;
    while cluster.ended(dies).is_none() {
        assert!(
            Instant::now() < deadline,
            "it did not come to the failpoint: {status} {body}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    match status {
        // Taken after its leader died, by the next one: then it was not made before.
        201 => Ok(()),
        504 if body.contains("\"unknown\"") => Ok(()),
        _ => Err(format!("{status}: {body}")),
    }
}

/// Sends what it is told to, without a key.
fn raw_client(cluster: &Cluster) -> reqwest::Client {
    let read = |name: &str| std::fs::read_to_string(cluster.bundle().join(name)).unwrap();
    let mut headers = reqwest::header::HeaderMap::new();
    let bearer = format!("Bearer {}", read("admin.token").trim());
    headers.insert("authorization", bearer.parse().unwrap());
    reqwest::Client::builder()
        .add_root_certificate(reqwest::Certificate::from_pem(read("ca.pem").as_bytes()).unwrap())
        .default_headers(headers)
        .build()
        .unwrap()
}

/// Runs a check without the bugs, where it must pass, and with each of them, where it must not.
async fn catches(bugs: &[&str], check: impl AsyncFn(&str) -> Result<(), String>) {
    check("").await.unwrap();
    for bug in bugs {
        assert!(BUGS.iter().any(|known| known.name == *bug), "there is no {bug}");
        let began = Instant::now();
        match check(bug).await {
            Err(why) => eprintln!("{bug}: caught in {:?}: {why}", began.elapsed()),
            Ok(()) => panic!("{bug} was not caught"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_before_a_quorum_has_it_are_caught() {
    let bugs = [
        "commit-on-append",
        "forward-answered-early",
        "acknowledged-before-local-sync",
    ];
    catches(&bugs, nothing_is_acknowledged_without_a_quorum).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_flushed_is_caught() {
    catches(&["skip-flush"], a_kill_of_all_loses_nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_does_not_wait_for_apply_is_caught() {
    catches(&["read-before-apply"], a_late_manager_shows_nothing_old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_manager_that_comes_back_is_caught() {
    catches(&["wiped-manager-readmitted"], a_wiped_manager_stays_out).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_made_again_without_a_key_is_caught() {
    catches(&["retry-without-key"], a_write_without_a_key_is_made_once).await;
}
