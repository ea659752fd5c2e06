//! Managers that die between two steps whose order matters: nothing acknowledged is lost, nothing is
//! applied twice, and the cluster is whole again soon.
//!
//! Each crash is of a real process under load, at a point that `FAILPOINTS` names; see
//! [`quorate::failpoints`]. Afterwards the process is started again without it.

mod support;

use std::{
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use quorate::{client::Condition, failpoints::POINTS};
use support::{
    Cluster,
    load::{Load, all_there, configs},
    whole_again,
};

/// Within this time after the restart all managers must serve again.
const CONVERGED: Duration = Duration::from_secs(10);

/// Snapshots often, and short logs, so that both are built, installed and purged in a short run.
const RAFT: &str = "[raft]\nsnapshot_every = 150\nkeep_logs = 20\n";

/// Raft purges in batches of 1,024: this many writes make it purge, and leave who missed them behind.
const PURGED: usize = 1_400;

/// What has to happen for a manager to reach a point.
#[derive(Clone, Copy, PartialEq)]
enum When {
    /// It follows, and entries come in.
    Follows,
    /// It leads.
    Leads,
    /// Leaders change.
    Votes,
    /// It was away until the log that it lacks was purged.
    WasAway,
}

/// A point, how often it is passed before, and when.
type Crash = (&'static str, usize, When);

const LOG: [Crash; 7] = [
    ("append", 20, When::Follows),
    ("rows", 20, When::Follows),
    ("fsync", 30, When::Follows),
    ("fsynced", 30, When::Follows),
    ("append", 20, When::Leads),
    ("fsync", 30, When::Leads),
    ("fsynced", 30, When::Leads),
];
const VOTE: [Crash; 2] = [("vote", 0, When::Votes), ("voted", 0, When::Votes)];
const APPLY: [Crash; 4] = [
    ("apply", 20, When::Follows),
    ("applied", 20, When::Follows),
    ("apply", 20, When::Leads),
    ("applied", 20, When::Leads),
];
const SNAPSHOT: [Crash; 2] = [
    ("snapshot-written", 1, When::Follows),
    ("snapshot-built", 1, When::Leads),
];
const INSTALL: [Crash; 3] = [
    ("snapshot-received", 0, When::WasAway),
    ("snapshot-kept", 0, When::WasAway),
    ("snapshot-installed", 0, When::WasAway),
];
const PURGE: [Crash; 3] = [
    ("purge", 0, When::Follows),
    ("purge-marked", 0, When::Leads),
    ("purge-rows", 3, When::Follows),
];
const ANSWER: [Crash; 5] = [
    ("reply", 20, When::Follows),
    ("reply", 20, When::Leads),
    ("reply-forwarded", 20, When::Leads),
    ("forward", 20, When::Follows),
    ("forwarded", 20, When::Follows),
];

/// Crashes one manager after another, under load, and looks whether anything is missing at the end.
async fn crash_at_each(crashes: &[Crash]) {
    let mut cluster = Cluster::start_with(3, RAFT, &[]);
    cluster.serving().await;
    let load = Load::start(&cluster, 24);
    load.more(&cluster, 50).await;
    for crash in crashes {
        crash_at(&mut cluster, &load, *crash).await;
        load.more(&cluster, 50).await;
    }
    let acknowledged = load.finish().await;
    all_there(&cluster, 3, &acknowledged).await;
}

async fn crash_at(cluster: &mut Cluster, load: &Load, (point, passed, when): Crash) {
    let victim = (cluster.leader().await + 1) % 3;
    cluster.kill(victim);
    if when == When::WasAway {
        load.more(cluster, PURGED).await;
    }
    let action = match passed {
        0 => format!("{point}=return"),
        _ => format!("{point}={passed}*off->return"),
    };
    cluster.set_env(victim, "FAILPOINTS", Some(&action));
    cluster.restart(victim);
    died_there(cluster, load, victim, point, when).await;
    cluster.set_env(victim, "FAILPOINTS", None);
    load.more(cluster, 20).await;
    cluster.restart(victim);
    converges(cluster, &format!("{victim} died at `{point}`")).await;
}

/// Leads the victim to the point, and waits until it has aborted.
async fn died_there(cluster: &mut Cluster, load: &Load, victim: usize, point: &str, when: When) {
    let deadline = Instant::now() + support::PATIENCE;
    let id = u64::try_from(victim).unwrap() + 1;
    let (others, its) = (cluster.client_from(victim + 1), cluster.client(victim));
    let mut to = id;
    for n in 0.. {
        if let Some(status) = cluster.ended(victim) {
            let log = cluster.log(victim);
            assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{point}:\n{log}");
            return;
        }
        assert!(
            Instant::now() < deadline,
            "manager {victim} never came to `{point}`:\n{}",
            cluster.log(victim)
        );
        if matches!(when, When::Leads | When::Votes) {
            // Refused while the victim is not up yet, or has just died.
            let _ = others.transfer_leadership(Some(to)).await;
        }
        if when == When::Votes {
            to = to % 3 + 1;
        }
        // Clients that were turned away by its death do not come back by themselves.
        let name = format!("{point}-{}-{n}", cluster.pid(victim));
        let _ = its
            .put_config(&name, "text/plain", "", Condition::Any, None)
            .await;
        if when == When::WasAway && configs(&its).await.is_ok() {
            // It was back before the leader had purged what it lacked, and caught up by the log: raft purges
            // nothing that a stream of entries may need, and looks again when one breaks off.
            cluster.kill(victim);
            load.more(cluster, PURGED).await;
            cluster.restart(victim);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn converges(cluster: &Cluster, after: &str) {
    match whole_again(cluster, CONVERGED).await {
        Ok(took) => eprintln!("whole again {took:?} after {after}"),
        Err(why) => panic!(
            "not whole again {CONVERGED:?} after {after}: {why}\n{}\n{}\n{}",
            cluster.log(0),
            cluster.log(1),
            cluster.log(2)
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dying_around_the_log_loses_nothing() {
    crash_at_each(&LOG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dying_around_a_vote_loses_nothing() {
    crash_at_each(&VOTE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dying_around_apply_loses_nothing() {
    crash_at_each(&APPLY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dying_around_a_snapshot_loses_nothing() {
    crash_at_each(&SNAPSHOT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dying_around_the_installation_of_a_snapshot_loses_nothing() {
    crash_at_each(&INSTALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dying_around_a_purge_loses_nothing() {
    crash_at_each(&PURGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dying_around_an_answer_loses_nothing() {
    crash_at_each(&ANSWER).await;
}

#[test]
fn there_is_a_crash_at_every_point() {
    let all = [&LOG[..], &VOTE, &APPLY, &SNAPSHOT, &INSTALL, &PURGE, &ANSWER];
    let crashes: Vec<_> = all.into_iter().flatten().map(|(point, ..)| *point).collect();
    for (point, _) in POINTS {
        assert!(crashes.contains(&point), "no crash at `{point}`");
    }
}
