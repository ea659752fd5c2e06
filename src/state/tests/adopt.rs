//! Runners that managers bring into containers.

use super::{commands::ticket, *};

fn adopt(bench: &mut StateBench, id: u64, token: u64, adopted: bool) -> Result {
    adopt_as(bench, TERM, id, token, adopted)
}

fn adopt_as(bench: &mut StateBench, term: u64, id: u64, token: u64, adopted: bool) -> Result {
    bench.container_command(ContainerCommand::Adopt {
        id: ContainerId(id),
        term,
        engine_container: "ab".into(),
        token: ticket(token),
        adopted,
        reason: if adopted { "brought" } else { "can't" }.into(),
    })
}

/// A container found on an engine, and its id.
fn lone() -> (StateBench, u64) {
    let mut bench = StateBench::new();
    bench.engine(1).unwrap();
    bench.observe(1, "ab", FoundState::Running).unwrap();
    let id = bench.named("ab").id.0;
    (bench, id)
}

fn tokens(bench: &StateBench) -> Vec<u64> {
    bench.state.join_tokens().map(|token| token.id.0).collect()
}

#[test]
fn an_adopted_runner_joins_with_its_token_and_takes_its_containers_record() {
    let (mut bench, id) = lone();
    adopt(&mut bench, id, 1, true).unwrap();
    assert_eq!(bench.container(id).reason, "brought");
    assert_eq!(tokens(&bench), [1, 101]);
    let enroll = ContainerCommand::Enroll {
        id: ContainerId(5),
        token: JoinTokenId(101),
        name: "other".parse().unwrap(),
        engine_container: Some("ab".into()),
    };
    assert_eq!(
        bench.container_command(enroll.clone()),
        Ok(Outcome::Enrolled(ContainerId(id)))
    );
    assert_eq!(tokens(&bench), [1], "it is of no more use");
    assert!(matches!(
        bench.container_command(enroll),
        Err(Rejection::Refused(_))
    ));
    bench.connect(id, 7, Some("ab")).unwrap();
    let adoption = bench.container(id).adoption.as_ref().unwrap();
    assert!(adoption.adopted && adoption.token.is_none());
    assert_eq!(adoption.reason, "a manager has brought its runner in");
    assert!(matches!(adopt(&mut bench, id, 2, true), Err(Rejection::Busy(_))));
}

/// What runs in a container may read the token of the runner that is brought in.
#[test]
fn the_token_of_an_adoption_is_good_for_its_container_alone() {
    let (mut bench, id) = lone();
    bench.register(3, "promised").unwrap();
    bench.observe(1, "cd", FoundState::Running).unwrap();
    let other = bench.named("cd").id;
    adopt(&mut bench, id, 1, true).unwrap();
    let mut enroll = |theirs: Option<&str>| {
        bench.container_command(ContainerCommand::Enroll {
            id: ContainerId(5),
            token: JoinTokenId(101),
            name: "promised".parse().unwrap(),
            engine_container: theirs.map(str::to_owned),
        })
    };
    for elsewhere in [Some("cd"), Some("ef"), None] {
        let refused = enroll(elsewhere);
        assert!(
            matches!(&refused, Err(Rejection::Refused(why)) if why.contains("`ab` alone")),
            "{refused:?}"
        );
    }
    // None of them cost its use, and whatever it calls itself, it gets this record.
    assert_eq!(enroll(Some("ab")), Ok(Outcome::Enrolled(ContainerId(id))));
    let joined = bench.container(id);
    assert_eq!(
        (joined.name.as_str(), joined.engine_container.as_deref()),
        ("ab", Some("ab"))
    );
    assert!(joined.engine.is_some() && joined.adoption.is_some());
    assert!(!bench.container(3).enrolled && !bench.container(other.0).enrolled);
    assert_eq!(bench.state.containers(None).count(), 3);
}

/// Another leader may have brought a runner in since, whose token this would have taken away.
#[test]
fn an_adoption_by_the_leader_of_another_term_is_refused() {
    let (mut bench, id) = lone();
    adopt(&mut bench, id, 1, true).unwrap();
    let before = bench.container(id).clone();
    for term in [TERM - 1, TERM + 1] {
        let late = adopt_as(&mut bench, term, id, 2, false);
        assert!(
            matches!(&late, Err(Rejection::Busy(why)) if why.contains("term")),
            "{late:?}"
        );
    }
    assert_eq!(*bench.container(id), before);
    assert_eq!(tokens(&bench), [1, 101]);
}

/// It has the record of a container that is gone, and was brought in by nobody.
#[test]
fn a_runner_elsewhere_that_takes_an_adopted_record_over_is_not_called_adopted() {
    let (mut bench, id) = lone();
    adopt(&mut bench, id, 1, true).unwrap();
    bench.enroll(id, "ab", Some("ab")).unwrap();
    bench.connect(id, 7, Some("ab")).unwrap();
    bench.observe(1, "ab", FoundState::Dead).unwrap();
    let Ok(Outcome::Enrolled(anew)) = bench.enroll(9, "ab", None) else {
        panic!("not enrolled");
    };
    bench.connect(anew.0, 8, None).unwrap();
    assert_eq!(bench.container(anew.0).adoption, None);
}

/// It was silent, and nobody saw it in its container: what is said of that is over, and so is the token.
#[test]
fn a_runner_that_is_heard_again_needs_no_token() {
    let (mut bench, id) = lone();
    adopt(&mut bench, id, 1, true).unwrap();
    bench.enroll(id, "ab", Some("ab")).unwrap();
    bench.connect(id, 7, Some("ab")).unwrap();
    bench.judge(id, ContainerState::Suspect, false).unwrap();
    adopt(&mut bench, id, 2, true).unwrap();
    assert_eq!(tokens(&bench), [1, 102]);
    bench.judge(id, ContainerState::Ready, false).unwrap();
    assert_eq!(tokens(&bench), [1]);
    let adoption = bench.container(id).adoption.as_ref().unwrap();
    assert_eq!(adoption.reason, "a manager has brought its runner in");
}

#[test]
fn attempts_leave_no_tokens_behind() {
    let (mut bench, id) = lone();
    adopt(&mut bench, id, 1, true).unwrap();
    adopt(&mut bench, id, 2, true).unwrap();
    assert_eq!(tokens(&bench), [1, 102]);
    adopt(&mut bench, id, 0, true).unwrap();
    assert_eq!(
        tokens(&bench),
        [1, 102],
        "the runner that was started needs it still"
    );
    adopt(&mut bench, id, 0, false).unwrap();
    assert_eq!(tokens(&bench), [1]);
    adopt(&mut bench, id, 1, true).unwrap();
    bench.observe(1, "ab", FoundState::Dead).unwrap();
    assert_eq!(tokens(&bench), [1], "gone with the candidate");
}

#[test]
fn a_runner_that_comes_by_itself_is_not_called_adopted() {
    let (mut bench, id) = lone();
    adopt(&mut bench, id, 0, false).unwrap();
    assert_eq!(bench.container(id).reason, "can't");
    bench.enroll(id, "ab", Some("ab")).unwrap();
    bench.connect(id, 7, Some("ab")).unwrap();
    assert_eq!(bench.container(id).adoption, None);
}

#[test]
fn an_adopted_container_that_starts_again_is_known_as_such_and_a_new_one_of_its_name_is_not() {
    let (mut bench, id) = lone();
    adopt(&mut bench, id, 1, true).unwrap();
    bench.enroll(id, "ab", Some("ab")).unwrap();
    bench.connect(id, 7, Some("ab")).unwrap();
    bench.observe(1, "ab", FoundState::Dead).unwrap();
    let lost = bench.container(id);
    assert!(lost.fenced && lost.adoption.is_some());
    adopt(&mut bench, id, 2, true).unwrap();
    bench.connect(id, 8, Some("ab")).unwrap();
    assert_eq!(bench.container(id).state, ContainerState::Ready);

    bench.observe(1, "ab", FoundState::Dead).unwrap();
    adopt(&mut bench, id, 2, true).unwrap();
    let as_of = bench.revision;
    bench
        .observe_as_of(as_of, 1, found("cd", "ab", FoundState::Running))
        .unwrap();
    assert_eq!(bench.named("ab").adoption, None);
    assert_eq!(tokens(&bench), [1]);
    assert!(matches!(adopt(&mut bench, id, 0, true), Err(Rejection::Busy(_))));
}

#[test]
fn a_token_without_bounds_is_refused() {
    let (mut bench, id) = lone();
    for token in [
        JoinToken {
            expires_at: None,
            ..ticket(1).unwrap()
        },
        JoinToken {
            uses_left: None,
            ..ticket(1).unwrap()
        },
        JoinToken {
            role: JoinRole::Manager,
            ..ticket(1).unwrap()
        },
    ] {
        let refused = bench.container_command(ContainerCommand::Adopt {
            id: ContainerId(id),
            term: TERM,
            engine_container: "ab".into(),
            token: Some(token),
            adopted: true,
            reason: String::new(),
        });
        assert!(matches!(refused, Err(Rejection::Refused(_))), "{refused:?}");
    }
}
