//! The same seed gives the same run.

use crate::{child::run, plant::Plant};

#[test]
fn a_seed_replays_byte_for_byte() {
    for seed in [3, 5, 8] {
        let first = run(seed, 10_000, Plant::None);
        let second = run(seed, 10_000, Plant::None);
        let told = first.trace.lines().count();
        assert!(told > 500, "too little happened in seed {seed}: {told} lines");
        if let Some((a, b)) = first
            .trace
            .lines()
            .zip(second.trace.lines())
            .find(|(a, b)| a != b)
        {
            panic!("seed {seed} ran differently:\n  {a}\n  {b}");
        }
        assert_eq!(first.trace, second.trace);
    }
}

#[test]
fn another_seed_gives_another_run() {
    assert_ne!(run(3, 2_000, Plant::None).trace, run(4, 2_000, Plant::None).trace);
}
