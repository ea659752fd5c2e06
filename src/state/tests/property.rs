//! Any commands in any order: from a small world, so that they meet.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::{
    command::{ClusterCommand, ConfigCommand},
    model::{Desired, DisconnectPolicy, EngineState, TokenId},
};

fn id() -> impl Strategy<Value = u64> {
    1..5u64
}

fn name() -> impl Strategy<Value = crate::model::Name> {
    id().prop_map(|n| format!("n{n}").parse().unwrap())
}

fn theirs() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(id().prop_map(|n| format!("{n}{n}")))
}

/// Guesses that often are right: revisions are small in these runs.
fn revision() -> impl Strategy<Value = Revision> {
    0..60u64
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        4 => Just(Condition::Any),
        1 => Just(Condition::Exists),
        1 => Just(Condition::Absent),
        1 => revision().prop_map(|v| Condition::Version(vec![v])),
    ]
}

fn agent_state() -> impl Strategy<Value = AgentState> {
    use AgentState::*;
    proptest::sample::select(vec![
        Pending, Assigned, Starting, Running, Stopping, Stopped, Failed,
    ])
}

fn container_state() -> impl Strategy<Value = ContainerState> {
    use ContainerState::*;
    proptest::sample::select(vec![Candidate, Registered, Ready, Suspect, Lost])
}

/// A command with its free choices; `fit` makes those that must match the state match it, mostly.
fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        2 => config().prop_map(Command::Config),
        6 => container().prop_map(Command::Container),
        6 => agent().prop_map(Command::Agent),
        1 => engine().prop_map(Command::Engine),
        1 => cluster().prop_map(Command::Cluster),
    ]
}

fn config() -> impl Strategy<Value = ConfigCommand> {
    prop_oneof![
        (name(), ".{0,9}", condition()).prop_map(|(name, value, condition)| ConfigCommand::Put {
            name,
            content_type: "text/plain".into(),
            value: Bytes::from(value),
            condition,
        }),
        (name(), condition()).prop_map(|(name, condition)| ConfigCommand::Delete { name, condition }),
    ]
}

fn connect() -> impl Strategy<Value = ContainerCommand> {
    (id(), 0..3u64, theirs()).prop_map(|(n, boot, engine_container)| ContainerCommand::Connect {
        id: ContainerId(n),
        boot,
        address: "10.0.0.1:1".into(),
        engine_container,
        labels: Labels::default(),
        capabilities: Capabilities::default(),
        resources: Resources {
            cpu_millis: 100,
            memory_bytes: 0,
        },
    })
}

fn observe() -> impl Strategy<Value = ContainerCommand> {
    use FoundState::{Dead, Paused, Running};
    let state = proptest::sample::select(vec![Running, Running, Dead, Paused]);
    let one = (id(), id(), id(), state).prop_map(|(n, theirs, name, state)| Found {
        id: ContainerId(n),
        ..found(&format!("{theirs}{theirs}"), &format!("n{name}"), state)
    });
    let found = proptest::collection::vec(one, 0..3);
    (1..3u64, revision(), found).prop_map(|(engine, as_of, found)| ContainerCommand::Observe {
        engine: EngineId(engine),
        as_of,
        found,
    })
}

fn container() -> impl Strategy<Value = ContainerCommand> {
    let judge = (id(), revision(), container_state(), any::<bool>(), 0..9u64);
    prop_oneof![
        2 => (1..9u64, name(), theirs()).prop_map(|(n, name, engine_container)| ContainerCommand::Enroll {
            id: ContainerId(n), token: TOKEN, name, engine_container,
        }),
        1 => (id(), name()).prop_map(|(n, name)| ContainerCommand::Register {
            id: ContainerId(n), name, labels: Labels::default(),
        }),
        4 => connect(),
        3 => judge.prop_map(|(n, version, state, fenced, term)| ContainerCommand::Judge {
            id: ContainerId(n), version, term: term.max(TERM), state, fenced, reason: "why".into(),
        }),
        3 => observe(),
        1 => (id(), 0..3u64).prop_map(|(n, boot)| ContainerCommand::Leave { id: ContainerId(n), boot }),
        1 => (id(), condition()).prop_map(|(n, condition)| ContainerCommand::Remove {
            id: ContainerId(n), condition,
        }),
    ]
}

fn agent() -> impl Strategy<Value = AgentCommand> {
    let deploy = (1..9u64, any::<bool>(), 0..60u64).prop_map(|(n, exclusive, cpu_millis)| {
        let json = serde_json::json!({"name": format!("a{}", n % 7), "command": "/bin/true"});
        let mut spec: AgentSpec = serde_json::from_value(json).unwrap();
        spec.resources.cpu_millis = cpu_millis;
        if !exclusive {
            spec.on_disconnect = DisconnectPolicy::AtLeastOnce;
        }
        AgentCommand::Deploy { id: AgentId(n), spec }
    });
    let desired = proptest::sample::select(vec![Desired::Running, Desired::Stopped, Desired::Removed]);
    let report = (id(), revision(), agent_state()).prop_map(|(n, epoch, state)| AgentReport {
        agent: AgentId(n),
        epoch,
        state,
        reason: "seen".into(),
        restarts: 1,
    });
    let reports = proptest::collection::vec(report, 1..3);
    prop_oneof![
        2 => deploy,
        2 => (id(), desired, condition()).prop_map(|(n, desired, condition)| AgentCommand::SetDesired {
            id: AgentId(n), desired, condition,
        }),
        4 => (id(), revision(), id()).prop_map(|(n, version, c)| AgentCommand::Place(vec![Placement {
            agent: AgentId(n), version, container: ContainerId(c),
        }])),
        3 => (id(), 0..3u64, reports).prop_map(|(c, boot, reports)| AgentCommand::Report {
            container: ContainerId(c), boot, reports,
        }),
    ]
}

fn engine() -> impl Strategy<Value = EngineCommand> {
    prop_oneof![
        3 => (1..3u64).prop_map(|n| EngineCommand::Add {
            id: EngineId(n),
            name: format!("e{n}").parse().unwrap(),
            url: format!("tcp://h{n}:1").parse().unwrap(),
        }),
        1 => (1..3u64, condition()).prop_map(|(n, condition)| EngineCommand::Remove {
            id: EngineId(n), condition,
        }),
        1 => (1..3u64).prop_map(|n| EngineCommand::SetState {
            id: EngineId(n), state: EngineState::Connected, reason: "answers".into(),
        }),
    ]
}

fn token(uses_left: Option<u32>) -> JoinToken {
    JoinToken {
        id: TOKEN,
        role: JoinRole::Runner,
        hash: [0; 32],
        expires_at: None,
        uses_left,
        version: 0,
    }
}

fn cluster() -> impl Strategy<Value = ClusterCommand> {
    prop_oneof![
        4 => Just(ClusterCommand::CreateJoinToken(token(None))),
        1 => Just(ClusterCommand::CreateJoinToken(token(Some(2)))),
        1 => Just(ClusterCommand::RevokeJoinToken(TOKEN)),
    ]
}

fn proposal() -> impl Strategy<Value = (bool, u64, Proposal)> {
    let key = proptest::option::weighted(0.2, (id(), 0..2u64));
    (any::<[bool; 2]>(), 0..100_000_000u64, key, command()).prop_map(|(fit, at, key, command)| {
        let key = key.map(|(n, fingerprint)| RequestKey {
            principal: TokenId(1),
            key: n.to_string(),
            fingerprint,
        });
        // Most entries are of the term that the verdicts name.
        let term = if fit[0] || fit[1] { TERM } else { TERM + 1 };
        (
            fit[0],
            term,
            Proposal {
                at: Millis(at),
                key,
                command,
            },
        )
    })
}

/// Guessed ids, versions, epochs and starts seldom match: half of the commands get such of the state.
fn fit(state: &State, command: &mut Command) {
    match command {
        Command::Agent(AgentCommand::Place(placements)) => {
            for placement in placements {
                let wanted = usize::try_from(placement.agent.0).unwrap();
                let pending: Vec<_> = state.pending().collect();
                if let Some(agent) = pending.get(wanted % pending.len().max(1)) {
                    placement.agent = agent.id;
                    placement.version = agent.version;
                }
                placement.container = ready_one(state, placement.container);
            }
        }
        Command::Agent(AgentCommand::Report {
            container,
            boot,
            reports,
        }) => {
            *container = ready_one(state, *container);
            *boot = state.container(*container).map_or(0, |c| c.boot);
            let here: Vec<_> = state.agents_of(*container).collect();
            for (report, agent) in reports.iter_mut().zip(here) {
                report.agent = agent.id;
                report.epoch = agent.epoch;
            }
        }
        Command::Container(ContainerCommand::Judge {
            id, version, term, ..
        }) => {
            *version = state.container(*id).map_or(0, |c| c.version);
            *term = TERM;
        }
        Command::Container(ContainerCommand::Leave { id, boot }) => {
            *boot = state.container(*id).map_or(0, |c| c.boot);
        }
        Command::Container(ContainerCommand::Observe { as_of, .. }) => *as_of = state.revision(),
        _ => {}
    }
}

fn ready_one(state: &State, wanted: ContainerId) -> ContainerId {
    let ready = state
        .containers(None)
        .filter(|c| c.state == ContainerState::Ready);
    let ready: Vec<_> = ready.collect();
    let at = usize::try_from(wanted.0).unwrap() % ready.len().max(1);
    ready.get(at).map_or(wanted, |c| c.id)
}

/// How often the runs came where it matters: runs that prove nothing are a failure.
#[derive(Debug, Default)]
struct Reached {
    placed: AtomicU64,
    together: AtomicU64,
    fenced: AtomicU64,
    lost: AtomicU64,
    reported: AtomicU64,
    replayed: AtomicU64,
    taken_over: AtomicU64,
}

impl Reached {
    fn note(&self, before: &State, after: &State, command: &Command, reply: &Reply) {
        let count = |counter: &AtomicU64, happened: bool| {
            counter.fetch_add(u64::from(happened), Ordering::Relaxed);
        };
        let done = reply.result.is_ok();
        count(
            &self.placed,
            matches!(reply.result, Ok(Outcome::Placed { made: 1.., .. })),
        );
        count(&self.replayed, reply.replayed);
        let busy = |state: &State| {
            state
                .containers(None)
                .filter(|c| state.placed(c.id).is_some())
                .count()
        };
        let crowd = |c: &&std::sync::Arc<Container>| after.placed(c.id).is_some_and(|p| p.agents.len() > 1);
        count(&self.together, after.containers(None).any(|c| crowd(&c)));
        let freed = busy(after) < busy(before);
        match command {
            Command::Container(ContainerCommand::Judge { fenced, state, .. }) if done => {
                count(&self.fenced, *fenced && freed);
                count(&self.lost, !fenced && *state == ContainerState::Lost);
            }
            Command::Agent(AgentCommand::Report { .. }) => {
                count(&self.reported, !before.agents.ptr_eq(&after.agents));
            }
            Command::Container(ContainerCommand::Enroll { id, .. }) => {
                let taken = after.containers.len() == before.containers.len();
                count(
                    &self.taken_over,
                    taken && matches!(reply.result, Ok(Outcome::Enrolled(got)) if got == *id),
                );
            }
            _ => {}
        }
    }

    fn check(&self) {
        let all = [
            &self.placed,
            &self.together,
            &self.fenced,
            &self.lost,
            &self.reported,
            &self.replayed,
            &self.taken_over,
        ];
        let enough = all.iter().all(|n| n.load(Ordering::Relaxed) >= 20);
        assert!(enough, "these runs prove too little: {self:?}");
    }
}

/// What most worlds have: two engines, a join token and three containers that are ready.
fn world() -> Vec<Command> {
    let engine = |n: u64| {
        Command::Engine(EngineCommand::Add {
            id: EngineId(n),
            name: format!("e{n}").parse().unwrap(),
            url: format!("tcp://h{n}:1").parse().unwrap(),
        })
    };
    let mut commands = vec![
        engine(1),
        engine(2),
        Command::Cluster(ClusterCommand::CreateJoinToken(token(None))),
    ];
    for n in 1..4 {
        commands.push(Command::Container(ContainerCommand::Enroll {
            id: ContainerId(n),
            token: TOKEN,
            name: format!("n{n}").parse().unwrap(),
            engine_container: None,
        }));
        commands.push(Command::Container(ContainerCommand::Connect {
            id: ContainerId(n),
            boot: 1,
            address: "10.0.0.1:1".into(),
            engine_container: None,
            labels: Labels::default(),
            capabilities: Capabilities::default(),
            resources: Resources {
                cpu_millis: 100,
                memory_bytes: 0,
            },
        }));
    }
    commands
}

fn bytes(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    state.write_to(&mut out).unwrap();
    out
}

/// At no moment may an exclusive agent change its container, unless the old one is proven unable to
/// act or its runner reported the end of the process.
fn exclusive_agents_moved_safely(before: &State, after: &State, command: &Command) {
    for agent in before.agents(None) {
        let Some(container) = agent.container else {
            continue;
        };
        let now = after.agent(agent.id);
        let stays = now.is_some_and(|a| a.container == Some(container) && a.epoch == agent.epoch);
        if stays || agent.spec.on_disconnect == DisconnectPolicy::AtLeastOnce {
            continue;
        }
        let ended = matches!(agent.state, AgentState::Stopped | AgentState::Failed);
        let reported = matches!(command, Command::Agent(AgentCommand::Report { .. }));
        let fenced = after.container(container).is_none_or(|c| c.fenced);
        assert!(
            ended || reported || fenced,
            "{agent:?} left {container} by {command:?}"
        );
    }
}

fn one_run(
    reached: &Reached,
    mut entries: Vec<(bool, u64, Proposal)>,
    furnished: bool,
    cut: usize,
) -> std::result::Result<(), TestCaseError> {
    if furnished {
        let world = world().into_iter().map(|command| {
            let proposal = Proposal {
                at: Millis(0),
                key: None,
                command,
            };
            (false, TERM, proposal)
        });
        entries.splice(0..0, world);
    }
    let mut state = State::default();
    let mut restored = None;
    let mut log = Vec::new();
    for (revision, (fits, term, mut proposal)) in (1..).zip(entries) {
        if fits {
            fit(&state, &mut proposal.command);
        }
        let before = state.clone();
        let reply = state.apply(revision, term, &proposal);
        if let Err(violation) = state.check() {
            panic!("{violation}\nafter {proposal:?}\non {before:#?}");
        }
        prop_assert!(state.now() >= before.now());
        exclusive_agents_moved_safely(&before, &state, &proposal.command);
        if reply.result.is_err() {
            prop_assert!(
                before.same_placing(&state),
                "a refusal had an effect: {:?}",
                proposal
            );
        }
        reached.note(&before, &state, &proposal.command, &reply);
        if restored.is_none() && log.len() == cut {
            restored = Some((State::read_from(&bytes(&state)).unwrap(), revision));
        }
        log.push((term, proposal));
    }
    let mut replayed = State::default();
    for (revision, (term, proposal)) in (1..).zip(&log) {
        replayed.apply(revision, *term, proposal);
        if let Some((restored, from)) = &mut restored
            && revision > *from
        {
            restored.apply(revision, *term, proposal);
        }
    }
    prop_assert_eq!(bytes(&replayed), bytes(&state));
    if let Some((restored, _)) = restored {
        restored.check().unwrap();
        prop_assert_eq!(bytes(&restored), bytes(&state));
    }
    Ok(())
}

#[test]
fn any_commands_keep_the_invariants() {
    let reached = Reached::default();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 600,
        max_shrink_iters: 5_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let entries = proptest::collection::vec(proposal(), 1..80);
    let furnished = proptest::bool::weighted(0.8);
    let run = |(entries, furnished, cut)| one_run(&reached, entries, furnished, cut);
    if let Err(failure) = runner.run(&(entries, furnished, 0..80usize), run) {
        panic!("{failure}");
    }
    reached.check();
}
