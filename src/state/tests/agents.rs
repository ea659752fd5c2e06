use super::*;
use crate::model::{Desired, DisconnectPolicy, Placement, PlacementRole};
use crate::state::MAX_SPEC_TOTAL_BYTES;

fn lenient(spec: &mut AgentSpec) {
    spec.on_disconnect = DisconnectPolicy::AtLeastOnce;
}

fn placed(change: impl FnOnce(&mut AgentSpec)) -> StateBench {
    let mut bench = StateBench::new();
    bench.ready(1);
    bench.deploy(1, change).unwrap();
    assert!(bench.place(1, 1));
    bench
}

#[test]
fn an_exclusive_agent_leaves_only_a_fenced_container() {
    let mut bench = placed(|_| {});
    let epoch = bench.agent(1).epoch;
    for state in [ContainerState::Suspect, ContainerState::Lost] {
        bench.judge(1, state, false).unwrap();
        assert_eq!(bench.agent(1).container, Some(ContainerId(1)), "{state:?}");
    }
    bench.judge(1, ContainerState::Lost, true).unwrap();
    assert_eq!(bench.agent(1).container, None);
    assert_eq!(bench.agent(1).state, AgentState::Pending);
    assert_eq!(bench.agent(1).epoch, epoch);
    bench.ready(2);
    assert!(bench.place(1, 2));
    assert!(bench.agent(1).epoch > epoch);
}

#[test]
fn an_at_least_once_agent_leaves_a_lost_container() {
    let mut bench = placed(lenient);
    bench.judge(1, ContainerState::Suspect, false).unwrap();
    assert!(bench.agent(1).container.is_some());
    bench.judge(1, ContainerState::Lost, false).unwrap();
    assert_eq!(bench.agent(1).container, None);
}

#[test]
fn reports_of_another_epoch_start_or_container_change_nothing() {
    let mut bench = placed(|_| {});
    bench.ready(2);
    let epoch = bench.agent(1).epoch;
    let before = bench.agent(1);
    bench.report_as(1, 1, 1, epoch - 1, AgentState::Running).unwrap();
    bench.report_as(2, 1, 1, epoch, AgentState::Running).unwrap();
    bench.report_as(1, 9, 1, epoch, AgentState::Running).unwrap_err();
    bench.report_as(1, 1, 1, epoch, AgentState::Pending).unwrap();
    assert_eq!(bench.agent(1), before);
    bench.report(1, 1, AgentState::Running).unwrap();
    assert_eq!(bench.agent(1).state, AgentState::Running);
}

#[test]
fn a_report_under_the_old_epoch_does_not_touch_the_new_placement() {
    let mut bench = placed(|_| {});
    bench.ready(2);
    let old = bench.agent(1).epoch;
    bench.judge(1, ContainerState::Lost, true).unwrap();
    assert!(bench.place(1, 2));
    bench.connect(1, 1, None).unwrap();
    bench.report_as(1, 1, 1, old, AgentState::Failed).unwrap();
    assert_eq!(bench.agent(1).state, AgentState::Assigned);
}

#[test]
fn a_plan_is_checked_again_when_it_is_applied() {
    let mut bench = StateBench::new();
    bench.ready(1);
    bench.ready(2);
    let heavy = |spec: &mut AgentSpec| spec.resources.cpu_millis = 600;
    bench.deploy(1, heavy).unwrap();
    bench.deploy(2, heavy).unwrap();
    bench
        .deploy(3, |spec| spec.constraints = "gpu".parse().unwrap())
        .unwrap();
    assert!(bench.place(1, 1));
    assert!(!bench.place(1, 2), "placed already");
    assert!(!bench.place(2, 1), "no room");
    assert!(!bench.place(3, 2), "no gpu");
    assert!(!bench.place(2, 77), "no such container");
    bench.judge(2, ContainerState::Suspect, false).unwrap();
    assert!(!bench.place(2, 2), "not ready");
    bench.judge(2, ContainerState::Ready, false).unwrap();
    let now = bench.binding(2, 2);
    for stale in [
        Binding { after: 1, ..now },
        Binding { generation: 2, ..now },
        Binding {
            replica: ReplicaId {
                ordinal: 2,
                ..now.replica
            },
            ..now
        },
    ] {
        let reply = bench.apply(Command::Agent(AgentCommand::Place(vec![stale])));
        assert_eq!(reply, Ok(Outcome::Placed { made: 0, refused: 1 }));
    }
    assert!(bench.place(2, 2));
}

#[test]
fn stopping_waits_for_the_runner_and_is_not_undone_by_a_late_report() {
    let mut bench = placed(|_| {});
    bench.desire(1, Desired::Stopped).unwrap();
    assert_eq!(bench.agent(1).state, AgentState::Stopping);
    bench.report(1, 1, AgentState::Running).unwrap();
    assert_eq!(bench.agent(1).state, AgentState::Stopping);
    bench.desire(1, Desired::Running).unwrap_err();
    bench.report(1, 1, AgentState::Stopped).unwrap();
    assert_eq!(
        (bench.agent(1).state, bench.agent(1).container),
        (AgentState::Stopped, None)
    );
    bench.desire(1, Desired::Running).unwrap();
    assert_eq!(bench.agent(1).state, AgentState::Pending);
}

#[test]
fn deleting_forgets_the_agent_once_it_runs_nowhere() {
    let mut bench = placed(|_| {});
    bench.desire(1, Desired::Removed).unwrap();
    assert!(bench.state.find_agent("a1").is_some());
    bench.desire(1, Desired::Running).unwrap_err();
    bench.report(1, 1, AgentState::Failed).unwrap();
    assert!(bench.state.find_agent("a1").is_none());
    bench.deploy(2, |spec| spec.name = "a1".parse().unwrap()).unwrap();
    bench.desire(2, Desired::Removed).unwrap();
    assert_eq!(bench.state.agents(None).count(), 0);
}

/// It used to wait for a report that a runner had no reason to send again.
#[test]
fn an_agent_that_had_ended_is_stopped_at_once() {
    let mut bench = placed(|_| {});
    bench.report(1, 1, AgentState::Failed).unwrap();
    assert_eq!(bench.agent(1).container, Some(ContainerId(1)));
    bench.desire(1, Desired::Stopped).unwrap();
    assert_eq!(
        (bench.agent(1).state, bench.agent(1).container),
        (AgentState::Stopped, None)
    );
}

/// A restart of the runner used to bring back agents that were never to run again.
#[test]
fn a_runners_restart_starts_only_what_was_running() {
    let mut bench = placed(|_| {});
    bench.deploy(2, |_| {}).unwrap();
    assert!(bench.place(2, 1));
    bench.report(1, 1, AgentState::Running).unwrap();
    bench.report(1, 2, AgentState::Stopped).unwrap();
    let epoch = bench.agent(1).epoch;
    bench.connect(1, 2, None).unwrap();
    assert_eq!(
        (bench.agent(1).state, bench.agent(1).epoch),
        (AgentState::Assigned, epoch)
    );
    assert_eq!(bench.agent(2).state, AgentState::Stopped);
}

#[test]
fn a_text_of_a_runner_can_not_fill_the_state() {
    let mut bench = placed(|_| {});
    let report = PlacementReport {
        reason: "x".repeat(1 << 20),
        restarts: 1,
        ..bench.seen(1, AgentState::Starting)
    };
    bench.say(1, 1, report).unwrap();
    assert!(bench.agent(1).reason.len() <= 512);
}

#[test]
fn conditions_and_names_guard_agents() {
    let mut bench = placed(|_| {});
    let deploy = bench.deploy(2, |spec| spec.name = "a1".parse().unwrap());
    assert!(matches!(deploy, Err(Rejection::Exists { .. })));
    let version = bench.agent(1).version;
    let stop = |version| {
        Command::Agent(AgentCommand::SetDesired {
            id: AgentId(1),
            desired: Desired::Stopped,
            condition: Condition::Version(vec![version]),
        })
    };
    let refused = bench.apply(stop(version + 1));
    assert_eq!(
        refused,
        Err(Rejection::Condition {
            current: Some(version)
        })
    );
    bench.apply(stop(version)).unwrap();
    let missing = bench.desire(99, Desired::Stopped);
    assert!(matches!(missing, Err(Rejection::NotFound { .. })));
}

/// Which replicas wait, and what each of the others has.
fn spread(bench: &StateBench) -> Vec<(u32, Option<ContainerId>, Revision)> {
    let agent = bench.state.agent(AgentId(1)).unwrap();
    let all = bench.state.replicas(agent).into_iter();
    all.map(|status| (status.id.ordinal, status.container(), status.epoch))
        .collect()
}

fn bind(bench: &mut StateBench, ordinal: u32, after: Revision, container: u64) -> bool {
    let replica = ReplicaId {
        ordinal,
        ..replica(1)
    };
    bench.bind(Binding {
        replica,
        after,
        generation: 1,
        container: ContainerId(container),
    })
}

#[test]
fn each_replica_has_a_placement_and_an_epoch_of_its_own() {
    let mut bench = StateBench::new();
    bench.ready(1);
    bench.ready(2);
    bench.deploy(1, |spec| spec.replicas = 3).unwrap();
    assert_eq!(bench.state.pending().count(), 3);
    assert!(bind(&mut bench, 1, 0, 1));
    let first = bench.revision;
    assert!(bind(&mut bench, 2, 0, 2));
    let second = bench.revision;
    assert!(!bind(&mut bench, 2, 0, 1), "placed already");
    assert!(!bind(&mut bench, 4, 0, 1), "there are three");
    let (one, two) = (Some(ContainerId(1)), Some(ContainerId(2)));
    assert_eq!(spread(&bench), [(1, one, first), (2, two, second), (3, None, 0)]);

    // A container that is fenced takes the placements in it along, and no others.
    bench.judge(1, ContainerState::Lost, true).unwrap();
    assert_eq!(spread(&bench), [(1, None, first), (2, two, second), (3, None, 0)]);
    let waiting: Vec<_> = bench.state.pending().map(|(id, _)| id.ordinal).collect();
    assert_eq!(waiting, [1, 3]);
    assert!(!bind(&mut bench, 1, 0, 2), "as planned before it was placed");
    assert!(bind(&mut bench, 1, first, 2));
    assert_eq!(spread(&bench)[0], (1, two, bench.revision));

    // It is forgotten with its last placement.
    bench.desire(1, Desired::Removed).unwrap();
    let placements: Vec<_> = bench.state.placements_of(AgentId(1)).cloned().collect();
    assert_eq!(placements.len(), 2);
    for placement in placements {
        assert!(bench.state.agent(AgentId(1)).is_some());
        let report = PlacementReport {
            placement: placement.id,
            replica: placement.replica,
            epoch: placement.epoch,
            generation: placement.generation,
            state: AgentState::Stopped,
            reason: "seen".into(),
            restarts: 0,
        };
        bench.say(2, 1, report).unwrap();
    }
    assert!(bench.state.agent(AgentId(1)).is_none());
}

#[test]
fn an_agent_has_one_replica_at_least_and_not_any_number() {
    let mut bench = StateBench::new();
    for replicas in [0, crate::model::MAX_REPLICAS + 1] {
        let refused = bench.deploy(1, |spec| spec.replicas = replicas);
        assert!(matches!(refused, Err(Rejection::Quota(_))), "{refused:?}");
    }
    bench
        .deploy(1, |spec| spec.replicas = crate::model::MAX_REPLICAS)
        .unwrap();
}

#[test]
fn a_placement_s_id_is_given_once() {
    let mut bench = placed(|_| {});
    let first = bench.agent(1).placement.unwrap();
    bench.report(1, 1, AgentState::Failed).unwrap();
    bench.desire(1, Desired::Running).unwrap();
    let mut restored = State::read_from(&*super::property::bytes(&bench.state)).unwrap();
    assert!(bench.place(1, 1));
    let second = bench.agent(1).placement.unwrap();
    assert!(second > first);
    // Also by a manager that has it from a snapshot.
    let place = Command::Agent(AgentCommand::Place(vec![Binding {
        replica: replica(1),
        after: restored.replica(replica(1)).unwrap().epoch,
        generation: 1,
        container: ContainerId(1),
    }]));
    restored
        .apply(bench.revision, TERM, &super::property::unkeyed(&place))
        .result
        .unwrap();
    assert_eq!(restored.active(replica(1)).unwrap().id, second);
}

#[test]
fn a_report_of_another_generation_or_placement_changes_nothing() {
    let mut bench = placed(|_| {});
    let before = bench.agent(1);
    let seen = bench.seen(1, AgentState::Running);
    for other in [
        PlacementReport {
            generation: 2,
            ..seen.clone()
        },
        PlacementReport {
            placement: PlacementId(seen.placement.0 + 1),
            ..seen.clone()
        },
    ] {
        bench.say(1, 1, other).unwrap();
        assert_eq!(bench.agent(1), before);
    }
    bench.say(1, 1, seen).unwrap();
    assert_eq!(bench.agent(1).state, AgentState::Running);
}

/// No command makes such placements yet; the state and its invariants know them.
#[test]
fn a_replica_has_one_active_placement_and_others_are_not_it() {
    let mut bench = placed(|_| {});
    bench.ready(2);
    let active = bench.state.active(replica(1)).unwrap().clone();
    let with = |role, epoch| {
        let mut state = bench.state.clone();
        let id = state.next_placement;
        state.next_placement.0 += 1;
        state.put_placement(Placement {
            id,
            container: ContainerId(2),
            role,
            epoch,
            ..(*active).clone()
        });
        (state, id)
    };
    let (two, _) = with(PlacementRole::Active, active.epoch);
    let violation = two.check().unwrap_err().to_string();
    assert!(violation.contains("not the only active one"), "{violation}");
    let (later, _) = with(PlacementRole::Outgoing, active.epoch);
    later.check().unwrap_err();

    for (role, epoch) in [
        (PlacementRole::Incoming, 0),
        (PlacementRole::Outgoing, active.epoch - 1),
    ] {
        let (mut state, other) = with(role, epoch);
        state.check().unwrap();
        assert_eq!(state.active(replica(1)), Some(&active));
        let kept = |state: &State| {
            (
                state.replica(replica(1)),
                state.agent(AgentId(1)).unwrap().replicas.clone(),
            )
        };
        let before = kept(&state);
        // It is fenced away with its container, and the replica goes on.
        let version = state.container(ContainerId(2)).unwrap().version;
        let lost = Command::Container(ContainerCommand::Judge {
            id: ContainerId(2),
            version,
            term: TERM,
            state: ContainerState::Lost,
            fenced: true,
            reason: "silent".into(),
        });
        let revision = state.revision() + 1;
        state
            .apply(revision, TERM, &super::property::unkeyed(&lost))
            .result
            .unwrap();
        state.check().unwrap();
        assert_eq!((state.placement(other), kept(&state)), (None, before));
    }
}

#[test]
fn the_specs_of_all_agents_are_bounded_in_bytes_together() {
    let mut bench = StateBench::new();
    let before = bench.state.index.spec_bytes;
    let large = |spec: &mut AgentSpec| spec.args = vec!["x".repeat(1000); 100];
    bench.deploy(1, large).unwrap();
    let one = bench.state.index.spec_bytes - before;
    assert!(one > 100_000 && one < 120_000, "{one}");
    assert_eq!(one, bench.state.agent(AgentId(1)).unwrap().spec.bytes());

    // As if there were many of them.
    let mut full = bench.state.clone();
    full.index.spec_bytes = MAX_SPEC_TOTAL_BYTES - one;
    let deploy = |id: u64| {
        let mut second = crate::state::bench::spec(&format!("a{id}"));
        large(&mut second);
        property::unkeyed(&Command::Agent(AgentCommand::Deploy {
            id: AgentId(id),
            spec: second.into(),
        }))
    };
    full.apply(100, 1, &deploy(2)).result.unwrap();
    assert_eq!(full.index.spec_bytes, MAX_SPEC_TOTAL_BYTES);
    let refused = full.apply(101, 1, &deploy(3)).result;
    assert!(
        matches!(&refused, Err(Rejection::Quota(why)) if why.contains("specs")),
        "{refused:?}"
    );
}
