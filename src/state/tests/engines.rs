use super::*;
use crate::model::{HealthStatus, Networks};

fn bench() -> StateBench {
    let mut bench = StateBench::new();
    bench.engine(1).unwrap();
    bench.engine(2).unwrap();
    bench
}

#[test]
fn an_unknown_engine_tells_nothing() {
    let mut bench = bench();
    let refused = bench.observe(3, "aa", FoundState::Running);
    assert!(matches!(refused, Err(Rejection::NotFound { .. })));
}

#[test]
fn an_engine_is_added_once() {
    let mut bench = bench();
    assert!(matches!(bench.engine(1), Err(Rejection::Exists { .. })));
    let same_url = bench.apply(Command::Engine(EngineCommand::Add {
        id: EngineId(7),
        name: "other".parse().unwrap(),
        url: "tcp://10.0.0.1:1".parse().unwrap(),
    }));
    assert!(matches!(same_url, Err(Rejection::Exists { .. })));
}

#[test]
fn a_candidate_comes_and_goes_with_its_container() {
    let mut bench = bench();
    bench.observe(1, "aa", FoundState::Running).unwrap();
    assert_eq!(bench.named("aa").state, ContainerState::Candidate);
    bench.observe(1, "aa", FoundState::Dead).unwrap();
    assert!(bench.state.find_container("aa").is_none());
    bench.observe(1, "bb", FoundState::Dead).unwrap();
    assert!(
        bench.state.find_container("bb").is_none(),
        "the dead are not found"
    );
}

#[test]
fn news_of_death_end_only_a_runner_that_had_connected_before() {
    let mut bench = bench();
    bench.observe(1, "aa", FoundState::Running).unwrap();
    let (id, looked) = (bench.named("aa").id.0, bench.revision);
    bench.connect(id, 1, None).unwrap();
    let dead = || found("aa", "aa", FoundState::Dead);
    bench.observe_as_of(looked, 1, dead()).unwrap();
    assert_eq!(bench.container(id).state, ContainerState::Ready);
    bench.observe_as_of(bench.revision, 1, dead()).unwrap();
    assert_eq!(bench.container(id).state, ContainerState::Lost);
}

#[test]
fn the_same_news_matter_once() {
    let mut bench = bench();
    for state in [FoundState::Running, FoundState::Paused, FoundState::Dead] {
        let one = found("aa", "aa", state);
        let matters = |bench: &StateBench| bench.state.observation_matters(EngineId(1), bench.revision, &one);
        if state == FoundState::Paused {
            let id = bench.named("aa").id.0;
            bench.connect(id, 1, None).unwrap();
        }
        assert!(matters(&bench), "{state:?}");
        let before = bench.state.clone();
        bench.observe_as_of(bench.revision, 1, one.clone()).unwrap();
        assert!(!matters(&bench), "{state:?}");
        assert!(!before.containers.ptr_eq(&bench.state.containers));
    }
}

#[test]
fn a_paused_container_gets_nothing_new_and_keeps_what_it_has() {
    let mut bench = bench();
    bench.observe(1, "aa", FoundState::Running).unwrap();
    let id = bench.named("aa").id.0;
    bench.connect(id, 1, None).unwrap();
    bench.deploy(1, |_| {}).unwrap();
    assert!(bench.place(1, id));
    bench.observe(1, "aa", FoundState::Paused).unwrap();
    assert_eq!(bench.container(id).state, ContainerState::Suspect);
    assert_eq!(bench.agent(1).container, Some(ContainerId(id)));
}

#[test]
fn a_container_recreated_under_its_name_takes_the_dead_ones_record_over() {
    let mut bench = bench();
    let old = found("aa", "web", FoundState::Running);
    bench.observe_as_of(0, 1, old).unwrap();
    let id = bench.named("web").id.0;
    bench.connect(id, 1, None).unwrap();

    // The old one is alive: the new one gets a name of its own.
    let new = || found("bbbbbbbbbbbb", "web", FoundState::Running);
    bench.observe_as_of(0, 1, new()).unwrap();
    assert_eq!(bench.named("web").id.0, id);
    assert_eq!(bench.named("web-bbbbbbbb").state, ContainerState::Candidate);

    bench
        .observe_as_of(bench.revision, 1, found("bbbbbbbbbbbb", "web", FoundState::Dead))
        .unwrap();
    bench
        .observe_as_of(bench.revision, 1, found("aa", "web", FoundState::Dead))
        .unwrap();
    bench.observe_as_of(bench.revision, 1, new()).unwrap();
    let again = bench.named("web");
    assert_eq!((again.id.0, again.state), (id, ContainerState::Registered));
    assert_eq!(again.engine_container.as_deref(), Some("bbbbbbbbbbbb"));
    assert!(!again.fenced);
}

#[test]
fn a_runner_meets_the_record_of_its_engine() {
    let mut bench = bench();
    bench.observe(1, "aa", FoundState::Running).unwrap();
    let id = bench.named("aa").id;
    assert_eq!(
        bench.enroll(5, "calls-itself-so", Some("aa")),
        Ok(Outcome::Enrolled(id))
    );
    assert!(bench.state.find_container("calls-itself-so").is_none());
}

/// It used to be refused for ever: "taken by a runner", which it was not.
#[test]
fn a_runner_that_does_not_know_its_engine_may_have_a_candidates_name() {
    let mut bench = bench();
    bench.observe(1, "aa", FoundState::Running).unwrap();
    bench.enroll(5, "aa", None).unwrap();
    assert_eq!(bench.named("aa").engine, None, "it may be anywhere");
    bench.connect(bench.named("aa").id.0, 1, None).unwrap();
    let id = bench.named("aa").id.0;
    bench.observe(1, "aa", FoundState::Dead).unwrap();
    assert_eq!(bench.container(id).state, ContainerState::Ready);
}

/// Two records used to hold one id of the engine, and the index only one of them.
#[test]
fn a_runner_that_says_where_it_is_takes_the_candidate_over() {
    let mut bench = bench();
    bench.ready(1);
    bench.observe(1, "aa", FoundState::Running).unwrap();
    bench.connect(1, 1, Some("aa")).unwrap();
    assert_eq!(bench.state.containers(None).count(), 1);
    assert_eq!(bench.container(1).engine.as_ref().unwrap().container, "aa");
    bench.observe(1, "aa", FoundState::Dead).unwrap();
    assert!(bench.container(1).fenced);
}

#[test]
fn a_runner_can_not_claim_anothers_container() {
    let mut bench = bench();
    bench.observe(1, "aa", FoundState::Running).unwrap();
    let id = bench.named("aa").id.0;
    bench.connect(id, 1, Some("aa")).unwrap();
    bench.ready(1);
    bench.connect(1, 1, Some("aa")).unwrap();
    assert_eq!(bench.container(1).engine_container, None);
    bench.observe(1, "aa", FoundState::Dead).unwrap();
    assert_eq!(bench.container(1).state, ContainerState::Ready);
    assert!(bench.container(id).fenced);
}

/// One engine under two addresses used to write to the log at every resync, for ever.
#[test]
fn another_engine_has_no_say_in_a_container() {
    let mut bench = bench();
    bench.observe(1, "aa", FoundState::Running).unwrap();
    let before = bench.named("aa").clone();
    bench.observe(2, "aa", FoundState::Running).unwrap();
    bench.observe(2, "aa", FoundState::Dead).unwrap();
    assert_eq!(*bench.named("aa"), before);
}

#[test]
fn an_engine_that_is_removed_leaves_its_members() {
    let mut bench = bench();
    bench.observe(1, "aa", FoundState::Running).unwrap();
    bench.observe(1, "bb", FoundState::Running).unwrap();
    let id = bench.named("aa").id.0;
    bench.connect(id, 1, None).unwrap();
    bench
        .apply(Command::Engine(EngineCommand::Remove {
            id: EngineId(1),
            condition: Condition::Any,
        }))
        .unwrap();
    assert_eq!(
        (bench.container(id).state, &bench.container(id).engine),
        (ContainerState::Ready, &None)
    );
    assert!(bench.state.find_container("bb").is_none());
    bench.observe(2, "aa", FoundState::Dead).unwrap();
    assert!(bench.container(id).fenced, "whoever watches it now is believed");
}

#[test]
fn networks_and_health_are_what_the_engine_told_last() {
    let mut bench = bench();
    let told = |networks: &[&str], health| Found {
        networks: Some(Networks::lenient(networks.iter().map(|n| (*n).to_owned()))),
        health: Some(health),
        ..found("aa", "aa", FoundState::Running)
    };
    let seen = |bench: &StateBench| {
        let container = bench.named("aa");
        let networks: Vec<_> = container.networks.iter().map(str::to_owned).collect();
        (networks.join(","), container.health)
    };
    bench
        .observe_as_of(0, 1, told(&["b", "a"], HealthStatus::Unhealthy))
        .unwrap();
    assert_eq!(seen(&bench), ("a,b".into(), HealthStatus::Unhealthy));
    bench.observe(1, "aa", FoundState::Running).unwrap();
    let known = ("a,b".into(), HealthStatus::Unhealthy);
    assert_eq!(seen(&bench), known, "this news said nothing of them");

    let id = bench.named("aa").id.0;
    bench.connect(id, 1, None).unwrap();
    assert_eq!(seen(&bench), known, "a runner that comes changes nothing of them");
    bench
        .observe_as_of(0, 1, told(&[], HealthStatus::Healthy))
        .unwrap();
    assert_eq!(seen(&bench), (String::new(), HealthStatus::Healthy));

    bench
        .observe_as_of(0, 1, told(&["a"], HealthStatus::Unhealthy))
        .unwrap();
    let remove = EngineCommand::Remove {
        id: EngineId(1),
        condition: Condition::Any,
    };
    bench.apply(Command::Engine(remove)).unwrap();
    let nobody_tells = (String::new(), HealthStatus::Unchecked);
    assert_eq!(seen(&bench), nobody_tells);
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::lenient(
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    )
}

/// The labels of a container that is gone had kept the one of its name from being adopted, or let it be.
#[test]
fn a_new_container_is_what_it_says_of_itself_and_not_what_a_dead_one_of_its_name_said() {
    let mut bench = StateBench::new();
    bench.engine(1).unwrap();
    let told = |theirs: &str, pairs: &[(&str, &str)]| Found {
        labels: labels(pairs),
        ..found(theirs, "web", FoundState::Running)
    };
    let dead = told("aaaaaaaaaaaa", &[("quorate.adopt", "false"), ("team", "a")]);
    bench.observe_as_of(bench.revision, 1, dead).unwrap();
    let id = bench.named("web").id.0;
    bench.enroll(id, "web", Some("aaaaaaaaaaaa")).unwrap();
    bench.connect(id, 7, Some("aaaaaaaaaaaa")).unwrap();
    let dead = found("aaaaaaaaaaaa", "web", FoundState::Dead);
    bench.observe_as_of(bench.revision, 1, dead).unwrap();
    let new = told("bbbbbbbbbbbb", &[("quorate.adopt", "true")]);
    bench.observe_as_of(bench.revision, 1, new).unwrap();
    let again = bench.named("web");
    assert_eq!(again.engine_container.as_deref(), Some("bbbbbbbbbbbb"));
    assert_eq!(again.labels.get("quorate.adopt"), Some("true"));

    // What an operator wrote down for whoever comes under a name is no dead one's word.
    let promised = ContainerCommand::Register {
        id: ContainerId(3),
        name: "db".parse().unwrap(),
        labels: labels(&[("quorate.adopt", "false")]),
    };
    bench.container_command(promised).unwrap();
    let comes = Found {
        name: "db".parse().unwrap(),
        ..told("cccccccccccc", &[("quorate.adopt", "true")])
    };
    bench.observe_as_of(bench.revision, 1, comes).unwrap();
    let db = bench.named("db");
    assert_eq!(db.id, ContainerId(3));
    assert_eq!(db.labels.get("quorate.adopt"), Some("false"));
}
