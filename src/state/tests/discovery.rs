//! Scans, what they find, and the approval of candidates.

use super::*;
use crate::{
    command::DiscoveryCommand,
    model::{Finding, FindingKind, Met, ScanCount, ScanId, ScanPlan, ScanState},
    state::{MAX_CANDIDATES, MAX_FINDINGS, MAX_SCANS_UNDER_WAY},
};

fn plan(cidr: &str) -> ScanPlan {
    ScanPlan::new(vec![cidr.parse().unwrap()], Some(vec![7997])).unwrap()
}

fn met(id: u64, name: &str, address: &str, key: &str) -> Met {
    Met {
        id: ContainerId(id),
        name: name.parse().unwrap(),
        address: address.parse().unwrap(),
        fingerprint: key.into(),
    }
}

fn finding(address: &str) -> Finding {
    Finding {
        address: address.parse().unwrap(),
        kind: FindingKind::OpenEngine,
        detail: "28.0".into(),
        scan: ScanId(0),
        seen_at: Millis(0),
    }
}

fn invitation(id: u64) -> JoinToken {
    JoinToken {
        id: JoinTokenId(id),
        role: JoinRole::Runner,
        hash: [9; 32],
        expires_at: None,
        uses_left: Some(1),
        version: 0,
    }
}

impl StateBench {
    fn discovery(&mut self, command: DiscoveryCommand) -> Result {
        self.apply(Command::Discovery(command))
    }

    fn scan(&mut self, id: u64, cidr: &str) -> Result {
        self.discovery(DiscoveryCommand::Scan {
            id: ScanId(id),
            plan: plan(cidr),
            scheduled: false,
        })
    }

    fn progress(&mut self, id: u64, term: u64, met: Vec<Met>, findings: Vec<Finding>) -> Result {
        self.discovery(DiscoveryCommand::Progress {
            id: ScanId(id),
            term,
            count: ScanCount::default(),
            met,
            findings,
        })
    }

    fn end(&mut self, id: u64, state: ScanState) -> Result {
        self.end_as(id, state, true)
    }

    fn end_as(&mut self, id: u64, state: ScanState, complete: bool) -> Result {
        self.discovery(DiscoveryCommand::End {
            id: ScanId(id),
            term: TERM,
            state,
            complete,
            reason: "so".into(),
        })
    }

    fn scanned(&mut self, id: u64, cidr: &str, met: Vec<Met>, findings: Vec<Finding>) {
        self.scan(id, cidr).unwrap();
        self.progress(id, TERM, met, findings).unwrap();
        self.end(id, ScanState::Done).unwrap();
    }

    fn approve(&mut self, id: u64, key: &str, token: u64) -> Result {
        self.container_command(ContainerCommand::Approve {
            id: ContainerId(id),
            fingerprint: key.into(),
            token: invitation(token),
            condition: Condition::Any,
        })
    }

    fn enroll_with(&mut self, id: u64, name: &str, token: u64) -> Result {
        self.container_command(ContainerCommand::Enroll {
            id: ContainerId(id),
            token: JoinTokenId(token),
            name: name.parse().unwrap(),
            engine_container: Some("abcd".into()),
        })
    }
}

#[test]
fn a_candidate_is_found_moves_and_goes_when_a_whole_scan_misses_it() {
    let mut bench = StateBench::new();
    let there = || met(7, "web", "10.0.0.2:7997", "aa11");
    bench.scanned(1, "10.0.0.0/28", vec![there()], vec![finding("10.0.0.3:7997")]);
    let found = bench.container(7).clone();
    assert_eq!(found.state, ContainerState::Candidate);
    assert_eq!(found.address.as_deref(), Some("10.0.0.2:7997"));
    assert_eq!(found.fingerprint.as_deref(), Some("aa11"));
    assert_eq!(found.name.as_str(), "web-aa11");

    // The same key elsewhere is the same candidate; met as it was, nothing changes.
    bench.scanned(2, "10.0.0.0/28", vec![there()], vec![]);
    assert_eq!(bench.container(7).version, found.version);
    assert_eq!(bench.state.findings().count(), 0, "it was not met again");
    bench.scanned(
        3,
        "10.0.0.0/28",
        vec![met(8, "web", "10.0.0.9:7997", "aa11")],
        vec![],
    );
    assert_eq!(bench.container(7).address.as_deref(), Some("10.0.0.9:7997"));
    assert_eq!(bench.state.candidates(), 1);

    // A scan of another network, or one that did not look everywhere, says nothing about it.
    bench.scanned(4, "10.0.1.0/28", vec![], vec![]);
    bench.scan(5, "10.0.0.0/28").unwrap();
    bench.progress(5, TERM, vec![], vec![]).unwrap();
    bench
        .discovery(DiscoveryCommand::Cancel { id: ScanId(5) })
        .unwrap();
    assert_eq!(bench.state.candidates(), 1);
    bench.scanned(6, "10.0.0.0/28", vec![], vec![]);
    assert_eq!(bench.state.candidates(), 0);
    assert!(bench.state.container(ContainerId(7)).is_none());
}

/// A stranger that called itself like a container that was still to come was found, shown and approved as that.
#[test]
fn a_stranger_takes_no_name_and_hides_nobody() {
    let mut bench = StateBench::new();
    bench.ready(1);
    let (key, alike) = ("aabbccddeeff00112233", "aabbccddeeff00119999");
    let long = "x".repeat(63);
    let found = vec![
        met(2, "c1", "10.0.0.2:7997", key),
        met(3, "c1", "10.0.0.3:7997", alike),
        met(4, "db", "10.0.0.4:7997", "ee"),
        met(5, &long, "10.0.0.5:7997", key.replace("aa", "bb").as_str()),
    ];
    bench.scanned(1, "10.0.0.0/28", found, vec![]);
    assert_eq!(bench.container(1).state, ContainerState::Ready);
    assert_eq!(bench.container(2).name.as_str(), "c1-aabbccddeeff0011");
    // It can only be played that two keys begin alike, and then both are shown.
    assert_eq!(bench.container(3).name.as_str(), ContainerId(3).to_string());
    assert_eq!(bench.container(4).name.as_str(), "db-ee");
    let long = bench.container(5).name.as_str();
    assert!(long.ends_with("x-bbbbccddeeff0011"), "{long}");

    // Who comes with a join token gets the name it asks for, and a record of its own.
    assert_eq!(bench.enroll(9, "db", None), Ok(Outcome::Enrolled(ContainerId(9))));
    assert_eq!(bench.named("db").id, ContainerId(9));
    assert_eq!(bench.container(4).state, ContainerState::Candidate);
}

/// It was approved, and had not joined yet when a scan with a bad moment missed it.
#[test]
fn an_approved_candidate_outlives_a_scan_that_misses_it() {
    let mut bench = StateBench::new();
    let there = vec![
        met(2, "web", "10.0.0.2:7997", "aa"),
        met(3, "other", "10.0.0.3:7997", "bb"),
    ];
    bench.scanned(1, "10.0.0.0/28", there, vec![]);
    bench.approve(2, "aa", 20).unwrap();
    bench.scanned(2, "10.0.0.0/28", vec![], vec![]);
    assert!(bench.state.container(ContainerId(3)).is_none());
    assert_eq!(
        bench.enroll_with(9, "web", 20),
        Ok(Outcome::Enrolled(ContainerId(2)))
    );
}

/// Places that could not be looked at, or were seen and not told of, were taken for empty.
#[test]
fn a_scan_that_is_not_complete_forgets_nothing() {
    let mut bench = StateBench::new();
    let there = vec![met(2, "web", "10.0.0.2:7997", "aa")];
    bench.scanned(1, "10.0.0.0/28", there, vec![finding("10.0.0.3:7997")]);
    bench.scan(2, "10.0.0.0/28").unwrap();
    bench.progress(2, TERM, vec![], vec![]).unwrap();
    bench.end_as(2, ScanState::Done, false).unwrap();
    assert_eq!(bench.state.scan(ScanId(2)).unwrap().state, ScanState::Done);
    assert_eq!((bench.state.candidates(), bench.state.findings().count()), (1, 1));
    bench.scanned(3, "10.0.0.0/28", vec![], vec![]);
    assert_eq!((bench.state.candidates(), bench.state.findings().count()), (0, 0));
}

/// Strangers that look odd by the hundred had hidden the engine that is open to all.
#[test]
fn an_open_engine_is_shown_however_many_strangers_there_are() {
    let mut bench = StateBench::new();
    bench.scan(1, "10.0.0.0/16").unwrap();
    let odd = |place: String| Finding {
        kind: FindingKind::OddRunner,
        ..finding(&place)
    };
    // One host has few of them, however many ports it answers on, and its engine is one.
    for port in 1..=9 {
        let one = odd(format!("10.0.0.1:{port}"));
        bench.progress(1, TERM, vec![], vec![one]).unwrap();
    }
    assert_eq!(bench.state.findings().count(), 4);
    bench
        .progress(1, TERM, vec![], vec![finding("10.0.0.1:2375")])
        .unwrap();
    assert_eq!(bench.state.findings().count(), 4);

    for n in 0..300 {
        let one = odd(format!("10.0.{}.{}:7997", 1 + n / 256, n % 256));
        bench.progress(1, TERM, vec![], vec![one]).unwrap();
    }
    assert_eq!(bench.state.findings().count(), MAX_FINDINGS);
    bench
        .progress(1, TERM, vec![], vec![finding("10.0.9.9:2375")])
        .unwrap();
    assert_eq!(bench.state.findings().count(), MAX_FINDINGS);
    let open = bench.state.findings();
    let open = open.filter(|finding| finding.kind == FindingKind::OpenEngine);
    let open: Vec<_> = open.map(|finding| finding.address.to_string()).collect();
    assert_eq!(open, ["10.0.0.1:2375", "10.0.9.9:2375"]);
}

#[test]
fn an_approved_candidate_becomes_its_own_record_and_no_other() {
    let mut bench = StateBench::new();
    bench.register(1, "db").unwrap();
    bench.scanned(
        1,
        "10.0.0.0/28",
        vec![met(2, "web", "10.0.0.2:7997", "aa")],
        vec![],
    );
    let other_key = bench.approve(2, "bb", 20);
    assert!(matches!(&other_key, Err(Rejection::Busy(why)) if why.contains("another key now, aa")));
    assert!(matches!(bench.approve(1, "aa", 20), Err(Rejection::Busy(_))));
    assert!(matches!(bench.approve(2, "", 20), Err(Rejection::Busy(_))));
    assert_eq!(
        bench.approve(2, "aa", 20),
        Ok(Outcome::JoinTokenCreated(JoinTokenId(20)))
    );
    // Approved again, the former token is void.
    bench.approve(2, "aa", 21).unwrap();
    assert!(bench.state.join_token(JoinTokenId(20)).is_none());
    assert!(matches!(
        bench.enroll_with(3, "db", 20),
        Err(Rejection::Refused(_))
    ));

    // It calls itself like a record that waits for somebody else, and gets its own all the same.
    assert_eq!(
        bench.enroll_with(3, "db", 21),
        Ok(Outcome::Enrolled(ContainerId(2)))
    );
    assert!(!bench.container(1).enrolled);
    let joined = bench.container(2);
    assert_eq!(joined.state, ContainerState::Registered);
    assert_eq!((&joined.fingerprint, joined.invited), (&None, None));
    assert!(bench.state.join_token(JoinTokenId(21)).is_none());
    assert!(matches!(
        bench.enroll_with(4, "db", 21),
        Err(Rejection::Refused(_))
    ));
    assert!(matches!(bench.approve(2, "aa", 22), Err(Rejection::Busy(_))));
}

/// The token of an approval would otherwise have let its holder in under any name.
#[test]
fn a_removed_candidate_takes_its_token_with_it() {
    let mut bench = StateBench::new();
    bench.scanned(
        1,
        "10.0.0.0/28",
        vec![met(2, "web", "10.0.0.2:7997", "aa")],
        vec![],
    );
    bench.approve(2, "aa", 20).unwrap();
    bench
        .container_command(ContainerCommand::Remove {
            id: ContainerId(2),
            condition: Condition::Any,
        })
        .unwrap();
    assert!(bench.state.join_token(JoinTokenId(20)).is_none());
    assert!(matches!(
        bench.enroll_with(3, "x", 20),
        Err(Rejection::Refused(_))
    ));
}

#[test]
fn a_scan_belongs_to_the_leader_that_runs_it() {
    let mut bench = StateBench::new();
    bench.scan(1, "10.0.0.0/28").unwrap();
    assert!(matches!(
        bench.scan(1, "10.0.0.0/28"),
        Err(Rejection::Exists { .. })
    ));
    // Nobody ran it yet: there is nothing to interrupt, and it is not done.
    assert!(bench.end(1, ScanState::Interrupted).is_err());
    assert!(bench.end(1, ScanState::Done).is_err());
    assert!(bench.progress(1, TERM + 1, vec![], vec![]).is_err());
    bench.progress(1, TERM, vec![], vec![]).unwrap();

    // A later leader neither goes on with it nor ends it as done.
    let later = |bench: &mut StateBench, command| {
        bench.revision += 1;
        let proposal = Proposal {
            at: Millis(bench.revision),
            by: crate::command::Principal::Manager,
            key: None,
            command: Command::Discovery(command),
        };
        bench.state.apply(bench.revision, TERM + 1, &proposal).result
    };
    let id = ScanId(1);
    let progress = DiscoveryCommand::Progress {
        id,
        term: TERM + 1,
        count: ScanCount::default(),
        met: vec![],
        findings: vec![],
    };
    assert!(later(&mut bench, progress).is_err());
    let end = |state| DiscoveryCommand::End {
        id,
        term: TERM + 1,
        state,
        complete: true,
        reason: "its leader is gone".into(),
    };
    assert!(later(&mut bench, end(ScanState::Done)).is_err());
    later(&mut bench, end(ScanState::Interrupted)).unwrap();
    let scan = bench.state.scan(id).unwrap();
    assert_eq!(
        (scan.state, scan.reason.as_str()),
        (ScanState::Interrupted, "its leader is gone")
    );
    assert!(later(&mut bench, DiscoveryCommand::Cancel { id }).is_err());
}

/// A leader's loops may start anew in the same term.
#[test]
fn a_scan_that_its_own_leader_left_is_interrupted_too() {
    let mut bench = StateBench::new();
    bench.scan(1, "10.0.0.0/28").unwrap();
    bench.progress(1, TERM, vec![], vec![]).unwrap();
    bench.end(1, ScanState::Interrupted).unwrap();
    assert!(bench.end(1, ScanState::Done).is_err());
    assert!(bench.progress(1, TERM, vec![], vec![]).is_err());
}

#[test]
fn whoever_answers_everywhere_fills_nothing() {
    let mut bench = StateBench::new();
    bench.scan(1, "10.0.0.0/16").unwrap();
    for n in 0..300_u64 {
        let place = format!("10.0.{}.{}:7997", n / 256, n % 256);
        let one = met(n + 10, &format!("x{n}"), &place, &format!("{n:x}"));
        bench.progress(1, TERM, vec![one], vec![finding(&place)]).unwrap();
    }
    assert_eq!(bench.state.candidates(), MAX_CANDIDATES);
    assert_eq!(bench.state.findings().count(), MAX_FINDINGS);
    for id in 2..=MAX_SCANS_UNDER_WAY as u64 {
        bench.scan(id, "10.0.0.0/28").unwrap();
    }
    assert!(matches!(bench.scan(99, "10.0.0.0/28"), Err(Rejection::Quota(_))));
    for id in 1..60 {
        let _ = bench.discovery(DiscoveryCommand::Cancel { id: ScanId(id) });
        let _ = bench.scan(100 + id, "10.0.0.0/28");
        let _ = bench.discovery(DiscoveryCommand::Cancel { id: ScanId(100 + id) });
    }
    assert!(bench.state.scans().count() <= 16 + MAX_SCANS_UNDER_WAY);
}
