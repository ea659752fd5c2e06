//! The loop that scans, on a state of one process and real sockets.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{io::AsyncReadExt, net::TcpListener, task::JoinSet};

use super::*;
use crate::{
    command::{Loop, Outcome, Reply},
    consensus::{Leadership, ProposeError},
    control::fixture::{Alone, TERM},
    model::Revision,
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

/// How the scan says it ended: whether it was complete, and its words.
async fn ended(alone: &Alone, id: u64) -> (bool, String) {
    alone
        .until("it is done", |s| state_of(s, id) == Some(ScanState::Done))
        .await;
    let end = alone.proposed().into_iter().find_map(|command| match command {
        Command::Discovery(DiscoveryCommand::End {
            id: ended,
            complete,
            reason,
            ..
        }) if ended == ScanId(id) => Some((complete, reason)),
        _ => None,
    });
    end.unwrap()
}

#[tokio::test]
async fn a_scan_that_looked_everywhere_says_so() {
    let alone = Alone::new();
    let _task = start(&alone, None, 1_000, TERM);
    asked(&alone, 1, &plan("127.77.5.0/30", 1));
    let (complete, words) = ended(&alone, 1).await;
    assert!(complete && words.starts_with("looked everywhere:"), "{words}");
}

/// What there was no room for was forgotten as if it had not been met, and what this manager had no way to as if it
/// were gone.
#[tokio::test]
async fn a_scan_that_drops_what_it_met_is_not_complete() {
    let alone = Alone::new();
    asked(&alone, 1, &plan("127.77.6.0/30", 1));
    let state = alone.state();
    let scanning = Scanning::new(Prober::new().unwrap(), None, Duration::from_secs(300), 1);
    let place = "127.77.6.1:1".parse().unwrap();
    let candidate = |n: usize| Seen::Candidate {
        name: format!("box-{n}").parse().unwrap(),
        key: format!("{n:064x}").parse().unwrap(),
    };
    let foreign = |n: usize| Seen::Foreign {
        name: format!("box-{n}").parse().unwrap(),
    };
    let kinds: [(usize, &dyn Fn(usize) -> Seen); 2] =
        [(MAX_CANDIDATES, &candidate), (MAX_FINDINGS, &foreign)];
    for (room, seen) in kinds {
        let mut run = Run::new(&alone, &scanning, state.scan(ScanId(1)).unwrap(), TERM);
        (0..room).for_each(|n| run.note(place, seen(n)));
        assert!(run.gaps.none());
        run.note(place, seen(room));
        assert!(!run.gaps.none());
    }
    let mut run = Run::new(&alone, &scanning, state.scan(ScanId(1)).unwrap(), TERM);
    let why = "no way there".to_owned();
    run.note(place, Seen::NotLooked { why });
    assert!(!run.gaps.none());
}

/// Fails inside the first visit.
#[derive(Clone)]
struct Stumbling {
    alone: Alone,
    stumbled: Arc<AtomicBool>,
}

impl Replica for Stumbling {
    async fn propose(&self, by: Loop, command: Command) -> Result<Reply, ProposeError> {
        self.alone.propose(by, command).await
    }

    fn state(&self) -> Arc<State> {
        self.alone.state()
    }

    fn watch_applied(&self) -> tokio::sync::watch::Receiver<Revision> {
        self.alone.watch_applied()
    }

    fn watch_leadership(&self) -> tokio::sync::watch::Receiver<Option<Leadership>> {
        self.alone.watch_leadership()
    }

    fn session_addresses(&self) -> Vec<String> {
        assert!(
            self.stumbled.swap(true, Ordering::Relaxed),
            "on purpose, in one visit"
        );
        Vec::new()
    }
}

/// It took the control loops down with it.
#[tokio::test]
async fn a_visit_that_panics_is_one_odd_place() {
    let alone = Alone::new();
    let stumbling = Stumbling {
        alone: alone.clone(),
        stumbled: Arc::default(),
    };
    asked(&alone, 1, &plan("127.77.7.0/30", 1));
    let scanning = Scanning::new(Prober::new().unwrap(), None, Duration::from_secs(300), 1_000);
    let mut task = JoinSet::new();
    task.spawn(run(stumbling, scanning, TERM));
    let (complete, words) = ended(&alone, 1).await;
    assert!(!complete && words.contains("not look at 1 places"), "{words}");
    let state = alone.state();
    assert_eq!(state.scan(ScanId(1)).unwrap().count.done, 4);
    let odd: Vec<_> = state.findings().map(|found| found.kind).collect();
    assert_eq!(odd, [FindingKind::OddRunner]);
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
            by: crate::command::Principal::Manager,
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
