//! What fuzzing found, and a short run of it: seeds, and seeds with a few bytes changed.
//!
//! The same entry points as in `fuzz/`, without coverage, so that they run with the other tests. An input
//! that once broke something stays in [`FOUND`].

use quorate::{api, config, consensus, probe, session, wire};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// Changed seeds for each target.
const ROUNDS: usize = 4_000;

type Run = fn(&[u8]);

fn targets() -> Vec<(&'static str, Run, Vec<Vec<u8>>)> {
    let (bodies, params) = api::fuzzing::api_seeds();
    vec![
        (
            "peer_frames",
            consensus::fuzzing::peer_frames,
            consensus::fuzzing::peer_seeds(),
        ),
        (
            "snapshot_file",
            consensus::fuzzing::snapshot_file,
            consensus::fuzzing::snapshot_seeds(),
        ),
        (
            "log_rows",
            consensus::fuzzing::log_rows,
            consensus::fuzzing::log_seeds(),
        ),
        (
            "session_frames",
            session::fuzzing::session_frames,
            session::fuzzing::session_seeds(),
        ),
        (
            "mux_frames",
            wire::streams::fuzzing::mux_frames,
            wire::streams::fuzzing::mux_seeds(),
        ),
        (
            "probe_frames",
            probe::fuzzing::probe_frames,
            probe::fuzzing::probe_seeds(),
        ),
        (
            "config_file",
            config::fuzzing::config_file,
            config::fuzzing::config_seeds(),
        ),
        ("api_bodies", api::fuzzing::api_bodies, bodies),
        ("api_params", api::fuzzing::api_params, params),
    ]
}

/// Inputs that once broke something: target, input.
const FOUND: &[(&str, &[u8])] = &[
    // A table that claims to hold 42 billion entries.
    (
        "snapshot_file",
        b"\x73\x00\x10\x25\x10\x25\x00\x00\x97\x9d\x9d\x9d\x9d\x01",
    ),
    // A row at the last index there can be.
    (
        "log_rows",
        b"\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x00",
    ),
];

/// Changes a few bytes, cuts, doubles a piece, or puts pieces of two inputs together.
fn changed(random: &mut StdRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut input = seeds[random.random_range(0..seeds.len())].clone();
    for _ in 0..random.random_range(1..5) {
        let at = random.random_range(0..=input.len());
        match random.random_range(0..6) {
            0 | 1 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            2 if at < input.len() => input[at] = [0, 1, 127, 128, 255][random.random_range(0..5)],
            3 => input.truncate(at),
            4 => {
                let piece = input[at..].to_vec();
                input.extend(piece);
            }
            _ => {
                let other = &seeds[random.random_range(0..seeds.len())];
                let from = random.random_range(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
    input
}

#[test]
#[ignore = "writes fuzz/corpus"]
fn seeds_are_written_for_fuzzing() {
    for (name, _, seeds) in targets() {
        let dir = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::create_dir_all(&dir).unwrap();
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(format!("{dir}/seed-{number}"), seed).unwrap();
        }
    }
}

#[test]
fn what_was_found_stays_mended() {
    let targets = targets();
    for (name, input) in FOUND {
        let (_, run, _) = targets.iter().find(|(known, ..)| known == name).unwrap();
        run(input);
    }
}

#[test]
fn seeds_and_changed_seeds_break_nothing() {
    for (name, run, seeds) in targets() {
        assert!(!seeds.is_empty());
        let mut random = StdRng::seed_from_u64(7);
        seeds.iter().for_each(|seed| run(seed));
        for round in 0..ROUNDS {
            let input = changed(&mut random, &seeds);
            let ran = std::panic::catch_unwind(|| run(&input));
            assert!(
                ran.is_ok(),
                "{name}, round {round}: b\"{}\"",
                input.escape_ascii()
            );
        }
    }
}
