use proptest::prelude::{Strategy as Generator, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::{
    model::{Agent, Resources},
    state::{State, bench::StateBench},
};

fn resources(cpu_millis: u64) -> Resources {
    Resources {
        cpu_millis,
        memory_bytes: 0,
    }
}

/// The best by looking at each.
fn best<'a>(key: Key<'a>, fleet: &Fleet<'a>) -> Option<At> {
    let fitting = fleet.hosts().filter(|(_, host)| {
        let offer = host.offer();
        fit::check(key.needs, offer).is_ok()
    });
    fitting
        .min_by_key(|(at, host)| (score(key.strategy, host), *at))
        .map(|(at, _)| at)
}

/// Containers of different sizes, and one waiting agent a class.
fn state() -> State {
    let mut bench = StateBench::default();
    for n in 1..=6 {
        let labels = if n % 2 == 0 { "zone=a" } else { "" };
        bench.ready_with(n, labels, 400 + 100 * (n % 3));
    }
    let classes = [
        (Strategy::LeastLoaded, "", 100),
        (Strategy::LeastLoaded, "zone=a", 150),
        (Strategy::ResourceFit, "", 130),
        (Strategy::ResourceFit, "!zone", 50),
        (Strategy::ResourceFit, "zone=a", 300),
    ];
    for (n, (strategy, constraints, cpu_millis)) in (1..).zip(classes) {
        bench.waiting_by(n, strategy, constraints, cpu_millis);
    }
    bench.state
}

#[derive(Debug, Clone)]
enum Step {
    /// An agent of this class is placed.
    Choose(usize),
    /// One of those placed leaves.
    Leave(usize),
}

fn steps() -> impl Generator<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..5usize).prop_map(Step::Choose),
        2 => any::<usize>().prop_map(Step::Leave),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    /// Heaps that are corrected when it matters choose as if all were looked at each time, whatever
    /// other classes took and whatever became free.
    #[test]
    fn a_class_chooses_the_best_whatever_became_of_loads(steps in steps()) {
        let state = state();
        let agents: Vec<&Agent> = state.pending().map(|(_, agent)| &**agent).collect();
        let mut fleet = Fleet::of(&state);
        let mut classes: Vec<Option<Class>> = agents.iter().map(|_| None).collect();
        let mut placed: Vec<(At, Resources)> = Vec::new();
        for step in steps {
            match step {
                Step::Choose(n) => {
                    let key = Key::of(&agents[n].spec);
                    let expected = best(key, &fleet);
                    let class = classes[n].get_or_insert_with(|| Class::of(key, &mut fleet));
                    let chosen = class.choose(&mut fleet).ok();
                    prop_assert_eq!(chosen, expected);
                    placed.extend(chosen.map(|at| (at, agents[n].spec.resources)));
                    // One entry each, and those that are void: one a rise.
                    prop_assert!(class.heap.len() <= 6 + fleet.rises(class.followed).len());
                }
                Step::Leave(n) if !placed.is_empty() => {
                    let (at, taken) = placed.swap_remove(n % placed.len());
                    fleet.give(at, taken);
                }
                Step::Leave(_) => {}
            }
        }
    }
}

#[test]
fn who_waited_is_placed_once_room_is_back_and_told_anew_before() {
    let mut bench = StateBench::default();
    bench.ready_with(1, "", 500);
    bench.waiting(1, "", 400);
    let state = bench.state;
    let (_, agent) = state.pending().next().unwrap();
    let mut fleet = Fleet::of(&state);
    let key = Key::of(&agent.spec);
    let mut class = Class::of(key, &mut fleet);
    assert_eq!(class.choose(&mut fleet), Ok(0));
    let reason = class.choose(&mut fleet).unwrap_err();
    assert!(reason.contains("at most 100m CPU"));
    fleet.give(0, resources(200));
    let reason = class.choose(&mut fleet).unwrap_err();
    assert!(reason.contains("at most 300m CPU"));
    fleet.take(0, resources(0));
    fleet.give(0, resources(200));
    assert_eq!(class.choose(&mut fleet), Ok(0));
}
