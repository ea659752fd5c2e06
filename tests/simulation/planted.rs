//! Planted bugs are caught: what this simulation is worth.

use crate::{child::run, plant::Plant};

/// Seeds that are tried for each bug.
const TRIES: u64 = 40;

/// Runs seeds until one of them sees the bug, and says what it saw.
fn caught(plant: Plant) -> String {
    for seed in 1..=TRIES {
        if let Err(why) = run(seed, 10_000, plant).verdict {
            println!("{plant:?} was caught by seed {seed}: {why}");
            return why;
        }
    }
    panic!("{plant:?} was not caught by {TRIES} seeds");
}

#[test]
fn a_disk_that_ignores_syncs_is_caught() {
    let why = caught(Plant::SyncIgnored);
    assert!(why.contains("refused"), "{why}");
}

#[test]
fn a_disk_that_lies_even_to_the_log_is_caught() {
    caught(Plant::SyncLies);
}

#[test]
fn a_forgotten_vote_is_caught() {
    let why = caught(Plant::VoteForgotten);
    assert!(why.contains("vote"), "{why}");
}

#[test]
fn a_stale_read_is_caught() {
    let why = caught(Plant::StaleRead);
    assert!(why.contains("a read showed revision"), "{why}");
}

#[test]
fn a_retry_under_another_key_is_caught() {
    caught(Plant::KeyChanged);
}

#[test]
fn an_unknown_outcome_called_a_failure_is_caught() {
    let why = caught(Plant::UnknownCalledFailed);
    assert!(why.contains("said to have failed"), "{why}");
}

#[test]
fn a_manager_left_alone_is_caught() {
    let why = caught(Plant::NeverHealed);
    assert!(why.contains("not recovered"), "{why}");
}
