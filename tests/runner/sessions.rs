//! What a runner does with what managers tell it.

use std::{path::PathBuf, time::Duration};

use quorate::{
    model::{
        AgentId, AgentState,
        session::{FromManager, FromRunner},
    },
    runner::RunnerError,
};
use tokio::time::timeout;

use crate::scripted::{
    Cluster, Peer, Running, Scene, at_least_once, eventually, home_of, lives, pid_in, shell,
};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(600);

fn kill(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

fn parent(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_agent_is_started_restarted_stopped_and_reported() {
    let Scene {
        dir,
        cluster,
        manager,
        runner,
        enrolled,
    } = Scene::start().await;
    assert_eq!(enrolled.name.as_str(), "box-1");
    let (mut peer, hello) = manager.session(NEVER).await;
    assert_eq!((hello.placements, hello.boot != 0), (vec![], true));
    assert!(hello.resources.memory_bytes > 0 && hello.resources.cpu_millis > 0);

    let id = AgentId(1);
    let mut agent = shell(
        1,
        40,
        "echo $$ > pid; echo $QUORATE_AGENT $QUORATE_EPOCH $QUORATE_CONTAINER; echo oh >&2; sleep 1000",
    );
    peer.desire(50, std::slice::from_ref(&agent)).await;
    let running = peer.report(id, AgentState::Running).await;
    assert_eq!((running.epoch, running.restarts), (40, 0));
    let home = home_of(dir.path(), &agent);
    let first = pid_in(&home.join("pid")).await;
    let keeper = running.reason.strip_prefix("runs as process ").unwrap();
    assert_eq!(parent(first).to_string(), keeper);
    let log = home.join("output.log");
    let said = format!("agent-1 40 {}\n", cluster.container);
    eventually("both kinds of output", || {
        std::fs::read_to_string(&log)
            .ok()
            .filter(|text| text.contains(&said) && text.contains("oh\n"))
    })
    .await;

    std::fs::remove_file(home.join("pid")).unwrap();
    kill(first);
    let again = peer.report(id, AgentState::Starting).await;
    assert_eq!(again.restarts, 1);
    assert!(again.reason.starts_with("killed by SIGKILL"), "{}", again.reason);
    assert!(
        again.reason.contains("last words: oh; starts again in"),
        "{}",
        again.reason
    );
    peer.report(id, AgentState::Running).await;
    let second = pid_in(&home.join("pid")).await;
    assert!(second != first && lives(second));

    agent.assignment.run = false;
    peer.desire(60, &[agent]).await;
    let stopped = peer.report(id, AgentState::Stopped).await;
    assert_eq!(stopped.epoch, 40);
    assert!(!lives(second));

    runner.stop(peer).await;
}

#[tokio::test]
async fn what_an_agent_started_in_another_session_ends_with_it() {
    let Scene {
        dir, manager, runner, ..
    } = Scene::start().await;
    let fence = Duration::from_millis(1500);
    let (mut peer, _) = manager.session(fence).await;
    let id = AgentId(1);
    let mut agent = shell(
        1,
        5,
        "rm -f escaped; setsid sh -c 'trap \"\" TERM; echo $$ > escaped; while :; do sleep 0.1; done' & \
         while ! test -s escaped; do sleep 0.01; done; echo $$ > pid; wait",
    );
    let home = home_of(dir.path(), &agent);
    let started = async |peer: &mut Peer, mark: &str| {
        let files = async {
            let head = pid_in(&home.join("pid")).await;
            (head, pid_in(&home.join("escaped")).await)
        };
        // The lease is kept while a busy machine takes its time.
        let reported = async {
            loop {
                if let FromRunner::Report(report) = peer.next().await {
                    return report;
                }
            }
        };
        let (head, escaped) = tokio::select! {
            found = files => found,
            report = reported => panic!("{report:?}"),
        };
        std::fs::rename(home.join("pid"), home.join(mark)).unwrap();
        assert!(lives(head) && lives(escaped));
        (head, escaped)
    };
    peer.desire(10, std::slice::from_ref(&agent)).await;
    peer.report(id, AgentState::Running).await;
    let (head, first) = started(&mut peer, "first").await;

    // It ends by itself: the next one starts without it.
    kill(head);
    peer.report(id, AgentState::Starting).await;
    assert!(!lives(first), "left over after the program's end");
    // Its keeper is killed.
    peer.report(id, AgentState::Running).await;
    let (head, second) = started(&mut peer, "second").await;
    kill(parent(head));
    peer.report(id, AgentState::Starting).await;
    assert!(!lives(head) && !lives(second), "left over after the keeper's end");
    // It is stopped.
    peer.report(id, AgentState::Running).await;
    let (_, third) = started(&mut peer, "third").await;
    agent.assignment.run = false;
    peer.desire(11, std::slice::from_ref(&agent)).await;
    peer.report(id, AgentState::Stopped).await;
    assert!(!lives(third), "left over after a stop");
    // It is fenced.
    (agent.assignment.run, agent.assignment.epoch) = (true, 6);
    peer.desire(12, std::slice::from_ref(&agent)).await;
    peer.report(id, AgentState::Running).await;
    let (_, fourth) = started(&mut peer, "fourth").await;
    while peer.try_read().await.is_some() {}
    let (mut peer, hello) = manager.session(NEVER).await;
    if hello.placements[0].state != AgentState::Starting {
        peer.report(id, AgentState::Starting).await;
    }
    assert!(!lives(fourth), "left over after the fence");
    runner.shutdown.cancel();
    drop(peer);
    runner.end().await.unwrap();
}

#[tokio::test]
async fn a_new_epoch_starts_only_after_the_old_process_ended() {
    let Scene {
        dir, manager, runner, ..
    } = Scene::start().await;
    let (mut peer, _) = manager.session(NEVER).await;

    // Takes its time to stop, and leaves a mark when it has.
    let ended = dir.path().join("ended");
    let mark = ended.display();
    let slow =
        format!("trap 'sleep 0.3; touch {mark}; exit' TERM; echo $$ > old; while :; do sleep 0.05; done");
    let check = format!("test -e {mark} && echo 1 > verdict || echo 0 > verdict; sleep 1000");
    // Under a later epoch of the same placement, and in another placement of the same replica.
    let mut home = PathBuf::new();
    for (epoch, same) in [(5, true), (15, false)] {
        let old = shell(1, epoch, &slow);
        peer.desire(epoch, std::slice::from_ref(&old)).await;
        peer.report(AgentId(1), AgentState::Running).await;
        pid_in(&home_of(dir.path(), &old).join("old")).await;
        let mut next = shell(1, epoch + 4, &check);
        if same {
            next.assignment.placement = old.assignment.placement;
        }
        peer.desire(epoch + 1, std::slice::from_ref(&next)).await;
        home = home_of(dir.path(), &next);
        let verdict = pid_in(&home.join("verdict")).await;
        assert_eq!(verdict, 1, "the old one was still there: {epoch}");
        std::fs::remove_file(&ended).unwrap();
    }

    // Left out of the list, it is stopped and forgotten: a new session hears nothing of it, and what it
    // left is removed.
    peer.desire(20, &[]).await;
    eventually("its directory's end", || (!home.exists()).then_some(())).await;
    peer.applied(20).await;
    drop(peer);
    let mut sessions = 0;
    loop {
        let (_, hello) = manager.session(NEVER).await;
        sessions += 1;
        assert!(sessions < 20, "still held: {:?}", hello.placements);
        if hello.placements.is_empty() {
            break;
        }
    }
    runner.shutdown.cancel();
    runner.end().await.unwrap();
}

#[tokio::test]
async fn without_acknowledgements_exclusive_agents_stop_and_others_go_on() {
    let Scene {
        dir, manager, runner, ..
    } = Scene::start().await;
    let fence = Duration::from_millis(1500);
    let (mut peer, _) = manager.session(fence).await;

    let agents = [
        shell(1, 5, "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done"),
        at_least_once(shell(2, 6, "echo $$ > pid; sleep 1000")),
    ];
    // Until a heartbeat is acknowledged the exclusive agent has to wait, the other has not.
    peer.desire(10, &agents).await;
    let home = |id: usize| home_of(dir.path(), &agents[id - 1]);
    let other = pid_in(&home(2).join("pid")).await;
    // What came while the other started may be too old to cover a start.
    while let Ok(Some(_)) = timeout(Duration::from_millis(50), peer.try_read()).await {}
    let mut seq = loop {
        if let FromRunner::Heartbeat { seq, .. } = peer.read().await {
            break seq;
        }
    };
    assert!(!home(1).join("pid").exists());
    peer.send(FromManager::HeartbeatAck { seq }).await;
    let acknowledged = seq;
    let exclusive = pid_in(&home(1).join("pid")).await;

    // Silence from here on: the runner leaves, its exclusive agent ends though it ignores SIGTERM.
    while let Some(frame) = peer.try_read().await {
        if let FromRunner::Heartbeat { seq: next, .. } = frame {
            seq = next;
        }
    }
    assert!(seq > acknowledged, "heartbeats go on without acknowledgements");
    eventually("the exclusive agent's end", || (!lives(exclusive)).then_some(())).await;
    assert!(lives(other));

    // In the next session an acknowledgement alone is not enough: the agent may be elsewhere by now.
    std::fs::remove_file(home(1).join("pid")).unwrap();
    let (mut peer, hello) = manager.session(NEVER).await;
    let told = |id| {
        hello
            .placements
            .iter()
            .find(|r| r.replica.agent == AgentId(id))
            .unwrap()
    };
    assert_eq!(told(2).state, AgentState::Running);
    // All of it may have taken longer to end than the next session took to open.
    if told(1).state != AgentState::Starting {
        peer.report(AgentId(1), AgentState::Starting).await;
    }
    peer.applied(10).await;
    peer.applied(10).await;
    assert!(!home(1).join("pid").exists());
    peer.desire(20, &agents).await;
    assert_eq!(peer.report(AgentId(1), AgentState::Running).await.restarts, 1);
    assert!(lives(other));
    runner.stop(peer).await;
    assert!(!lives(other));
}

#[tokio::test]
async fn a_broken_session_leads_to_the_next_manager_where_older_lists_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new();
    let (one, two) = (cluster.manager().await, cluster.manager().await);
    let runner = Running::start(cluster.config(dir.path(), &[&one, &two]));
    // It begins with either.
    let (first, other) = tokio::select! {
        _ = cluster.enroll(&one) => (&one, &two),
        _ = cluster.enroll(&two) => (&two, &one),
    };
    let (mut peer, _) = first.session(NEVER).await;
    let agent = shell(1, 5, "echo $$ > pid; sleep 1000");
    peer.desire(10, std::slice::from_ref(&agent)).await;
    let path = home_of(dir.path(), &agent).join("pid");
    peer.report(AgentId(1), AgentState::Running).await;
    let pid = pid_in(&path).await;

    drop(peer);
    let (mut peer, hello) = other.session(NEVER).await;
    assert_eq!(
        hello.placements.first().map(|r| r.state),
        Some(AgentState::Running)
    );
    // A list this manager read before the agent was placed.
    peer.desire(9, &[]).await;
    peer.applied(10).await;
    peer.applied(10).await;
    assert!(lives(pid), "an older list stopped the agent");
    peer.desire(11, &[agent]).await;
    peer.applied(11).await;
    assert!(lives(pid));

    runner.stop(peer).await;
}

#[tokio::test]
async fn a_certificate_is_kept_and_a_refusal_for_good_ends_the_runner() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new();
    let manager = cluster.manager().await;
    let mut config = cluster.config(dir.path(), &[&manager]);
    let runner = Running::start(config.clone());
    cluster.enroll(&manager).await;
    let (peer, before) = manager.session(NEVER).await;
    let taken = Running::start(config.clone()).end().await;
    assert!(matches!(taken, Err(RunnerError::Taken(_))), "{taken:?}");
    runner.shutdown.cancel();
    drop(peer);
    runner.end().await.unwrap();

    // No token is needed any more.
    config.join_token = None;
    let runner = Running::start(config.clone());
    let (mut peer, after) = manager.session(NEVER).await;
    assert_ne!(before.boot, after.boot);
    let refused = FromManager::Refused {
        reason: "removed by an operator".into(),
        retry: false,
    };
    peer.send(refused).await;
    let error = runner.end().await.unwrap_err();
    assert!(error.to_string().contains("removed by an operator"), "{error}");

    // Without an identity it is.
    config.data_dir = dir.path().join("another");
    let error = Running::start(config).end().await.unwrap_err();
    assert!(matches!(error, RunnerError::NoToken { .. }), "{error}");
}

#[tokio::test]
async fn a_runner_that_no_manager_understands_keeps_its_agents_and_tries_again() {
    let Scene {
        dir, manager, runner, ..
    } = Scene::start().await;
    let (mut peer, _) = manager.session(NEVER).await;
    let id = AgentId(1);
    let agent = at_least_once(shell(1, 40, "echo $$ > pid; sleep 1000"));
    let home = home_of(dir.path(), &agent);
    peer.desire(50, &[agent]).await;
    peer.report(id, AgentState::Running).await;
    let pid = pid_in(&home.join("pid")).await;
    drop(peer);

    // As a manager says it that speaks later versions alone.
    for _ in 0..2 {
        let mut peer = manager.accept().await;
        assert!(matches!(peer.read().await, FromRunner::Hello { .. }));
        peer.send(FromManager::Refused {
            reason: "upgrade what dials first".into(),
            retry: true,
        })
        .await;
    }
    let (mut peer, hello) = manager.session(NEVER).await;
    assert_eq!(hello.placements.len(), 1);
    assert_eq!(hello.placements[0].restarts, 0);
    // The session has begun: a runner that ends before that says no goodbye.
    peer.read().await;
    assert!(lives(pid), "the agent goes on");
    runner.stop(peer).await;
}

#[tokio::test]
async fn a_runner_that_comes_back_ends_what_an_earlier_start_left() {
    let Scene {
        dir,
        cluster,
        manager,
        runner,
        ..
    } = Scene::start().await;
    drop(manager.session(NEVER).await);
    runner.shutdown.cancel();
    runner.end().await.unwrap();

    // What an agent started in a group of its own is not tied to the runner's life.
    let left = |container: String| {
        let mut command = std::process::Command::new("sleep");
        command
            .arg("1000")
            .env("QUORATE_CONTAINER", container)
            .spawn()
            .unwrap()
    };
    let again = shell(2, 1, "sleep 1000");
    let (unlisted, listed) = (home_of(dir.path(), &shell(1, 1, "")), home_of(dir.path(), &again));
    for dir in [&unlisted, &listed] {
        std::fs::create_dir_all(dir).unwrap();
    }
    let mut ours = left(cluster.container.to_string());
    let mut anothers = left(Cluster::new().container.to_string());
    let runner = Running::start(cluster.config(dir.path(), &[&manager]));
    let (mut peer, _) = manager.session(NEVER).await;
    assert!(unlisted.exists(), "nobody has said yet what is to be here");
    peer.desire(1, &[again]).await;
    eventually("its directory's end", || (!unlisted.exists()).then_some(())).await;
    assert!(listed.exists());
    let end = eventually("its end", || ours.try_wait().unwrap()).await;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&end), Some(9));
    assert!(anothers.try_wait().unwrap().is_none());
    anothers.kill().unwrap();
    anothers.wait().unwrap();
    runner.shutdown.cancel();
    drop(peer);
    runner.end().await.unwrap();
}
