//! The loop that scans, on a state of one process and real sockets.

use std::time::Duration;

use tokio::{io::AsyncReadExt, net::TcpListener, task::JoinSet};

use super::*;
use crate::{
    command::Outcome,
    control::fixture::{Alone, TERM},
};

fn plan(cidr: &str, port: u16) -> ScanPlan {
    ScanPlan::new(vec![cidr.parse().unwrap()], Some(vec![port])).unwrap()
}

fn asked(alone: &Alone, id: u64, plan: &ScanPlan) {
    let scan = DiscoveryCommand::Scan {
        id: ScanId(id),
        plan: plan.clone(),
        scheduled: false,
    };
    let asked = alone.apply(Command::Discovery(scan)).result;
    assert_eq!(asked, Ok(Outcome::ScanAsked(ScanId(id))));
}

fn state_of(state: &State, id: u64) -> Option<ScanState> {
    state.scan(ScanId(id)).map(|scan| scan.state)
}

fn start(alone: &Alone, plan: Option<ScanPlan>, rate: u32, term: u64) -> JoinSet<()> {
    let scanning = Scanning::new(Prober::new().unwrap(), plan, Duration::from_secs(300), rate);
    let mut task = JoinSet::new();
    task.spawn(run(alone.clone(), scanning, term));
    task
}

#[tokio::test]
async fn scans_run_one_after_the_other_to_their_end() {
    let alone = Alone::new();
    let listener = TcpListener::bind("127.77.0.3:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for id in [1, 2] {
        asked(&alone, id, &plan("127.77.0.0/28", port));
    }
    let _task = start(&alone, None, 1_000, TERM);
    let met = listener.accept().await.unwrap().1;
    assert!(met.ip().is_loopback());
    drop(listener);
    alone
        .until("both are done", |s| {
            [1, 2].iter().all(|id| state_of(s, *id) == Some(ScanState::Done))
        })
        .await;
    let state = alone.state();
    let scan = state.scan(ScanId(2)).unwrap();
    assert_eq!((scan.count.done, scan.count.proven, scan.term), (16, 0, TERM));
    let first = state.scan(ScanId(1)).unwrap();
    assert!(first.version < scan.version);
}

#[tokio::test]
async fn the_configured_networks_are_looked_at_unasked() {
    let alone = Alone::new();
    let _task = start(&alone, Some(plan("127.77.1.0/30", 1)), 1_000, TERM);
    alone
        .until("a scan is done", |s| {
            s.scans()
                .any(|scan| scan.scheduled && scan.state == ScanState::Done)
        })
        .await;
}

/// All connections of a cancelled scan end with it, and the next one is not held up.
#[tokio::test]
async fn a_cancelled_scan_is_left_at_once() {
    let alone = Alone::new();
    let listener = TcpListener::bind("127.77.2.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    asked(&alone, 1, &plan("127.77.2.1/32", port));
    let _task = start(&alone, None, 1_000, TERM);
    // Accepted, and never answered.
    let (mut held, _) = listener.accept().await.unwrap();
    let cancel = DiscoveryCommand::Cancel { id: ScanId(1) };
    alone.apply(Command::Discovery(cancel)).result.unwrap();
    let until_its_end = async { while held.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(Duration::from_secs(3), until_its_end)
        .await
        .expect("the connection is still there");
    asked(&alone, 2, &plan("127.77.2.2/32", 1));
    alone
        .until("the next is done", |s| state_of(s, 2) == Some(ScanState::Done))
        .await;
    assert_eq!(state_of(&alone.state(), 1), Some(ScanState::Cancelled));
}

fn begun(alone: &Alone, id: u64) {
    asked(alone, id, &plan("127.77.3.0/30", 1));
    let begun = DiscoveryCommand::Progress {
        id: ScanId(id),
        term: TERM,
        count: ScanCount::default(),
        met: Vec::new(),
        findings: Vec::new(),
    };
    alone.apply(Command::Discovery(begun)).result.unwrap();
}

/// A loop of this leader that panicked left a scan that nobody ran and nobody ended.
#[tokio::test]
async fn what_an_earlier_loop_left_is_interrupted_and_the_next_runs() {
    let alone = Alone::new();
    begun(&alone, 1);
    asked(&alone, 2, &plan("127.77.3.4/32", 1));
    let _task = start(&alone, None, 1_000, TERM);
    alone
        .until("the next is done", |s| state_of(s, 2) == Some(ScanState::Done))
        .await;
    assert_eq!(state_of(&alone.state(), 1), Some(ScanState::Interrupted));
}

#[tokio::test]
async fn what_a_former_leader_ran_is_interrupted() {
    let alone = Alone::new();
    begun(&alone, 1);
    // The state of one process has one term only, so this is refused there; that it is asked for counts.
    let _task = start(&alone, None, 1_000, TERM + 1);
    let interrupts = |command: &Command| {
        let Command::Discovery(DiscoveryCommand::End { id, term, state, .. }) = command else {
            return false;
        };
        (*id, *term, *state) == (ScanId(1), TERM + 1, ScanState::Interrupted)
    };
    while !alone.proposed().iter().any(interrupts) {
        tokio::task::yield_now().await;
    }
}

/// What was met while nothing could be written is not lost, and the scan ends when it can.
#[tokio::test]
async fn a_scan_waits_for_the_log() {
    let alone = Alone::new();
    asked(&alone, 1, &plan("127.77.4.0/30", 1));
    alone.fail(true);
    let _task = start(&alone, None, 1_000, TERM);
    while alone.proposed().len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(state_of(&alone.state(), 1), Some(ScanState::Waiting));
    alone.fail(false);
    alone
        .until("it is done", |s| state_of(s, 1) == Some(ScanState::Done))
        .await;
}

#[test]
fn only_a_runner_s_token_that_is_good_now_is_proved() {
    use crate::{
        command::{ClusterCommand, Proposal},
        model::{JoinToken, Millis},
    };
    let mut state = State::default();
    let token = |id, role, expires_at: Option<u64>, uses_left| JoinToken {
        id: JoinTokenId(id),
        role,
        hash: [7; 32],
        expires_at: expires_at.map(Millis),
        uses_left,
        version: 0,
    };
    for (revision, token) in (1..).zip([
        token(1, JoinRole::Runner, None, None),
        token(2, JoinRole::Manager, None, None),
        token(3, JoinRole::Runner, Some(50), None),
        token(4, JoinRole::Runner, Some(500), Some(1)),
        token(5, JoinRole::Runner, None, Some(0)),
    ]) {
        let proposal = Proposal {
            at: Millis(100),
            key: None,
            command: Command::Cluster(ClusterCommand::CreateJoinToken(token)),
        };
        state.apply(revision, TERM, &proposal).result.unwrap();
    }
    let good: Vec<_> = (1..=6)
        .filter(|id| usable(&state, JoinTokenId(*id)).is_some())
        .collect();
    assert_eq!(good, [1, 4]);
}
