use super::*;

#[test]
fn a_runner_enrols_and_connects() {
    let mut bench = StateBench::new();
    assert_eq!(
        bench.enroll(1, "web", None),
        Ok(Outcome::Enrolled(ContainerId(1)))
    );
    assert_eq!(bench.container(1).state, ContainerState::Registered);
    bench.connect(1, 7, None).unwrap();
    assert_eq!(
        (bench.container(1).state, bench.container(1).boot),
        (ContainerState::Ready, 7)
    );
    bench.connect(9, 1, None).unwrap_err();
    bench.connect(1, 0, None).unwrap_err();
}

#[test]
fn a_record_names_the_manager_that_holds_its_session() {
    let mut bench = StateBench::new();
    bench.enroll(1, "web", None).unwrap();
    assert_eq!(bench.container(1).holder(), None);
    let connect = |bench: &mut StateBench, manager| {
        bench.container_command(ContainerCommand::Connect {
            id: ContainerId(1),
            boot: 7,
            manager,
            address: "10.0.0.1:1".into(),
            engine_container: None,
            labels: Labels::default(),
            capabilities: Capabilities::default(),
            resources: Resources::default(),
        })
    };
    for manager in [2, 3] {
        connect(&mut bench, manager).unwrap();
        assert_eq!(bench.container(1).holder(), Some(manager));
    }
    for (state, holder) in [
        (ContainerState::Suspect, Some(3)),
        (ContainerState::Lost, None),
        // The verdict was taken back before the session had ended.
        (ContainerState::Ready, Some(3)),
    ] {
        bench.judge(1, state, false).unwrap();
        assert_eq!(bench.container(1).holder(), holder, "{state:?}");
    }
    let left = ContainerCommand::Leave {
        id: ContainerId(1),
        boot: 7,
    };
    bench.container_command(left).unwrap();
    assert_eq!(bench.container(1).manager, None);

    connect(&mut bench, 1).unwrap();
    bench.judge(1, ContainerState::Lost, true).unwrap();
    bench.enroll(2, "web", None).unwrap();
    assert_eq!(bench.named("web").manager, None, "another runner took its place");
}

#[test]
fn a_live_runners_name_is_not_given_away() {
    let mut bench = StateBench::new();
    bench.ready(1);
    for state in [ContainerState::Suspect, ContainerState::Lost] {
        assert!(matches!(bench.enroll(2, "c1", None), Err(Rejection::Busy(_))));
        bench.judge(1, state, false).unwrap();
    }
    assert!(matches!(bench.enroll(2, "c1", None), Err(Rejection::Busy(_))));
    bench.judge(1, ContainerState::Lost, true).unwrap();
    assert_eq!(bench.enroll(2, "c1", None), Ok(Outcome::Enrolled(ContainerId(2))));
}

/// Two runners of one name used to get certificates for one id, and ran its agents both.
#[test]
fn two_runners_of_one_name_never_share_an_id() {
    let mut bench = StateBench::new();
    bench.enroll(1, "web", None).unwrap();
    assert_eq!(
        bench.enroll(2, "web", None),
        Ok(Outcome::Enrolled(ContainerId(2)))
    );
    assert!(matches!(
        bench.connect(1, 1, None),
        Err(Rejection::NotFound { .. })
    ));
    bench.connect(2, 2, None).unwrap();
    assert!(matches!(bench.enroll(3, "web", None), Err(Rejection::Busy(_))));
    assert_eq!(bench.named("web").id, ContainerId(2));
}

#[test]
fn a_name_that_an_operator_registered_keeps_its_id_for_the_first_runner() {
    let mut bench = StateBench::new();
    bench.register(1, "web").unwrap();
    assert!(matches!(bench.register(2, "web"), Err(Rejection::Exists { .. })));
    assert_eq!(
        bench.enroll(3, "web", None),
        Ok(Outcome::Enrolled(ContainerId(1)))
    );
}

#[test]
fn a_join_token_is_needed_each_time() {
    let mut bench = StateBench::new();
    let enroll = |token, id| ContainerCommand::Enroll {
        id: ContainerId(id),
        token,
        name: format!("w{id}").parse().unwrap(),
        engine_container: None,
    };
    let once = JoinToken {
        id: JoinTokenId(2),
        role: JoinRole::Runner,
        hash: [0; 32],
        expires_at: None,
        uses_left: Some(1),
        version: 0,
    };
    let manager = JoinToken {
        id: JoinTokenId(3),
        role: JoinRole::Manager,
        ..once.clone()
    };
    let expired = JoinToken {
        id: JoinTokenId(4),
        expires_at: Some(Millis(1)),
        ..once.clone()
    };
    for token in [once, manager, expired] {
        bench
            .apply(Command::Cluster(crate::command::ClusterCommand::CreateJoinToken(
                token,
            )))
            .unwrap();
    }
    bench.container_command(enroll(JoinTokenId(2), 1)).unwrap();
    for token in [2, 3, 4, 5] {
        let refused = bench.container_command(enroll(JoinTokenId(token), 2));
        assert!(
            matches!(refused, Err(Rejection::Refused(_))),
            "{token}: {refused:?}"
        );
    }
    assert_eq!(bench.state.containers(None).count(), 1);
}

/// A verdict that was on its way while another leader took over used to fence a container whose
/// heartbeats that leader had acknowledged.
#[test]
fn a_verdict_of_another_term_or_version_is_refused() {
    let mut bench = StateBench::new();
    bench.ready(1);
    let version = bench.container(1).version;
    bench
        .judge_as(1, version, TERM - 1, ContainerState::Lost, true)
        .unwrap_err();
    bench.connect(1, 1, None).unwrap();
    bench
        .judge_as(1, version, TERM, ContainerState::Lost, true)
        .unwrap_err();
    assert_eq!(bench.container(1).state, ContainerState::Ready);
}

#[test]
fn verdicts_follow_the_life_of_a_container() {
    use ContainerState::{Candidate, Lost, Ready, Registered, Suspect};
    let mut bench = StateBench::new();
    bench.register(9, "waits").unwrap();
    bench.judge(9, Ready, false).unwrap_err();
    bench.judge(9, Lost, true).unwrap_err();
    bench.ready(1);
    for (state, fenced) in [
        (Ready, true),
        (Suspect, true),
        (Candidate, false),
        (Registered, false),
    ] {
        bench.judge(1, state, fenced).unwrap_err();
    }
    bench.judge(1, Lost, true).unwrap();
    // A verdict that was late used to take the fence back.
    bench.judge(1, Lost, false).unwrap_err();
    bench.judge(1, Suspect, false).unwrap_err();
    bench.judge(1, Ready, false).unwrap();
    assert!(!bench.container(1).fenced);
}

/// A heartbeat that was counted just before `docker kill` used to make the dead container ready.
#[test]
fn no_heartbeat_revives_a_container_that_is_proven_dead() {
    let mut bench = StateBench::new();
    bench.engine(1).unwrap();
    bench.observe(1, "aa", FoundState::Running).unwrap();
    let id = bench.named("aa").id.0;
    bench.connect(id, 5, None).unwrap();
    bench.observe(1, "aa", FoundState::Dead).unwrap();
    assert!(bench.container(id).fenced);
    bench.judge(id, ContainerState::Ready, false).unwrap_err();
    bench.connect(id, 6, None).unwrap();
    assert_eq!(bench.container(id).state, ContainerState::Ready);
}

#[test]
fn a_goodbye_frees_the_agents_of_that_start_only() {
    let mut bench = StateBench::new();
    bench.ready(1);
    bench.deploy(1, |_| {}).unwrap();
    assert!(bench.place(1, 1));
    let leave = |boot| ContainerCommand::Leave {
        id: ContainerId(1),
        boot,
    };
    bench.container_command(leave(2)).unwrap_err();
    bench.container_command(leave(1)).unwrap();
    assert_eq!(bench.agent(1).container, None);
    bench.container_command(leave(1)).unwrap_err();
    bench.container_command(leave(0)).unwrap_err();
}

#[test]
fn a_container_with_agents_is_not_removed() {
    let mut bench = StateBench::new();
    bench.ready(1);
    bench.deploy(1, |_| {}).unwrap();
    assert!(bench.place(1, 1));
    let remove = |condition| ContainerCommand::Remove {
        id: ContainerId(1),
        condition,
    };
    assert!(matches!(
        bench.container_command(remove(Condition::Any)),
        Err(Rejection::Busy(_))
    ));
    bench.desire(1, crate::model::Desired::Removed).unwrap();
    bench.report(1, 1, AgentState::Stopped).unwrap();
    let stale = bench.container_command(remove(Condition::Version(vec![1])));
    assert!(matches!(stale, Err(Rejection::Condition { .. })));
    bench.container_command(remove(Condition::Exists)).unwrap();
    assert!(bench.state.find_container("c1").is_none());
}

fn found(number: u64, kernel: &str) -> Assessment {
    Assessment {
        number,
        kernel: kernel.into(),
        ..Assessment::default()
    }
}

#[test]
fn of_a_starts_looks_the_latest_counts_whatever_order_they_arrive_in() {
    let mut bench = StateBench::new();
    bench.enroll(1, "c1", None).unwrap();
    bench.assess(1, 0, found(1, "a")).unwrap_err();
    bench.connect(1, 7, None).unwrap();
    assert_eq!(bench.container(1).assessment, None);
    bench.assess(1, 7, found(2, "b")).unwrap();
    let version = bench.container(1).version;
    assert_eq!(version, bench.revision);
    for (boot, number) in [(7, 2), (7, 1), (7, 0), (6, 9), (8, 9), (0, 9)] {
        // An older look is no mistake; another start's is none of this runner's.
        assert_eq!(bench.assess(1, boot, found(number, "x")).is_ok(), boot == 7);
        assert_eq!(bench.container(1).assessment.as_ref().unwrap().kernel, "b");
        assert_eq!(bench.container(1).version, version);
    }
    bench.assess(9, 7, found(9, "x")).unwrap_err();
    // Another session of the same start knows what it knew; another start looks anew.
    bench.connect(1, 7, None).unwrap();
    assert_eq!(bench.container(1).assessment.as_ref().unwrap().number, 2);
    bench.connect(1, 8, None).unwrap();
    assert_eq!(bench.container(1).assessment, None);
    bench.assess(1, 7, found(9, "x")).unwrap_err();
    bench.assess(1, 8, found(1, "c")).unwrap();
    assert_eq!(bench.container(1).assessment.as_ref().unwrap().kernel, "c");
}

#[test]
fn an_assessment_beyond_all_bounds_is_kept_within_them() {
    let mut bench = StateBench::new();
    bench.ready(1);
    let liar = Assessment {
        memory_bytes: u64::MAX,
        declared: vec!["x".repeat(1 << 16); 1 << 10],
        ..found(1, &"k".repeat(1 << 20))
    };
    bench.assess(1, 1, liar).unwrap();
    let kept = bench.container(1).assessment.clone().unwrap();
    assert!(kept.kernel.len() < 1000 && kept.declared.is_empty() && kept.memory_bytes < u64::MAX);
}

/// Whoever takes a record over has another container: what its former runner found says nothing of it.
#[test]
fn a_runner_that_takes_a_record_over_takes_no_assessment_over() {
    let mut bench = StateBench::new();
    bench.ready(1);
    bench.assess(1, 1, found(1, "a")).unwrap();
    bench.judge(1, ContainerState::Lost, true).unwrap();
    bench.enroll(2, "c1", None).unwrap();
    assert_eq!(bench.container(2).assessment, None);
}
