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
        let name = state.container(agent.container?).map(|c| c.name.clone());
        Some((agent, name))
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
