//! Whatever was applied: a snapshot at any entry is as good as the log before it, a version that somebody
//! holds does not change, a request that comes again changes nothing, and no id of a manager comes twice.

use proptest::prelude::*;

use super::{
    commands::proposal,
    property::{bytes, fit, world},
    *,
};

type Entries = Vec<(bool, u64, Proposal)>;

/// Entries on a furnished world, made to fit the state as it is when each is applied, at every `step`th
/// revision.
fn log(entries: Entries, step: usize) -> Vec<(u64, Proposal)> {
    let mut state = State::default();
    let furniture = world().into_iter().map(|command| {
        let proposal = Proposal {
            at: Millis(0),
            by: crate::command::Principal::Manager,
            key: None,
            command,
        };
        (false, TERM, proposal)
    });
    (1..)
        .step_by(step)
        .zip(furniture.chain(entries))
        .map(|(revision, (fits, term, mut proposal))| {
            if fits {
                fit(&state, &mut proposal.command);
            }
            state.apply(revision, term, &proposal);
            (term, proposal)
        })
        .collect()
}

/// Everything but the clock, the position in the log and the kept answers.
fn same_objects(one: &State, other: &State) -> bool {
    one.cluster_id == other.cluster_id
        && one.next_manager == other.next_manager
        && one.allocated == other.allocated
        && one.configs == other.configs
        && one.config_bytes == other.config_bytes
        && one.containers == other.containers
        && one.agents == other.agents
        && one.placements == other.placements
        && one.next_placement == other.next_placement
        && one.engines == other.engines
        && one.tokens == other.tokens
        && one.join_tokens == other.join_tokens
        && one.breaker == other.breaker
        && one.index == other.index
}

fn entries(at_most: usize) -> impl Strategy<Value = Entries> {
    proptest::collection::vec(proposal(), 1..at_most)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(60))]

    /// Also of a state that itself came out of a snapshot, and with the same answers on the way.
    #[test]
    fn a_snapshot_at_any_entry_is_as_good_as_the_log(entries in entries(40)) {
        let log = log(entries, 1);
        let mut whole = State::default();
        let mut restored: Vec<State> = Vec::new();
        for (revision, (term, proposal)) in (1..).zip(&log) {
            let reply = whole.apply(revision, *term, proposal);
            for state in &mut restored {
                prop_assert_eq!(&state.apply(revision, *term, proposal), &reply);
            }
            let hash = bytes(&whole);
            for state in &restored {
                prop_assert!(bytes(state) == hash, "at {}", revision);
            }
            if let Some(last) = restored.last() {
                let again = State::read_from(&*bytes(last)).unwrap();
                prop_assert_eq!(&again.index, &last.index);
                restored.push(again);
            } else {
                restored.push(State::read_from(&hash[..]).unwrap());
            }
        }
    }

    /// Readers, planners and the snapshot writer hold versions while apply goes on.
    #[test]
    fn a_held_version_does_not_change(entries in entries(60)) {
        let mut state = State::default();
        let mut held = Vec::new();
        for (revision, (term, proposal)) in (1..).zip(&log(entries, 1)) {
            held.push((state.clone(), bytes(&state)));
            state.apply(revision, *term, proposal);
        }
        for (version, then) in held {
            prop_assert!(bytes(&version) == then);
            prop_assert!(version.check().is_ok());
        }
    }

    /// At once and at the end, on the state and on one restored from a snapshot.
    #[test]
    fn a_request_that_comes_again_changes_nothing(entries in entries(60)) {
        let mut log = log(entries, 2);
        for (number, (_, proposal)) in log.iter_mut().enumerate() {
            // Within a day, or answers would be forgotten.
            proposal.at = Millis(1_000 + number as u64);
            proposal.key = Some(RequestKey {
                principal: crate::model::TokenId(1),
                key: number.to_string(),
                fingerprint: 7,
            });
        }
        let mut state = State::default();
        let mut replies = Vec::new();
        let mut revision = 0;
        for (term, proposal) in &log {
            revision += 1;
            let reply = state.apply(revision, *term, proposal);
            prop_assert!(!reply.replayed);
            let before = state.clone();
            revision += 1;
            let again = state.apply(revision, *term + 1, proposal);
            prop_assert_eq!(&again, &Reply { replayed: true, ..reply.clone() });
            prop_assert!(same_objects(&before, &state), "{:?}", proposal);
            replies.push(reply);
        }
        let mut restored = State::read_from(&*bytes(&state)).unwrap();
        for ((term, proposal), reply) in log.iter().zip(replies) {
            revision += 1;
            let before = restored.clone();
            let again = restored.apply(revision, *term, proposal);
            prop_assert_eq!(again, Reply { replayed: true, ..reply });
            prop_assert!(same_objects(&before, &restored));
        }
    }

    #[test]
    fn no_id_of_a_manager_comes_twice(entries in entries(200)) {
        let mut state = State::default();
        let mut last = None;
        for (revision, (term, proposal)) in (1..).zip(&log(entries, 1)) {
            let reply = state.apply(revision, *term, proposal);
            if let Ok(Outcome::ManagerAllocated(id)) = reply.result
                && !reply.replayed
            {
                prop_assert!(last < Some(id), "{id} after {last:?}");
                last = Some(id);
            }
        }
    }
}
