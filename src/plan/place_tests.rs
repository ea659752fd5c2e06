use super::*;
use crate::{
    command::{AgentCommand, Command, Condition, ContainerCommand, Outcome},
    model::{Agent, AgentId, Assessment, ContainerId, FoundState, HealthStatus, Strategy},
    plan::{Verdict, explain},
    state::{bench::StateBench, fit::Why},
};

fn chosen(plan: &Plan) -> Vec<(u64, u64)> {
    plan.bindings
        .iter()
        .map(|b| (b.replica.agent.0, b.container.0))
        .collect()
}

/// What is said of the container `c<n>`.
fn verdict<'a>(bench: &'a StateBench, agent: &'a Agent, n: u64) -> Verdict<'a> {
    let mut told = explain(&bench.state, agent).into_iter();
    told.find(|(id, _)| *id == ContainerId(n)).unwrap().1
}

#[test]
fn the_least_loaded_is_chosen_and_the_plan_counts_itself() {
    let mut bench = StateBench::default();
    for n in 1..=3 {
        bench.ready_with(n, "", 1_000);
    }
    for n in 1..=7 {
        bench.waiting(n, "", 100);
    }
    let plan = place(&bench.state, 100);
    assert_eq!(
        chosen(&plan),
        [(1, 1), (2, 2), (3, 3), (4, 1), (5, 2), (6, 3), (7, 1)]
    );
    assert_eq!(
        plan,
        place(&bench.state, 100),
        "a plan is a function of the state"
    );

    let reply = bench.reply(None, Command::Agent(AgentCommand::Place(plan.bindings)));
    assert_eq!(reply.result, Ok(Outcome::Placed { made: 7, refused: 0 }));
    bench.waiting(8, "", 100);
    assert_eq!(chosen(&place(&bench.state, 100)), [(8, 2)]);
}

#[test]
fn a_bigger_container_takes_a_bigger_share() {
    let mut bench = StateBench::default();
    bench.ready_with(1, "", 1_000);
    bench.ready_with(2, "", 3_000);
    for n in 1..=40 {
        bench.waiting(n, "", 100);
    }
    let plan = place(&bench.state, 100);
    let on_big = chosen(&plan).iter().filter(|(_, c)| *c == 2).count();
    assert_eq!((plan.bindings.len(), on_big), (40, 30));
}

#[test]
fn agents_that_ask_for_nothing_spread_by_number() {
    let mut bench = StateBench::default();
    for n in 1..=4 {
        bench.ready_with(n, "", 0);
    }
    for n in 1..=8 {
        bench.waiting(n, "", 0);
    }
    let mut on: Vec<_> = chosen(&place(&bench.state, 100))
        .iter()
        .map(|(_, c)| *c)
        .collect();
    on.sort_unstable();
    assert_eq!(on, [1, 1, 2, 2, 3, 3, 4, 4]);
}

#[test]
fn who_fits_nowhere_is_told_why() {
    let mut bench = StateBench::default();
    bench.waiting(1, "", 100);
    let reason = |bench: &StateBench| place(&bench.state, 9).waiting[0].reason.to_string();
    assert_eq!(reason(&bench), "no container has joined yet");

    bench.ready_with(1, "gpu=yes", 200);
    bench.ready_with(2, "", 900);
    bench.ready_with(3, "", 900);
    let bindings = place(&bench.state, 9).bindings;
    bench.reply(None, Command::Agent(AgentCommand::Place(bindings)));
    bench.waiting(2, "gpu", 500);
    assert_eq!(
        reason(&bench),
        "3 containers: 2 do not match `gpu`, 1 has no room (needs 500m CPU and 0 MiB, at most 100m CPU and 1024 MiB free)"
    );
}

#[test]
fn what_a_runner_declared_or_found_can_be_asked_for() {
    let mut bench = StateBench::default();
    bench.ready_with(1, "", 900);
    bench.ready_with(2, "", 900);
    bench.waiting(1, "capability/camera,interpreter/python3", 100);
    let reason = place(&bench.state, 9).waiting[0].reason.to_string();
    assert_eq!(
        reason,
        "2 containers: 2 do not match `capability/camera,interpreter/python3`"
    );
    let assessment = Assessment {
        number: 1,
        interpreters: [("python3".into(), "3.11.2".into())].into(),
        declared: vec!["camera".into()],
        ..Assessment::default()
    };
    let (id, boot) = (ContainerId(2), 1);
    bench.reply(
        None,
        Command::Container(ContainerCommand::Assess { id, boot, assessment }),
    );
    let plan = place(&bench.state, 9);
    assert_eq!(chosen(&plan), [(1, 2)]);
    let agent = bench.state.agent(AgentId(1)).unwrap();
    assert_eq!(
        verdict(&bench, agent, 1).to_string(),
        "does not match `capability/camera,interpreter/python3`"
    );
    assert!(verdict(&bench, agent, 2).to_string().starts_with("fits"));
    let reply = bench.reply(None, Command::Agent(AgentCommand::Place(plan.bindings)));
    assert_eq!(reply.result, Ok(Outcome::Placed { made: 1, refused: 0 }));
    // Apply asks again: the container may have changed since the plan.
    bench.waiting(2, "capability/camera", 100);
    let plan = place(&bench.state, 9);
    let assessment = Assessment {
        number: 2,
        ..Assessment::default()
    };
    bench.reply(
        None,
        Command::Container(ContainerCommand::Assess { id, boot, assessment }),
    );
    let reply = bench.reply(None, Command::Agent(AgentCommand::Place(plan.bindings)));
    assert_eq!(reply.result, Ok(Outcome::Placed { made: 0, refused: 1 }));
}

#[test]
fn one_that_fits_nowhere_does_not_stand_in_the_way() {
    let mut bench = StateBench::default();
    bench.ready_with(1, "", 1_000);
    for n in 1..=50 {
        bench.waiting(n, "zone=nowhere", 0);
    }
    bench.waiting(51, "", 100);
    let plan = place(&bench.state, 1);
    assert_eq!(chosen(&plan), [(51, 1)]);
    assert_eq!(plan.waiting.len(), 50);
}

#[test]
fn a_plan_never_overfills() {
    let mut bench = StateBench::default();
    bench.ready_with(1, "", 1_000);
    bench.ready_with(2, "", 250);
    for n in 1..=20 {
        bench.waiting(n, "", if n % 2 == 0 { 100 } else { 130 });
    }
    let plan = place(&bench.state, 100);
    let planned = u32::try_from(plan.bindings.len()).unwrap();
    assert!(planned >= 9 && !plan.waiting.is_empty());
    let reply = bench.reply(None, Command::Agent(AgentCommand::Place(plan.bindings)));
    assert_eq!(
        reply.result,
        Ok(Outcome::Placed {
            made: planned,
            refused: 0
        })
    );
    assert!(place(&bench.state, 100).bindings.is_empty());
}

#[test]
fn explain_has_a_word_for_every_container() {
    let mut bench = StateBench::default();
    bench.ready_with(1, "gpu=yes", 1_000);
    bench.ready_with(2, "", 1_000);
    bench.ready_with(3, "gpu=yes", 10);
    bench.waiting(1, "gpu", 100);
    let agent = bench.state.pending().next().unwrap().1.clone();
    let words: Vec<_> = explain(&bench.state, &agent);
    assert!(matches!(words[0], (id, Verdict::Fits { .. }) if id == ContainerId(1)));
    assert_eq!(words[1].1.to_string(), "does not match `gpu`");
    assert_eq!(
        words[2].1.to_string(),
        "no room: needs 100m CPU and 0 MiB, 10m CPU and 1024 MiB free"
    );
    let data: Vec<_> = words
        .iter()
        .map(|(_, verdict)| serde_json::json!(verdict))
        .collect();
    assert_eq!(
        serde_json::json!(data),
        serde_json::json!([
            {"verdict": "fits", "load": {"share": 0, "agents": 0}},
            {"verdict": "mismatch", "constraints": "gpu"},
            {"verdict": "no_room",
                "needs": {"cpu_millis": 100, "memory_bytes": 0},
                "free": {"cpu_millis": 10, "memory_bytes": 1 << 30}},
        ])
    );
    let plan = place(&bench.state, 1);
    bench.reply(None, Command::Agent(AgentCommand::Place(plan.bindings)));
    let agent = bench.state.agent(agent.id).unwrap().clone();
    assert_eq!(explain(&bench.state, &agent)[0].1, Verdict::Here);
}

#[test]
fn an_unhealthy_container_keeps_its_agents_and_gets_no_new_ones() {
    let mut bench = StateBench::default();
    bench.ready_with(1, "", 1_000);
    bench.waiting(1, "", 100);
    let bindings = place(&bench.state, 9).bindings;
    bench.reply(None, Command::Agent(AgentCommand::Place(bindings)));
    bench.observe_known(1, FoundState::Running, Some(HealthStatus::Unhealthy));
    assert_eq!(bench.agent(1).container, Some(ContainerId(1)));

    bench.waiting(2, "", 100);
    let plan = place(&bench.state, 9);
    assert!(plan.bindings.is_empty());
    assert_eq!(
        &*plan.waiting[0].reason,
        "no container takes agents: 1 is unhealthy"
    );
    let waiting = bench.state.pending().next().unwrap().1.clone();
    assert_eq!(verdict(&bench, &waiting, 1), Verdict::Refused(Why::Unhealthy));
    // A plan made while it was well comes too late.
    assert!(!bench.place(2, 1));
    assert_eq!(bench.state.pending().count(), 1);

    bench.observe_known(1, FoundState::Running, Some(HealthStatus::Starting));
    assert_eq!(chosen(&place(&bench.state, 9)), [(2, 1)]);
}

#[test]
fn a_cordoned_container_gets_nothing_new_and_says_so() {
    let mut bench = StateBench::default();
    bench.ready_with(1, "", 1_000);
    bench.ready_with(2, "", 1_000);
    bench.waiting(1, "", 100);
    let cordon = |bench: &mut StateBench, n, reason: &str| {
        let command = ContainerCommand::Cordon {
            id: ContainerId(n),
            reason: reason.into(),
            condition: Condition::Any,
        };
        bench.reply(None, Command::Container(command)).result.unwrap();
    };
    cordon(&mut bench, 1, "its disk is failing");
    assert_eq!(chosen(&place(&bench.state, 9)), [(1, 2)]);
    let agent = bench.state.pending().next().unwrap().1.clone();
    assert_eq!(
        verdict(&bench, &agent, 1).to_string(),
        "is cordoned: its disk is failing"
    );
    assert!(matches!(verdict(&bench, &agent, 2), Verdict::Fits { .. }));

    bench.waiting(2, "", 5_000);
    assert_eq!(
        &*place(&bench.state, 9).waiting[0].reason,
        "2 containers: 1 is cordoned, 1 has no room (needs 5000m CPU and 0 MiB, at most 900m CPU and 1024 MiB free)"
    );
    cordon(&mut bench, 2, "");
    let plan = place(&bench.state, 9);
    assert!(plan.bindings.is_empty());
    assert_eq!(
        &*plan.waiting[0].reason,
        "no container takes agents: 2 are cordoned"
    );
    assert_eq!(verdict(&bench, &agent, 2).to_string(), "is cordoned");
}

#[test]
fn resource_fit_fills_one_before_it_opens_the_next() {
    let mut bench = StateBench::default();
    for n in 1..=3 {
        bench.ready_with(n, "", 1_000);
    }
    // One is in use already, and not the first.
    bench.waiting(1, "", 100);
    bench.waiting(2, "", 100);
    let bindings = place(&bench.state, 9).bindings;
    let only = bindings[1..].to_vec();
    assert_eq!(only[0].container, ContainerId(2));
    bench.reply(None, Command::Agent(AgentCommand::Place(only)));
    let first = bench.state.pending().next().unwrap().1.id;
    bench.reply(
        None,
        Command::Agent(AgentCommand::SetDesired {
            id: first,
            desired: crate::model::Desired::Removed,
            condition: Condition::Any,
        }),
    );
    for n in 10..=14 {
        bench.waiting_by(n, Strategy::ResourceFit, "", 300);
    }
    bench.waiting_by(15, Strategy::ResourceFit, "", 100);
    bench.waiting(16, "", 100);
    let plan = place(&bench.state, 100);
    assert_eq!(
        chosen(&plan),
        // The sixth tops the fullest up that has room for it; the one beside it goes where most is free.
        [(10, 2), (11, 2), (12, 2), (13, 1), (14, 1), (15, 1), (16, 3)]
    );
    // What is told has the same order.
    let waiting = bench.state.agent(AgentId(10)).unwrap();
    let order: Vec<_> = explain(&bench.state, waiting)
        .iter()
        .map(|(id, _)| id.0)
        .collect();
    assert_eq!(order, [2, 1, 3]);
    let waiting = bench.state.agent(AgentId(16)).unwrap();
    let order: Vec<_> = explain(&bench.state, waiting)
        .iter()
        .map(|(id, _)| id.0)
        .collect();
    assert_eq!(order, [1, 3, 2]);
}

#[test]
fn all_that_keep_one_waiting_are_counted_in_the_order_of_the_filters() {
    let mut bench = StateBench::default();
    bench.ready_with(1, "gpu=yes", 10);
    bench.ready_with(2, "", 1_000);
    bench.ready_with(3, "gpu=yes", 20);
    bench.ready_with(4, "gpu=yes", 1_000);
    bench.ready_with(5, "gpu=yes", 1_000);
    bench.observe_known(4, FoundState::Running, Some(HealthStatus::Unhealthy));
    bench
        .apply(Command::Container(ContainerCommand::Cordon {
            id: ContainerId(5),
            reason: String::new(),
            condition: Condition::Any,
        }))
        .unwrap();
    bench.register(6, "c6").unwrap();
    bench.waiting(1, "gpu", 100);
    assert_eq!(
        &*place(&bench.state, 9).waiting[0].reason,
        "6 containers: 1 is not ready, 1 is cordoned, 1 is unhealthy, 1 does not match `gpu`, \
         2 have no room (needs 100m CPU and 0 MiB, at most 20m CPU and 1024 MiB free)"
    );
    // Each says of itself what it was counted for.
    let agent = bench.state.agent(AgentId(1)).unwrap();
    let told = (1..=6).map(|n| match verdict(&bench, agent, n) {
        Verdict::Refused(Why::NotReady { .. }) => "state",
        Verdict::Refused(Why::Cordoned { .. }) => "cordon",
        Verdict::Refused(Why::Unhealthy) => "health",
        Verdict::Refused(Why::Mismatch { .. }) => "constraints",
        Verdict::Refused(Why::NoRoom { .. }) => "room",
        Verdict::Here | Verdict::Fits { .. } => "none",
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told, ["room", "constraints", "room", "health", "cordon", "state"]);
}

/// Not a test of speed, which would depend on the machine: prints it for whoever asks with
/// `cargo test --release plan_speed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
#[allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "measures itself"
)]
fn plan_speed() {
    use std::time::{Duration, Instant};

    for strategy in [Strategy::LeastLoaded, Strategy::ResourceFit] {
        let mut bench = StateBench {
            unchecked: true,
            ..StateBench::default()
        };
        for n in 1..=5_000 {
            bench.ready_with(n, "", 64_000);
        }
        for n in 1..=100_000 {
            bench.waiting_by(n, strategy, "", 100);
        }
        let (started, mut placed, mut planning) = (Instant::now(), 0, Duration::ZERO);
        while placed < 100_000 {
            let begun = Instant::now();
            let plan = place(&bench.state, 1_000);
            planning += begun.elapsed();
            placed += plan.bindings.len();
            bench.reply(None, Command::Agent(AgentCommand::Place(plan.bindings)));
        }
        let all = started.elapsed();
        println!(
            "{strategy:?}: 100,000 placements among 5,000 containers planned in {planning:?}, with apply {all:?}"
        );
    }
}
