//! Any commands in any order keep the invariants, and a snapshot is as good as the log before it.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::{prelude::*, test_runner::TestRunner};

use super::{
    commands::{proposal, token},
    *,
};
use crate::{
    command::ClusterCommand,
    model::{DisconnectPolicy, HealthStatus},
};

/// Guessed ids, versions, epochs and starts seldom match: half of the commands get such of the state.
pub(super) fn fit(state: &State, command: &mut Command) {
    match command {
        Command::Agent(AgentCommand::Place(bindings)) => {
            for binding in bindings {
                let wanted = usize::try_from(binding.replica.agent.0).unwrap();
                let pending: Vec<_> = state.pending().collect();
                if let Some((id, agent)) = pending.get(wanted % pending.len().max(1)) {
                    binding.replica = *id;
                    binding.after = agent.replica(id.ordinal).unwrap().epoch;
                    binding.generation = agent.generation;
                }
                binding.container = ready_one(state, binding.container);
            }
        }
        Command::Agent(AgentCommand::Report {
            container,
            boot,
            reports,
        }) => {
            *container = ready_one(state, *container);
            *boot = state.container(*container).map_or(0, |c| c.boot);
            let here: Vec<_> = state.placements_in(*container).collect();
            for (report, placement) in reports.iter_mut().zip(here) {
                report.placement = placement.id;
                report.replica = placement.replica;
                report.epoch = placement.epoch;
                report.generation = placement.generation;
            }
        }
        Command::Container(ContainerCommand::Judge {
            id,
            version,
            term,
            state: verdict,
            fenced,
            ..
        }) => {
            let wanted = usize::try_from(id.0).unwrap();
            let busy: Vec<_> = state
                .containers(None)
                .filter(|c| state.placed(c.id).is_some())
                .collect();
            *id = busy.get(wanted % busy.len().max(1)).map_or(*id, |c| c.id);
            *version = state.container(*id).map_or(0, |c| c.version);
            *term = TERM;
            *fenced &= *verdict >= ContainerState::Ready;
            if *fenced {
                *verdict = ContainerState::Lost;
            }
        }
        Command::Container(ContainerCommand::Enroll {
            id,
            token,
            engine_container,
            ..
        }) => {
            let meant = |c: &std::sync::Arc<Container>| {
                c.tokens().next().map(|token| (token, c.engine_container.clone()))
            };
            if let Some((theirs, place)) = state.containers(None).find_map(meant) {
                *token = theirs;
                // Others have taken it to where they are.
                if id.0 % 2 == 0 {
                    *engine_container = place;
                }
            }
        }
        Command::Container(ContainerCommand::Adopt {
            id,
            term,
            engine_container,
            ..
        }) => {
            *term = TERM;
            let wanted = usize::try_from(id.0).unwrap();
            let lone =
                |c: &&std::sync::Arc<Container>| c.engine.is_some() && c.state != ContainerState::Ready;
            let lone: Vec<_> = state.containers(None).filter(lone).collect();
            if let Some(one) = lone.get(wanted % lone.len().max(1)) {
                *id = one.id;
                *engine_container = one.engine_container.clone().unwrap();
            }
        }
        Command::Container(ContainerCommand::Leave { id, boot }) => {
            *boot = state.container(*id).map_or(0, |c| c.boot);
        }
        Command::Container(ContainerCommand::Observe { as_of, .. }) => *as_of = state.revision(),
        Command::Cluster(
            ClusterCommand::OpenBreaker { version, term, .. }
            | ClusterCommand::CloseBreaker { version, term },
        ) => {
            *version = state.breaker().version;
            *term = TERM;
        }
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
    /// A verdict that only the breaker refused.
    held: AtomicU64,
    settled: AtomicU64,
    /// A placement that only a cordon refused.
    cordoned: AtomicU64,
    /// An adoption with a token.
    adopted: AtomicU64,
    /// Replicas of one agent placed side by side.
    several: AtomicU64,
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
        let crowd =
            |c: &&std::sync::Arc<Container>| after.placed(c.id).is_some_and(|p| p.placements.len() > 1);
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
            Command::Container(ContainerCommand::Judge { state, .. }) if *state == ContainerState::Lost => {
                let open = before.breaker().open.is_some();
                let mut closed = before.clone();
                closed.breaker.open = None;
                let (revision, term) = (after.revision(), after.term());
                let counts =
                    |state: &mut State| state.apply(revision, term, &unkeyed(command)).result.is_ok();
                count(&self.held, open && counts(&mut closed));
            }
            Command::Agent(AgentCommand::Place(bindings)) => {
                let kept_out = |binding: &Binding| {
                    before
                        .replica(binding.replica)
                        .is_some_and(|r| r.epoch == binding.after && r.active.is_none())
                        && before
                            .container(binding.container)
                            .is_some_and(|c| c.state == ContainerState::Ready && c.cordoned.is_some())
                };
                count(&self.cordoned, bindings.iter().any(kept_out));
                let several = after
                    .agents(None)
                    .any(|agent| after.placements_of(agent.id).count() > 1);
                count(&self.several, several);
            }
            Command::Container(ContainerCommand::Adopt { token, .. }) => {
                count(&self.adopted, done && token.is_some());
            }
            Command::Cluster(ClusterCommand::CloseBreaker { .. } | ClusterCommand::LiftBreaker { .. }) => {
                count(&self.settled, done);
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
            &self.held,
            &self.settled,
            &self.cordoned,
            &self.adopted,
            &self.several,
        ];
        let enough = all.iter().all(|n| n.load(Ordering::Relaxed) >= 20);
        assert!(enough, "these runs prove too little: {self:?}");
    }
}

/// What most worlds have: two engines, a join token and three containers that are ready.
pub(super) fn world() -> Vec<Command> {
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
            manager: 1,
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

pub(super) fn bytes(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    state.write_to(&mut out).unwrap();
    out
}

/// At no moment may an exclusive agent change its container, unless the old one is proven unable to
/// act or its runner reported the end of the process.
fn exclusive_agents_moved_safely(before: &State, after: &State, command: &Command) {
    for placement in before.placements.values() {
        let (id, container) = (placement.replica, placement.container);
        let agent = before.agent(id.agent).unwrap();
        let stays = after
            .placement(placement.id)
            .is_some_and(|now| (now.container, now.epoch) == (container, placement.epoch));
        if stays || agent.spec.on_disconnect == DisconnectPolicy::AtLeastOnce {
            continue;
        }
        let reported = matches!(command, Command::Agent(AgentCommand::Report { .. }));
        // One command may tell of its death and of another container under its name, which the record
        // is then about.
        let theirs = before
            .container(container)
            .and_then(|c| c.engine_container.as_deref());
        let told_dead = matches!(command, Command::Container(ContainerCommand::Observe { found, .. })
            if found.iter().any(|f| f.state == FoundState::Dead && theirs == Some(f.container.as_str())));
        let fenced = told_dead || after.container(container).is_none_or(|c| c.fenced);
        assert!(
            placement.is_over() || reported || fenced,
            "{placement:?} left {container} by {command:?}"
        );
    }
}

/// A replica's epoch only grows, whatever becomes of its placements, and each new placement has a later one.
fn epochs_only_grow(before: &State, after: &State) {
    for agent in after.agents(None) {
        let old = before.agent(agent.id);
        for (at, replica) in agent.replicas.iter().enumerate() {
            let then = old.map_or(0, |old| old.replicas[at].epoch);
            assert!(replica.epoch >= then, "{agent:?} was {old:?}");
        }
    }
    for placement in after.placements.values() {
        if before.placement(placement.id).is_none() {
            let id = placement.replica;
            let then = before.agent(id.agent).and_then(|agent| agent.replica(id.ordinal));
            let then = then.map_or(0, |replica| replica.epoch);
            assert!(placement.epoch > then, "{placement:?}");
        }
    }
}

pub(super) fn unkeyed(command: &Command) -> Proposal {
    Proposal {
        at: Millis(0),
        by: crate::command::Principal::Manager,
        key: None,
        command: command.clone(),
    }
}

/// While the breaker is open only proof of death takes a container away.
fn nobody_is_lost_by_silence_while_the_breaker_is_open(before: &State, after: &State, command: &Command) {
    if before.breaker().open.is_none() {
        return;
    }
    let rank = |c: &Container| (c.state == ContainerState::Lost, c.fenced);
    for now in after.containers(None) {
        let worse = before
            .container(now.id)
            .is_some_and(|then| rank(now) > rank(then));
        assert!(!worse || now.boot == 0, "{now:?} is lost by {command:?}");
    }
}

/// Whoever is placed anew is so in a container that takes agents.
fn no_agent_is_placed_where_none_is_taken(before: &State, after: &State) {
    let fresh = |placement: &&std::sync::Arc<crate::model::Placement>| placement.epoch == after.revision();
    for placement in after.placements.values().filter(fresh) {
        let into = before.container(placement.container);
        let takes = into.is_none_or(|c| c.cordoned.is_none() && c.health != HealthStatus::Unhealthy);
        assert!(takes, "{placement:?}");
    }
}

/// Who shows the token of one record gets this one and no other, and that of an adoption only where it was brought.
fn a_record_s_token_opens_no_other(before: &State, after: &State, command: &Command, reply: &Reply) {
    let Command::Container(ContainerCommand::Enroll {
        token,
        engine_container,
        ..
    }) = command
    else {
        return;
    };
    let meant = before
        .containers(None)
        .find(|c| c.tokens().any(|of| of == *token));
    let (Some(meant), Ok(Outcome::Enrolled(got)), false) = (meant, &reply.result, reply.replayed) else {
        return;
    };
    let got = after.container(*got).unwrap();
    assert_eq!(got.name, meant.name);
    assert!(
        meant.invited == Some(*token) || meant.engine_container == *engine_container,
        "{meant:?} by {command:?}"
    );
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
                by: crate::command::Principal::Manager,
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
        epochs_only_grow(&before, &state);
        nobody_is_lost_by_silence_while_the_breaker_is_open(&before, &state, &proposal.command);
        no_agent_is_placed_where_none_is_taken(&before, &state);
        a_record_s_token_opens_no_other(&before, &state, &proposal.command, &reply);
        if reply.result.is_err() {
            prop_assert!(
                before.same_placing(&state),
                "a refusal had an effect: {:?}",
                proposal
            );
        }
        reached.note(&before, &state, &proposal.command, &reply);
        if restored.is_none() && log.len() == cut {
            restored = Some((State::read_from(&*bytes(&state)).unwrap(), revision));
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
    events::tell_the_whole_story(&state);
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
        cases: 1_500,
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
