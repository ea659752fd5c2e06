//! Events: that they tell the whole story, in order, and once.

use std::collections::BTreeMap;

use super::*;
use crate::{
    command::ConfigCommand,
    model::{
        Desired, DisconnectPolicy, EngineState, Event, EventId, EventKind, Happening, HealthStatus, Subject,
    },
};

impl StateBench {
    fn told(&self, after: Revision) -> Vec<Event> {
        let after = (after > 0).then(|| EventId::end_of(after));
        let events = self.state.events(after).unwrap();
        events.iter().map(|event| (**event).clone()).collect()
    }

    /// What was told since, as `kind name: what`.
    fn lines(&self, after: Revision) -> Vec<String> {
        let line = |event: &Event| {
            let name = event.name.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("{} {name}: {:?}", event.subject.kind(), event.what)
        };
        self.told(after).iter().map(line).collect()
    }
}

#[test]
fn a_container_s_life_is_told_with_its_reasons() {
    use ContainerState::{Lost, Ready, Suspect};
    let mut bench = StateBench::new();
    bench.engine(1).unwrap();
    bench.observe(1, "aa", FoundState::Running).unwrap();
    let id = bench.named("aa").id.0;
    bench.enroll(9, "aa", Some("aa")).unwrap();
    bench.connect(id, 1, Some("aa")).unwrap();
    bench.connect(id, 1, Some("aa")).unwrap();
    bench.connect(id, 2, Some("aa")).unwrap();
    bench.judge(id, Suspect, false).unwrap();
    bench.judge(id, Ready, false).unwrap();
    bench.judge(id, Suspect, false).unwrap();
    bench.judge(id, Lost, false).unwrap();
    bench.judge(id, Lost, true).unwrap();
    bench.cordon(id, Some("disk"), Condition::Any).unwrap();
    bench.cordon(id, None, Condition::Any).unwrap();
    bench
        .container_command(ContainerCommand::Remove {
            id: ContainerId(id),
            condition: Condition::Any,
        })
        .unwrap();
    let expected = [
        "engine e1: Added",
        "container aa: Candidate",
        "container aa: Registered",
        "container aa: Ready",
        "container aa: Restarted",
        "container aa: Suspect",
        "container aa: Ready",
        "container aa: Suspect",
        "container aa: Lost",
        "container aa: Fenced",
        "container aa: Cordoned",
        "container aa: Uncordoned",
        "container aa: Removed",
    ];
    assert_eq!(bench.lines(0), expected);
    let told = bench.told(0);
    assert!(
        told.iter()
            .all(|event| !event.reason.is_empty() && event.at == Millis(event.id.revision))
    );
    assert_eq!(
        (told[5].reason.as_str(), told[10].reason.as_str()),
        ("silent", "disk")
    );
    assert!(
        told[1..]
            .iter()
            .all(|event| event.subject == Subject::Container(ContainerId(id)))
    );
}

#[test]
fn one_command_tells_of_all_it_changed_and_reading_goes_on_behind_any_of_it() {
    let mut bench = StateBench::new();
    bench.ready(1);
    for agent in 1..=2 {
        bench
            .deploy(agent, |spec| spec.on_disconnect = DisconnectPolicy::AtLeastOnce)
            .unwrap();
        assert!(bench.place(agent, 1));
        bench.report(1, agent, AgentState::Running).unwrap();
    }
    let before = bench.revision;
    bench
        .container_command(ContainerCommand::Leave {
            id: ContainerId(1),
            boot: 1,
        })
        .unwrap();
    let expected = [
        "container c1: Lost",
        "container c1: Fenced",
        "agent a1: Pending",
        "agent a2: Pending",
    ];
    assert_eq!(bench.lines(before), expected);
    let all = bench.told(before);
    for (at, event) in (0..).zip(&all) {
        assert_eq!((event.id.revision, event.id.place), (bench.revision, at));
        let rest = bench.state.events(Some(event.id)).unwrap();
        assert!(
            rest.iter()
                .map(|event| &**event)
                .eq(&all[usize::try_from(at).unwrap() + 1..])
        );
    }
    assert!(bench.told(bench.revision).is_empty());
    assert!(
        bench
            .state
            .events(Some(EventId::end_of(Revision::MAX)))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn who_takes_a_name_over_comes_after_whose_it_was() {
    // By id the new record would come first, and last.
    for fresh in [1, 9] {
        let mut bench = StateBench::new();
        bench.enroll(5, "db", None).unwrap();
        bench.connect(5, 1, None).unwrap();
        bench.judge(5, ContainerState::Lost, true).unwrap();
        let before = bench.revision;
        bench.enroll(fresh, "db", None).unwrap();
        assert_eq!(
            bench.lines(before),
            ["container db: Removed", "container db: Registered"]
        );
        assert_eq!(bench.told(before)[0].reason, "another runner has taken its place");
    }
}

#[test]
fn a_death_and_another_of_its_name_are_told_both() {
    let mut bench = StateBench::new();
    bench.engine(1).unwrap();
    bench.observe(1, "aa", FoundState::Running).unwrap();
    let id = bench.named("aa").id.0;
    bench.enroll(9, "aa", Some("aa")).unwrap();
    bench.connect(id, 1, Some("aa")).unwrap();
    let before = bench.revision;
    let as_of = before;
    bench
        .container_command(ContainerCommand::Observe {
            engine: EngineId(1),
            as_of,
            found: vec![
                found("aa", "aa", FoundState::Dead),
                found("bb", "aa", FoundState::Running),
            ],
        })
        .unwrap();
    let expected = [
        "container aa: Lost",
        "container aa: Fenced",
        "container aa: Registered",
    ];
    assert_eq!(bench.lines(before), expected);
}

#[test]
fn what_others_write_stays_one_line_of_bounded_length() {
    let mut bench = StateBench::new();
    bench.ready(1);
    let before = bench.revision;
    let hostile = format!("a\nb\u{1b}[31m{}", "x".repeat(400));
    bench.cordon(1, Some(&hostile), Condition::Any).unwrap();
    let reason = &bench.told(before)[0].reason;
    assert!(
        reason.starts_with("a b [31mx") && reason.chars().count() == 200,
        "{reason}"
    );
}

#[test]
fn what_changes_nothing_and_what_is_refused_tells_nothing() {
    let mut bench = StateBench::new();
    bench.ready(1);
    let known = bench.revision;
    bench.register(2, "c1").unwrap_err();
    bench.judge(1, ContainerState::Ready, true).unwrap_err();
    bench.connect(1, 1, None).unwrap();
    bench
        .apply(Command::Config(ConfigCommand::Put {
            name: "a".parse().unwrap(),
            value: "x".into(),
            content_type: "text/plain".into(),
            condition: Condition::Any,
        }))
        .unwrap();
    assert_eq!(bench.lines(known), [""; 0]);
}

#[test]
fn what_runners_say_of_agents_is_told_once() {
    let mut bench = StateBench::new();
    bench.ready(1);
    let known = bench.revision;
    bench.deploy(1, |_| ()).unwrap();
    assert!(bench.place(1, 1));
    // Other words for the same are no event; another start is one.
    for (reason, restarts) in [
        ("runs", 0),
        ("still runs", 0),
        ("runs again", 1),
        ("runs again", 1),
    ] {
        let report = PlacementReport {
            reason: reason.into(),
            restarts,
            ..bench.seen(1, AgentState::Running)
        };
        bench.say(1, 1, report).unwrap();
    }
    bench.desire(1, Desired::Removed).unwrap();
    bench.report(1, 1, AgentState::Stopped).unwrap();
    let expected = [
        "agent a1: Pending",
        "agent a1: Assigned",
        "agent a1: Running",
        "agent a1: Restarted",
        "agent a1: Stopping",
        "agent a1: Removed",
    ];
    assert_eq!(bench.lines(known), expected);
}

#[test]
fn what_is_too_old_goes_and_whoever_missed_it_is_told_so() {
    let mut state = State::default();
    let hour = 3_600_000;
    for n in 1..=200 {
        let command = Command::Container(ContainerCommand::Register {
            id: ContainerId(n),
            name: format!("c{n}").parse().unwrap(),
            labels: Labels::default(),
        });
        let proposal = Proposal {
            at: Millis(n * hour),
            by: crate::command::Principal::Manager,
            key: None,
            command,
        };
        state.apply(n, TERM, &proposal).result.unwrap();
        state.check().unwrap();
    }
    let kept = state.events(None).unwrap();
    assert_eq!(kept.len(), 7 * 24);
    let floor = state.events(Some(EventId::end_of(1))).unwrap_err();
    assert_eq!(kept.front().unwrap().id.revision, floor.revision + 1);
    let from = |id| state.events(Some(id)).map(|events| events.len());
    // Who has seen the last one that was let go has missed nothing.
    assert_eq!(from(floor), Ok(7 * 24));
    assert_eq!(from(EventId::end_of(floor.revision)), Ok(7 * 24));
    let before = EventId::end_of(floor.revision - 1);
    assert_eq!(from(before), Err(floor));
    let restored = State::read_from(&*property::bytes(&state)).unwrap();
    assert_eq!(restored.events(None).unwrap(), kept);
    assert_eq!(restored.events(Some(before)).unwrap_err(), floor);
}

#[test]
fn every_one_of_a_large_table_is_told_and_so_many_are_kept() {
    const EACH: u64 = 1_000;
    let mut state = State::default();
    let mut apply = |revision, command| {
        let proposal = property::unkeyed(&command);
        state.apply(revision, TERM, &proposal).result.unwrap();
    };
    let engine = EngineId(1);
    apply(
        1,
        Command::Engine(EngineCommand::Add {
            id: engine,
            name: "e".parse().unwrap(),
            url: "tcp://h:1".parse().unwrap(),
        }),
    );
    // Found, sound, and not: two more events each.
    for (round, health) in [None, Some(HealthStatus::Healthy), Some(HealthStatus::Unhealthy)]
        .into_iter()
        .enumerate()
    {
        for part in 0..40 {
            let one = |n: u64| Found {
                id: ContainerId(part * EACH + n),
                health,
                ..found(
                    &format!("{:08x}", part * EACH + n),
                    &format!("c{part}-{n}"),
                    FoundState::Running,
                )
            };
            let command = ContainerCommand::Observe {
                engine,
                as_of: 1,
                found: (0..EACH).map(one).collect(),
            };
            apply(
                2 + u64::try_from(round).unwrap() * 40 + part,
                Command::Container(command),
            );
        }
    }
    state.check().unwrap();
    let kept = state.events(None).unwrap();
    assert_eq!(kept.len(), 100_000);
    let floor = state.events(Some(EventId::default())).unwrap_err();
    // 120,001 were told.
    assert_eq!(kept.front().unwrap().id.revision, 22);
    assert_eq!((floor.revision, floor.place), (21, 999));
    let changed: std::collections::BTreeSet<_> =
        kept.iter().skip(60_000).map(|event| event.subject).collect();
    assert_eq!(changed.len(), 40_000);
}

/// What a reader of all events would believe there is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Believed {
    containers: BTreeMap<ContainerId, (Happening, bool, bool)>,
    agents: BTreeMap<AgentId, Happening>,
    engines: BTreeMap<EngineId, Happening>,
    open: bool,
}

impl Believed {
    fn of(events: impl IntoIterator<Item = std::sync::Arc<Event>>) -> Self {
        let mut believed = Self::default();
        for event in events {
            believed.take(&event);
        }
        believed
    }

    fn take(&mut self, event: &Event) {
        use Happening as H;
        match event.subject {
            Subject::Container(id) if event.what == H::Removed => {
                self.containers.remove(&id).unwrap();
            }
            Subject::Container(id) => {
                let (state, fenced, cordoned) =
                    self.containers.entry(id).or_insert((event.what, false, false));
                match event.what {
                    H::Fenced => *fenced = true,
                    H::Cordoned => *cordoned = true,
                    H::Uncordoned => *cordoned = false,
                    H::Restarted | H::Moved | H::Healthy | H::Unhealthy | H::Unchecked | H::Adoption => {}
                    other => (*state, *fenced) = (other, false),
                }
            }
            Subject::Agent(id) if event.what == H::Removed => {
                self.agents.remove(&id).unwrap();
            }
            Subject::Agent(id) => {
                let state = self.agents.entry(id).or_insert(event.what);
                if event.what != H::Restarted {
                    *state = event.what;
                }
            }
            Subject::Engine(id) if event.what == H::Removed => {
                self.engines.remove(&id).unwrap();
            }
            Subject::Engine(id) => {
                self.engines.insert(id, event.what);
            }
            Subject::Breaker => self.open = event.what == H::Opened,
        }
    }
}

/// Holds what events told against what there is.
pub(super) fn tell_the_whole_story(state: &State) {
    // What was let go is missing in what is kept.
    if state.events(Some(EventId::default())).is_err() {
        return;
    }
    let believed = Believed::of(state.events(None).unwrap());
    let word = |value: serde_json::Value| -> Happening { serde_json::from_value(value).unwrap() };
    let containers = state.containers(None).map(|c| {
        let shown = word(serde_json::to_value(c.state).unwrap());
        (c.id, (shown, c.fenced, c.cordoned.is_some()))
    });
    // Events do not say which of several replicas they are of.
    let agents = state.agents(None).map(|agent| {
        let several = agent.replicas.len() > 1;
        let last = believed.agents.get(&agent.id).filter(|_| several);
        let shown = state.replica_states(agent).next().unwrap();
        let shown = word(serde_json::to_value(shown).unwrap());
        (agent.id, last.copied().unwrap_or(shown))
    });
    let engines = state.engines().map(|engine| {
        let shown = match engine.state {
            EngineState::Unknown => Happening::Added,
            other => word(serde_json::to_value(other).unwrap()),
        };
        (engine.id, shown)
    });
    let there_is = Believed {
        containers: containers.collect(),
        agents: agents.collect(),
        engines: engines.collect(),
        open: state.breaker().open.is_some(),
    };
    assert_eq!(believed, there_is);
}

#[test]
fn kinds_go_by_the_names_that_they_are_shown_by() {
    for kind in [
        EventKind::Container,
        EventKind::Agent,
        EventKind::Engine,
        EventKind::Breaker,
    ] {
        assert_eq!(kind.to_string().parse(), Ok(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
    }
}
