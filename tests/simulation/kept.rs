//! Seeds that found something, as tests named after it.

use crate::{child::run, plant::Plant};

fn all_good(seeds: &[u64]) {
    for seed in seeds {
        let report = run(*seed, 10_000, Plant::None);
        assert_eq!(report.verdict, Ok(()), "seed {seed}");
    }
}

/// Its disk died with entries that the others had; it was back before they missed it, led on in its term
/// and put other entries at the same log ids.
#[test]
fn a_leader_that_lost_entries_and_started_again_led_on() {
    all_good(&[28, 39, 57, 63, 86]);
}

/// The same, seen by clients: what had been acknowledged was gone.
#[test]
fn a_leader_that_started_again_showed_less_than_was_acknowledged() {
    all_good(&[16, 25, 34, 40, 45]);
}

/// Its storage had failed, and a proposal with a key was offered again without a pause.
#[test]
fn a_manager_without_a_raft_core_never_came_to_rest() {
    all_good(&[11, 15, 17]);
}

/// Two managers were elected in one term, one after the other.
#[test]
fn a_term_had_two_leaders() {
    all_good(&[31]);
}

/// A leader that was cut off and did not know it yet refused a manager that had just been given its id, and
/// that manager ended.
#[test]
fn a_deposed_leader_sent_a_joiner_away_for_ever() {
    all_good(&[3, 4]);
}

/// A change of the members began while another one had done the first of its two steps.
#[test]
fn a_change_of_members_began_between_the_steps_of_another() {
    all_good(&[509, 749, 1157, 1685]);
}

/// A leader that had removed itself went on to change the membership, which raft's assertions forbid. Another
/// one has to lead its removal.
#[test]
fn a_leader_that_had_left_promoted_a_learner() {
    all_good(&[164, 295, 482, 596, 979, 1024]);
}

/// A voter was removed while another one, dead for a few milliseconds and never to return, counted among the
/// quorum that was left: the change could neither be committed nor taken back.
#[test]
fn a_dead_voter_counted_when_another_was_removed() {
    all_good(&[2371]);
}

/// Chance broke nothing.
#[test]
fn a_run_without_trouble_is_given_some() {
    all_good(&[2302]);
}
