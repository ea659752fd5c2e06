use super::{super::fixture::Alone, *};
use crate::{command::EngineCommand, model::Labels};

const ENGINE: EngineId = EngineId(1);

fn found(container: &str, state: FoundState, labels: &[(&str, &str)]) -> Found {
    let labels: BTreeMap<String, String> = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Found {
        id: ContainerId(rand::random()),
        container: container.into(),
        name: container.parse().unwrap(),
        image: "busybox".into(),
        labels: Labels::lenient(labels),
        networks: None,
        health: None,
        state,
        detail: "running".into(),
    }
}

fn access() -> EngineAccess {
    EngineAccess::new("/nowhere".into())
}

/// A cluster with an engine, and what decides whom to adopt there.
struct Bench {
    alone: Alone,
    sightings: Sightings,
    desk: Desk,
    adopter: Adopter,
}

impl Bench {
    fn new(url: &str) -> Self {
        let alone = Alone::new();
        alone.apply(Command::Engine(EngineCommand::Add {
            id: ENGINE,
            name: "e".parse().unwrap(),
            url: url.parse().unwrap(),
        }));
        let program = std::env::temp_dir().join(format!("quorate-adopt-{:016x}", rand::random::<u64>()));
        // The start of a static program for this kind of machine: no segments at all.
        let mut text = vec![0; 64];
        text[..6].copy_from_slice(b"\x7fELF\x02\x01");
        text[18] = 0x3e;
        std::fs::write(&program, text).unwrap();
        let opened = Program::open(&program).unwrap();
        std::fs::remove_file(&program).unwrap();
        Self {
            alone,
            sightings: Sightings::default(),
            desk: Desk::default(),
            adopter: Adopter {
                program: Arc::new(opened),
                selector: Selector::default(),
                grace: Duration::ZERO,
                at_once: 2,
                managers: Box::new(|| vec!["127.0.0.1:1".into()]),
                ticket: Box::new(|| {
                    Some(Ticket {
                        id: JoinTokenId(rand::random()),
                        hash: [0; 32],
                        text: "secret".into(),
                    })
                }),
            },
        }
    }

    fn tell(&self, one: Found) {
        self.sightings.note(ENGINE, std::slice::from_ref(&one));
        self.alone.apply(Command::Container(ContainerCommand::Observe {
            engine: ENGINE,
            as_of: self.alone.state().revision(),
            found: vec![one],
        }));
    }

    fn runs(&self, container: &str) {
        self.tell(found(container, FoundState::Running, &[]));
    }

    fn id(&self, name: &str) -> ContainerId {
        self.alone.state().find_container(name).unwrap().id
    }

    fn chosen(&mut self) -> Vec<String> {
        let state = self.alone.state();
        self.desk.forget(&state);
        let running = self.sightings.running(&state);
        let chosen = self.desk.choose(&state, &running, &access(), &self.adopter);
        chosen
            .into_iter()
            .map(|(container, _)| container.name.to_string())
            .collect()
    }
}

#[test]
fn who_runs_and_has_no_runner_is_chosen_once() {
    let mut bench = Bench::new("unix:///nowhere");
    bench.runs("a");
    bench.tell(found("b", FoundState::Paused, &[]));
    bench.tell(found("c", FoundState::Running, &[(MAY_ADOPT, "false")]));
    bench.runs("d");
    bench.alone.ready(bench.id("d"), 7);
    assert_eq!(bench.chosen(), ["a"]);
    assert_eq!(bench.chosen(), [""; 0]);
    bench.tell(found("b", FoundState::Running, &[]));
    assert_eq!(bench.chosen(), ["b"]);
}

#[test]
fn only_what_is_selected_is_adopted() {
    let mut bench = Bench::new("unix:///nowhere");
    bench.adopter.selector = "team=a".parse().unwrap();
    bench.tell(found("a", FoundState::Running, &[("team", "a")]));
    bench.tell(found("b", FoundState::Running, &[("team", "b")]));
    bench.runs("c");
    assert_eq!(bench.chosen(), ["a"]);
}

#[test]
fn a_container_gets_time_to_start_a_runner_of_its_own() {
    let mut bench = Bench::new("unix:///nowhere");
    bench.adopter.grace = Duration::from_secs(3600);
    bench.runs("a");
    assert_eq!(bench.chosen(), [""; 0]);
    bench.adopter.grace = Duration::ZERO;
    assert_eq!(bench.chosen(), ["a"]);
}

#[test]
fn a_runner_that_came_by_itself_is_waited_for() {
    let mut bench = Bench::new("unix:///nowhere");
    bench.runs("a");
    bench.alone.ready(bench.id("a"), 7);
    bench.tell(found("a", FoundState::Dead, &[]));
    bench.runs("a");
    assert_eq!(
        bench.alone.state().find_container("a").unwrap().state,
        ContainerState::Lost
    );
    assert_eq!(bench.chosen(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn attempts_become_rarer_and_are_few_at_a_time() {
    let mut bench = Bench::new("unix:///nowhere");
    for name in ["a", "b", "c"] {
        bench.runs(name);
    }
    assert_eq!(bench.chosen(), ["a", "b"], "two at once");
    let a = bench.id("a");
    let mut pauses = Vec::new();
    for _ in 0..9 {
        bench.desk.ended(a, End::Failed);
        let wait = bench.desk.tried[&a].not_before - Instant::now();
        pauses.push(wait.as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(bench.chosen(), ["c"]);
    let b = bench.id("b");
    bench.desk.ended(b, End::Runs);
    let wait = bench.desk.tried[&b].not_before - Instant::now();
    assert_eq!(wait, JOINING);
}

#[test]
fn what_an_engine_has_no_longer_is_forgotten() {
    let bench = Bench::new("unix:///nowhere");
    bench.runs("a");
    bench.runs("b");
    bench.sightings.keep(EngineId(2), |_| false);
    bench.sightings.keep(ENGINE, |theirs| theirs == "b");
    let state = bench.alone.state();
    let kept: Vec<_> = bench.sightings.running(&state).into_keys().collect();
    assert_eq!(kept, [(ENGINE, "b".to_owned())]);
}

#[test]
fn an_engine_that_does_not_answer_is_not_tried() {
    let mut bench = Bench::new("unix:///nowhere");
    bench.runs("a");
    let say = |state| {
        Command::Engine(EngineCommand::SetState {
            id: ENGINE,
            state,
            reason: "why".into(),
        })
    };
    bench.alone.apply(say(EngineState::Unreachable));
    assert_eq!(bench.chosen(), [""; 0]);
    bench.alone.apply(say(EngineState::Connected));
    assert_eq!(bench.chosen(), ["a"]);
}

#[tokio::test]
async fn why_a_container_is_not_adopted_is_in_its_record_and_written_once() {
    let bench = Bench::new("unix:///nowhere/docker.sock");
    bench.runs("a");
    let adopter = Arc::new(bench.adopter);
    for _ in 0..3 {
        let container = bench.alone.state().find_container("a").unwrap().clone();
        let engine = access().to(bench.alone.state().engine(ENGINE).unwrap());
        let (_, end) = attempt(bench.alone.clone(), adopter.clone(), container, engine).await;
        assert_eq!(end, End::Failed);
    }
    let state = bench.alone.state();
    let record = state.find_container("a").unwrap();
    assert!(
        record.reason.contains("/nowhere/docker.sock"),
        "{}",
        record.reason
    );
    assert_eq!(record.adoption.as_ref().unwrap().reason, record.reason);
    assert!(!record.adoption.as_ref().unwrap().adopted);
    assert_eq!(bench.alone.proposed().len(), 1);
    assert!(!format!("{:?}", (adopter.ticket)().unwrap()).contains("secret"));
}
