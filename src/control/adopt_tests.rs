use std::collections::BTreeMap;

use tokio::{sync::watch, time::Instant};

use super::{
    super::{
        adopt_desk::JOINING,
        fixture::{Alone, TERM},
    },
    *,
};
use crate::{
    command::{EngineCommand, Loop, Reply},
    consensus::{Leadership, ProposeError},
    engine::pretended::{Answer, Pretended},
    model::{ContainerState, EngineId, EngineState, Found, FoundState, Labels, MAY_ADOPT, Revision},
    state::State,
};

const ENGINE: EngineId = EngineId(1);

fn labelled(labels: &[(&str, &str)]) -> Labels {
    let labels: BTreeMap<String, String> = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Labels::lenient(labels)
}

fn found(container: &str, state: FoundState, labels: &[(&str, &str)]) -> Found {
    Found {
        id: ContainerId(rand::random()),
        container: container.into(),
        name: container.parse().unwrap(),
        image: "busybox".into(),
        labels: labelled(labels),
        networks: None,
        health: None,
        state,
        detail: "running".into(),
    }
}

fn access() -> EngineAccess {
    EngineAccess::new("/nowhere".into())
}

/// The start of a static program for this kind of machine: no segments at all.
fn program(file: &std::path::Path) -> Program {
    let mut text = vec![0; 64];
    text[..6].copy_from_slice(b"\x7fELF\x02\x01");
    text[18] = 0x3e;
    std::fs::write(file, text).unwrap();
    Program::open(file).unwrap()
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
        let file = std::env::temp_dir().join(format!("quorate-adopt-{:016x}", rand::random::<u64>()));
        let opened = program(&file);
        std::fs::remove_file(&file).unwrap();
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
        let chosen = self
            .desk
            .choose(&state, &self.sightings, &access(), &self.adopter);
        chosen
            .into_iter()
            .map(|(container, _)| container.name.to_string())
            .collect()
    }
}

/// An attempt at a container as it is now.
fn attempt<R: Replica>(replica: R, name: &str, adopter: &Arc<Adopter>) -> Attempt<R> {
    Attempt {
        container: replica.state().find_container(name).unwrap().clone(),
        adopter: adopter.clone(),
        replica,
        term: TERM,
    }
}

async fn ended<R: Replica>(attempt: Attempt<R>) -> End {
    let engine = access().to(attempt.replica.state().engine(ENGINE).unwrap());
    attempt.run_out(engine).await.1
}

fn token(id: u64) -> JoinToken {
    JoinToken {
        id: JoinTokenId(id),
        role: JoinRole::Runner,
        hash: [0; 32],
        expires_at: Some(Millis(1_000_000)),
        uses_left: Some(1),
        version: 0,
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
fn labels_count_as_the_engine_tells_them_whatever_the_record_has() {
    let mut bench = Bench::new("unix:///nowhere");
    bench.adopter.selector = "team=a".parse().unwrap();
    type Pairs = &'static [(&'static str, &'static str)];
    let cases: [(&str, Pairs, Pairs); 4] = [
        (
            "a",
            &[(MAY_ADOPT, "true")],
            &[(MAY_ADOPT, "false"), ("team", "a")],
        ),
        ("b", &[("team", "a")], &[("team", "b")]),
        ("c", &[("team", "a")], &[]),
        ("d", &[(MAY_ADOPT, "false"), ("team", "b")], &[("team", "a")]),
    ];
    for (name, registered, told) in cases {
        let register = ContainerCommand::Register {
            id: ContainerId(rand::random()),
            name: name.parse().unwrap(),
            labels: labelled(registered),
        };
        bench.alone.apply(Command::Container(register)).result.unwrap();
        bench.tell(found(name, FoundState::Running, told));
    }
    assert_eq!(bench.chosen(), ["d"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_waited_longest_is_next() {
    let mut bench = Bench::new("unix:///nowhere");
    bench.adopter.at_once = 1;
    for name in ["a", "b", "c"] {
        bench.runs(name);
    }
    let mut tried = Vec::new();
    for _ in 0..4 {
        let chosen = bench.chosen();
        assert_eq!(chosen.len(), 1, "{chosen:?}");
        let id = bench.id(&chosen[0]);
        bench.desk.ended(id, End::Failed);
        tried.extend(chosen);
        // By now any of them might be tried again.
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    assert_eq!(tried, ["a", "b", "c", "a"]);
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
    let running = bench.sightings.running(&state);
    let kept: Vec<_> = running[&ENGINE].keys().collect();
    assert_eq!(kept, ["b"]);
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
        let end = ended(attempt(bench.alone.clone(), "a", &adopter)).await;
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

#[tokio::test]
async fn an_engine_that_does_not_answer_makes_nobody_forget_that_a_runner_was_brought_in() {
    let bench = Bench::new("unix:///nowhere/docker.sock");
    bench.runs("a");
    let id = bench.id("a");
    let adopter = Arc::new(bench.adopter);
    let brought = attempt(bench.alone.clone(), "a", &adopter);
    let told = brought.tell(true, Some(token(5)), "brought").await;
    assert!(matches!(told, Told::Noted));
    bench.alone.ready(id, 7);
    // It is silent for a moment, and so is its engine.
    bench.alone.apply(Command::Container(ContainerCommand::Observe {
        engine: ENGINE,
        as_of: 0,
        found: vec![found("a", FoundState::Paused, &[])],
    }));
    assert_eq!(
        bench.alone.state().container(id).unwrap().state,
        ContainerState::Suspect
    );
    let end = ended(attempt(bench.alone.clone(), "a", &adopter)).await;
    assert_eq!(end, End::Failed);
    let adoption = |state: &State| state.container(id).unwrap().adoption.clone();
    let told = adoption(&bench.alone.state()).unwrap();
    assert!(
        told.adopted && told.reason.contains("/nowhere/docker.sock"),
        "{told:?}"
    );
    bench.alone.ready(id, 7);
    assert!(adoption(&bench.alone.state()).unwrap().adopted);
}

/// What an engine answers until the binary is in a container and was tried out.
const TAKES_IT: [Answer; 6] = [
    ("GET /containers/a/json", 200, r#"{"State":{"Running":true}}"#),
    (
        "GET /containers/a/top",
        200,
        r#"{"Processes":[["1","sleep 1000"]]}"#,
    ),
    ("PUT /containers/a/archive", 200, ""),
    ("POST /containers/a/exec", 201, r#"{"Id":"e1"}"#),
    ("POST /exec/e1/start", 101, ""),
    ("GET /exec/e1/json", 200, r#"{"Running":false,"ExitCode":0}"#),
];

#[tokio::test]
async fn what_the_log_does_not_take_is_not_copied_in_again_at_once() {
    let engine = Pretended::new(&TAKES_IT).await;
    let mut bench = Bench::new(&engine.url);
    bench.runs("a");
    bench.runs("b");
    // Any file will do here.
    let file = std::env::temp_dir().join(format!("quorate-adopt-{:016x}", rand::random::<u64>()));
    bench.adopter.program = Arc::new(program(&file));
    bench.adopter.ticket = Box::new(|| {
        Some(Ticket {
            id: JoinTokenId(5),
            hash: [0; 32],
            text: "secret".into(),
        })
    });
    let adopter = Arc::new(bench.adopter);
    let starts = || {
        let asked = engine.asked();
        asked.iter().filter(|one| one.contains("/e1/start")).count()
    };
    bench.alone.fail(true);
    let end = ended(attempt(bench.alone.clone(), "a", &adopter)).await;
    assert_eq!((end, starts()), (End::Failed, 1), "{:?}", engine.asked());
    bench.alone.fail(false);
    // Its token is another's.
    let other = attempt(bench.alone.clone(), "b", &adopter);
    other.tell(true, Some(token(5)), "brought").await;
    let end = ended(attempt(bench.alone.clone(), "a", &adopter)).await;
    assert_eq!((end, starts()), (End::Failed, 2), "{:?}", engine.asked());
    let state = bench.alone.state();
    let told = state.find_container("a").unwrap().adoption.clone().unwrap();
    assert!(
        !told.adopted && told.reason.contains("exists already"),
        "{told:?}"
    );
    std::fs::remove_file(&file).unwrap();
}

/// A log that no proposal survives.
#[derive(Clone)]
struct Broken(Alone);

impl Replica for Broken {
    async fn propose(&self, _: Loop, _: Command) -> Result<Reply, ProposeError> {
        panic!("on purpose")
    }

    fn state(&self) -> Arc<State> {
        self.0.state()
    }

    fn watch_applied(&self) -> watch::Receiver<Revision> {
        self.0.watch_applied()
    }

    fn watch_leadership(&self) -> watch::Receiver<Option<Leadership>> {
        self.0.watch_leadership()
    }

    fn session_addresses(&self) -> Vec<String> {
        self.0.session_addresses()
    }
}

#[tokio::test]
async fn an_attempt_that_panics_while_it_tells_of_its_failure_gives_its_slot_back() {
    let bench = Bench::new("unix:///nowhere/docker.sock");
    bench.runs("a");
    let adopter = Arc::new(bench.adopter);
    let end = ended(attempt(Broken(bench.alone.clone()), "a", &adopter)).await;
    assert_eq!(end, End::Failed);
}
