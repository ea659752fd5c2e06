//! The breaker and cordons.

use super::*;
use crate::command::ClusterCommand;

impl StateBench {
    fn breaker(&mut self, command: ClusterCommand) -> Result {
        self.apply(Command::Cluster(command))
    }

    fn open_breaker(&mut self) -> Result {
        let version = self.state.breaker().version;
        self.open_breaker_as(TERM, version)
    }

    fn open_breaker_as(&mut self, term: u64, version: Revision) -> Result {
        self.breaker(ClusterCommand::OpenBreaker {
            term,
            version,
            silent: 3,
            fleet: 10,
            since: Revision::MAX,
            reason: "3 of 10".into(),
        })
    }

    fn lift(&mut self, condition: Condition) -> Result {
        self.breaker(ClusterCommand::LiftBreaker { condition })
    }

    pub(super) fn cordon(&mut self, id: u64, why: Option<&str>, condition: Condition) -> Result {
        let id = ContainerId(id);
        self.container_command(match why {
            Some(reason) => ContainerCommand::Cordon {
                id,
                reason: reason.into(),
                condition,
            },
            None => ContainerCommand::Uncordon { id, condition },
        })
    }
}

#[test]
fn while_the_breaker_is_open_silence_makes_nobody_lost() {
    use ContainerState::{Lost, Ready, Suspect};
    let mut bench = StateBench::new();
    (1..=3).for_each(|n| bench.ready(n));
    bench.judge(1, Suspect, false).unwrap();
    bench.judge(3, Lost, false).unwrap();
    bench.open_breaker().unwrap();
    assert!(bench.container(1).reason.contains("unknown"));
    assert_eq!(bench.container(2).reason, "its session is open");

    for (id, fenced) in [(1, false), (1, true), (2, true), (3, true)] {
        let refused = bench.judge(id, Lost, fenced);
        assert!(matches!(refused, Err(Rejection::Busy(_))), "{id}: {refused:?}");
    }
    bench.judge(2, Suspect, false).unwrap();
    assert!(bench.container(2).reason.starts_with("silent; whether"));
    bench.judge(2, Ready, false).unwrap();
    assert_eq!(bench.container(2).reason, "silent", "the judge's own words");

    bench.lift(Condition::Any).unwrap();
    assert_eq!(bench.container(1).reason, "silent");
    bench.judge(1, Lost, true).unwrap();
    bench.judge(3, Lost, true).unwrap();
}

#[test]
fn proof_of_death_counts_while_the_breaker_is_open() {
    let mut bench = StateBench::new();
    bench.ready(1);
    bench.deploy(1, |_| {}).unwrap();
    assert!(bench.place(1, 1));
    bench.open_breaker().unwrap();
    bench
        .container_command(ContainerCommand::Leave {
            id: ContainerId(1),
            boot: 1,
        })
        .unwrap();
    assert!(bench.container(1).fenced);
    assert_eq!(bench.agent(1).container, None);
}

#[test]
fn the_breaker_is_judged_by_one_leader_on_what_it_saw() {
    let mut bench = StateBench::new();
    bench.open_breaker_as(TERM - 1, 0).unwrap_err();
    bench.open_breaker_as(TERM, 1).unwrap_err();
    assert!(bench.lift(Condition::Any).is_err(), "it is closed");
    bench.open_breaker_as(TERM, 0).unwrap();
    let opened = bench.state.breaker().clone();
    assert_eq!(opened.open.as_ref().unwrap().since, opened.version);
    bench.open_breaker().unwrap_err();
    bench.open_breaker_as(TERM, 0).unwrap_err();

    let close = |term, version| ClusterCommand::CloseBreaker { term, version };
    bench.breaker(close(TERM - 1, opened.version)).unwrap_err();
    bench.breaker(close(TERM, 0)).unwrap_err();
    assert_eq!(bench.state.breaker(), &opened);
    bench.breaker(close(TERM, opened.version)).unwrap();
    let closed = bench.state.breaker().clone();
    assert_eq!((closed.open, closed.settled), (None, bench.revision));
    bench.breaker(close(TERM, closed.version)).unwrap_err();
}

#[test]
fn a_lift_says_which_breaker_it_means() {
    let mut bench = StateBench::new();
    bench.open_breaker().unwrap();
    let version = bench.state.breaker().version;
    let refused = bench.lift(Condition::Version(vec![version + 1]));
    assert_eq!(
        refused,
        Err(Rejection::Condition {
            current: Some(version)
        })
    );
    bench.lift(Condition::Version(vec![version])).unwrap();
}

#[test]
fn a_container_knows_since_when_it_is_not_ready() {
    use ContainerState::{Lost, Ready, Suspect};
    let mut bench = StateBench::new();
    bench.ready(1);
    assert_eq!(bench.container(1).silent_since, 0);
    bench.judge(1, Suspect, false).unwrap();
    let since = bench.revision;
    bench.judge(1, Lost, false).unwrap();
    bench.judge(1, Lost, true).unwrap();
    assert_eq!(bench.container(1).silent_since, since);
    bench.judge(1, Ready, false).unwrap();
    assert_eq!(bench.container(1).silent_since, 0);
    bench.judge(1, Suspect, false).unwrap();
    assert!(bench.container(1).silent_since > since);
    bench.connect(1, 1, None).unwrap();
    assert_eq!(bench.container(1).silent_since, 0);
}

#[test]
fn a_cordon_keeps_new_agents_out_and_leaves_those_that_run() {
    let mut bench = StateBench::new();
    bench.ready(1);
    bench.deploy(1, |_| {}).unwrap();
    bench.deploy(2, |_| {}).unwrap();
    assert!(bench.place(1, 1));
    bench.report(1, 1, AgentState::Running).unwrap();
    bench.cordon(1, Some("disk"), Condition::Any).unwrap();
    assert_eq!(bench.container(1).cordoned.as_deref(), Some("disk"));
    assert_eq!(bench.container(1).version, bench.revision);
    assert!(!bench.place(2, 1));
    assert_eq!(bench.agent(1).state, AgentState::Running);

    // Through a session, a loss and another runner under its name.
    bench.connect(1, 2, None).unwrap();
    bench.judge(1, ContainerState::Lost, true).unwrap();
    assert_eq!(bench.enroll(7, "c1", None), Ok(Outcome::Enrolled(ContainerId(7))));
    bench.connect(7, 1, None).unwrap();
    assert_eq!(bench.container(7).cordoned.as_deref(), Some("disk"));
    assert!(!bench.place(2, 7));

    bench.cordon(7, None, Condition::Any).unwrap();
    assert!(bench.place(2, 7));
}

#[test]
fn a_cordon_is_conditional_and_says_when_it_changes_nothing() {
    let mut bench = StateBench::new();
    bench.ready(1);
    let version = bench.container(1).version;
    let stale = Condition::Version(vec![version - 1]);
    assert_eq!(
        bench.cordon(1, Some(""), stale.clone()),
        Err(Rejection::Condition {
            current: Some(version)
        })
    );
    assert!(bench.cordon(1, None, stale).is_err());
    bench.cordon(1, None, Condition::Version(vec![version])).unwrap();
    assert_eq!(bench.container(1).version, version, "it was not cordoned");
    bench.cordon(1, Some("a"), Condition::Exists).unwrap();
    bench.cordon(1, Some("b"), Condition::Any).unwrap();
    let version = bench.container(1).version;
    bench.cordon(1, Some("b"), Condition::Any).unwrap();
    assert_eq!(bench.container(1).version, version);
    assert!(matches!(
        bench.cordon(9, Some(""), Condition::Any),
        Err(Rejection::NotFound { .. })
    ));
}

/// What an operator says of a candidate counts for the container that it turns out to be.
#[test]
fn a_cordoned_candidate_stays_cordoned_when_its_runner_claims_it() {
    let mut bench = StateBench::new();
    bench.engine(1).unwrap();
    bench.observe(1, "aa", FoundState::Running).unwrap();
    let candidate = bench.named("aa").id.0;
    bench.cordon(candidate, Some("x"), Condition::Any).unwrap();
    bench.ready(1);
    bench.connect(1, 1, Some("aa")).unwrap();
    assert_eq!(bench.container(1).cordoned.as_deref(), Some("x"));
}
