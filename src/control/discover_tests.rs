use super::{super::fixture::Alone, *};
use crate::model::{ContainerId, ContainerState, Labels};

const ENGINE: EngineId = EngineId(1);

fn found(container: &str, state: FoundState) -> Found {
    Found {
        id: ContainerId(rand::random()),
        container: container.into(),
        name: container.parse().unwrap(),
        image: "busybox".into(),
        labels: Labels::default(),
        networks: None,
        health: None,
        state,
        detail: "exited (137)".into(),
    }
}

fn scribe() -> Scribe<Alone> {
    let alone = Alone::new();
    alone.apply(Command::Engine(EngineCommand::Add {
        id: ENGINE,
        name: "e".parse().unwrap(),
        url: "unix:///nowhere".parse().unwrap(),
    }));
    Scribe {
        replica: alone,
        engine: ENGINE,
        trips: Noted {
            trips: Arc::default(),
            engine: ENGINE,
        },
        revisions: Revisions::default(),
        doubt: None,
        sightings: Arc::default(),
    }
}

impl Scribe<Alone> {
    async fn list(&mut self, found: Vec<Found>, newer: &[&str]) {
        let asked_at = Instant::now();
        let newer = newer.iter().map(|x| (*x).to_owned()).collect();
        self.take(EngineNews::Listed {
            asked_at,
            round_trip: Duration::from_millis(1),
            found,
            newer,
        })
        .await;
    }

    fn state_of(&self, name: &str) -> Option<ContainerState> {
        self.replica.state().find_container(name).map(|c| c.state)
    }

    /// The runner of a container that was found opens its session.
    fn join(&mut self, name: &str, boot: u64) {
        let id = self.replica.state().find_container(name).unwrap().id;
        self.replica.ready(id, boot);
    }

    fn note(&mut self) {
        let revision = self.replica.state().revision();
        self.revisions.note(Instant::now(), revision);
    }
}

#[tokio::test]
async fn an_unchanged_engine_writes_nothing() {
    let mut scribe = scribe();
    let list = || vec![found("a", FoundState::Running), found("b", FoundState::Paused)];
    scribe.list(list(), &[]).await;
    let before = scribe.replica.proposed().len();
    assert_eq!(before, 2, "the containers, and that the engine answers");
    scribe.list(list(), &[]).await;
    scribe.list(list(), &[]).await;
    assert_eq!(scribe.replica.proposed().len(), before);
}

#[tokio::test]
async fn what_is_missing_from_a_list_is_gone_unless_an_event_was_newer() {
    let mut scribe = scribe();
    let list = ["a", "b", "c"].map(|name| found(name, FoundState::Running));
    scribe.list(list.to_vec(), &[]).await;
    scribe.join("a", 1);
    scribe.note();
    scribe.list(vec![], &["c"]).await;
    assert_eq!(scribe.state_of("a"), Some(ContainerState::Lost));
    assert_eq!(scribe.state_of("b"), None, "a candidate is forgotten");
    assert_eq!(scribe.state_of("c"), Some(ContainerState::Candidate));
    assert!(scribe.doubt.is_none());
}

#[tokio::test]
async fn an_engine_that_does_not_answer_changes_no_container() {
    let mut scribe = scribe();
    scribe.list(vec![found("a", FoundState::Running)], &[]).await;
    let reason = || "it hangs".to_owned();
    let known = scribe.replica.state().find_container("a").unwrap().clone();
    for _ in 0..3 {
        scribe.take(EngineNews::Unreachable { reason: reason() }).await;
    }
    let state = scribe.replica.state();
    assert_eq!(state.find_container("a"), Some(&known));
    assert_eq!(state.engine(ENGINE).unwrap().state, EngineState::Unreachable);
    assert_eq!(scribe.replica.proposed().len(), 3, "one for each transition");
    let long = || format!("another reason{}", "!".repeat(2_000));
    for _ in 0..3 {
        scribe.take(EngineNews::Unreachable { reason: long() }).await;
    }
    assert_eq!(scribe.replica.proposed().len(), 4, "and one for another reason");
    let state = scribe.replica.state();
    assert!(
        state
            .engine(ENGINE)
            .unwrap()
            .reason
            .starts_with("another reason!")
    );
    assert_eq!(state.find_container("a"), Some(&known));
}

/// A list that was asked for before a runner connected may show the container as it was before.
#[tokio::test]
async fn old_news_does_not_kill_a_runner_that_has_just_come() {
    let mut scribe = scribe();
    scribe.list(vec![found("a", FoundState::Running)], &[]).await;
    scribe.note();
    let asked_at = Instant::now();
    scribe.join("a", 1);
    scribe
        .take(EngineNews::Listed {
            asked_at,
            round_trip: Duration::from_millis(1),
            found: vec![found("a", FoundState::Dead)],
            newer: BTreeSet::new(),
        })
        .await;
    assert_eq!(scribe.state_of("a"), Some(ContainerState::Ready));
    assert!(scribe.doubt.is_some(), "another list is asked for");

    scribe.note();
    scribe.doubt = None;
    scribe.list(vec![found("a", FoundState::Dead)], &[]).await;
    assert_eq!(scribe.state_of("a"), Some(ContainerState::Lost));
    assert!(scribe.doubt.is_none());
}

#[tokio::test]
async fn a_death_that_could_not_be_proposed_is_looked_into_again() {
    let mut scribe = scribe();
    scribe.list(vec![found("a", FoundState::Running)], &[]).await;
    scribe.join("a", 1);
    scribe.note();
    scribe.replica.fail(true);
    scribe.list(vec![found("a", FoundState::Dead)], &[]).await;
    assert!(scribe.doubt.is_some());
}

#[tokio::test]
async fn a_death_by_event_takes_effect_at_once_for_a_settled_runner() {
    let mut scribe = scribe();
    scribe.list(vec![found("a", FoundState::Running)], &[]).await;
    scribe.join("a", 1);
    scribe.note();
    let at = Instant::now() + EVENT_SLACK;
    let found = found("a", FoundState::Dead);
    scribe.take(EngineNews::Told { at, found }).await;
    let state = scribe.replica.state();
    let container = state.find_container("a").unwrap();
    assert!(container.fenced && container.boot == 0);
}

#[tokio::test]
async fn a_large_list_goes_into_bounded_entries() {
    let mut scribe = scribe();
    let list = (0..100)
        .map(|n| found(&format!("c{n}"), FoundState::Running))
        .collect();
    scribe.list(list, &[]).await;
    assert_eq!(scribe.replica.state().containers(None).count(), 100);
    for command in scribe.replica.proposed() {
        if let Command::Container(ContainerCommand::Observe { found, .. }) = command {
            assert!(found.len() <= BATCH);
        }
    }
}
