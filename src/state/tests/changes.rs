//! What differs between two states is told whole, and nothing else is.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    commands::proposal,
    property::{fit, unkeyed, world},
    *,
};
use crate::state::Changes;

/// By a look at everything.
fn differing(older: &State, newer: &State) -> Changes {
    let containers = |state: &State| -> BTreeSet<_> { state.containers(None).map(|c| c.id).collect() };
    let agents = |state: &State| -> BTreeSet<_> { state.agents(None).map(|a| a.id).collect() };
    let engines = |state: &State| -> BTreeSet<_> { state.engines().map(|e| e.id).collect() };
    let home = |state: &State, id| {
        let agent = state.agent(id)?.clone();
        let names = state.placements_of(id).map(|placement| {
            let container = state.container(placement.container).unwrap();
            (placement.clone(), container.name.clone())
        });
        Some((agent, names.collect::<Vec<_>>()))
    };
    let mut changes = Changes::default();
    for id in containers(older).union(&containers(newer)) {
        let of = |state: &State| (state.container(*id).cloned(), state.placed(*id).cloned());
        if of(older) != of(newer) {
            changes.containers.insert(*id);
        }
    }
    for id in agents(older).union(&agents(newer)) {
        if home(older, *id) != home(newer, *id) || older.agent(*id) != newer.agent(*id) {
            changes.agents.insert(*id);
        }
    }
    for id in engines(older).union(&engines(newer)) {
        if older.engine(*id) != newer.engine(*id) {
            changes.engines.insert(*id);
        }
    }
    changes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn changes_are_all_that_differs(
        proposals in prop::collection::vec(proposal(), 1..60),
        between in 0_u64..60,
    ) {
        let mut state = State::default();
        let first = world().into_iter().map(|command| (false, TERM, unkeyed(&command)));
        let mut older = state.clone();
        for (at, (fitted, term, mut proposal)) in (0..).zip(first.chain(proposals)) {
            if at == between {
                older = state.clone();
            }
            if fitted {
                fit(&state, &mut proposal.command);
            }
            let _ = state.apply(at + 1, term, &proposal);
        }
        prop_assert_eq!(state.changes_since(&older), differing(&older, &state));
    }
}

/// A map of the library once told of all differences but those at the first place behind what two maps share.
#[test]
fn one_change_in_a_large_table_is_never_missed() {
    let mut state = State::default();
    let register = |n: u64| {
        unkeyed(&Command::Container(ContainerCommand::Register {
            id: ContainerId(n),
            name: format!("c{n}").parse().unwrap(),
            labels: Labels::default(),
        }))
    };
    for n in 1..=1000 {
        state.apply(n, TERM, &register(n)).result.unwrap();
    }
    for n in 1..=1000 {
        let mut changed = state.clone();
        let cordon = unkeyed(&Command::Container(ContainerCommand::Cordon {
            id: ContainerId(n),
            reason: "x".into(),
            condition: Condition::Any,
        }));
        changed.apply(1000 + n, TERM, &cordon).result.unwrap();
        let expected = BTreeSet::from([ContainerId(n)]);
        assert_eq!(changed.changes_since(&state).containers, expected);
        assert_eq!(
            changed
                .events(Some(crate::model::EventId::end_of(1000)))
                .unwrap()
                .len(),
            1
        );
        let mut removed = changed.clone();
        let remove = unkeyed(&Command::Container(ContainerCommand::Remove {
            id: ContainerId(n),
            condition: Condition::Any,
        }));
        removed.apply(2001, TERM, &remove).result.unwrap();
        assert_eq!(removed.changes_since(&state).containers, expected);
    }
}
