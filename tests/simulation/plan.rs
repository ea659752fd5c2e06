//! What a seed decides before the run begins: the cluster, and which kinds of trouble it meets.

use std::time::Duration;

use quorate::consensus::RaftSettings;
use rand::{Rng, SeedableRng, rngs::StdRng};

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Kill,
    Power,
    PowerAll,
    StorageDeath,
    Partition,
    LeaderAlone,
    OneWay,
    SlowLink,
    SlowDisk,
    Transfer,
    Membership,
    Wipe,
}

const ALL: [Trouble; 12] = [
    Trouble::Kill,
    Trouble::Power,
    Trouble::PowerAll,
    Trouble::StorageDeath,
    Trouble::Partition,
    Trouble::LeaderAlone,
    Trouble::OneWay,
    Trouble::SlowLink,
    Trouble::SlowDisk,
    Trouble::Transfer,
    Trouble::Membership,
    Trouble::Wipe,
];

/// One run's plan.
#[derive(Debug, Clone)]
pub struct Plan {
    pub managers: u64,
    pub raft: RaftSettings,
    /// Clients of each manager.
    pub clients: u64,
    /// The longest a client pauses, in milliseconds.
    pub pause: u64,
    /// The longest a healthy disk takes for a turn, in milliseconds.
    pub disk: u64,
    /// The longest a message takes, in milliseconds.
    pub latency: u64,
    /// Between two troubles, at most, in milliseconds.
    pub every: u64,
    pub troubles: Vec<Trouble>,
    /// How far a manager's wall clock may be off, in milliseconds.
    pub skew: u64,
    /// Whether a partition drops what is sent, or holds it back until it ends.
    pub drops: bool,
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let heartbeat = [20, 50, 100][rng.random_range(0..3)];
        // Not every run meets everything: what is common would hide what is rare.
        let mut troubles: Vec<_> = ALL.into_iter().filter(|_| rng.random_bool(0.5)).collect();
        // Each meets at least one crash and one partition.
        troubles.push([Trouble::Kill, Trouble::Power, Trouble::StorageDeath][rng.random_range(0..3)]);
        troubles.push([Trouble::Partition, Trouble::LeaderAlone][rng.random_range(0..2)]);
        Self {
            managers: if rng.random_bool(0.2) { 5 } else { 3 },
            raft: RaftSettings {
                heartbeat: Duration::from_millis(heartbeat),
                election_min: Duration::from_millis(heartbeat * 3),
                election_max: Duration::from_millis(heartbeat * 6),
                snapshot_every: [10, 50, 200, 1000][rng.random_range(0..4)],
                keep_logs: [0, 5, 50, 500][rng.random_range(0..4)],
            },
            clients: rng.random_range(1..=3),
            pause: [20, 60, 200][rng.random_range(0..3)],
            disk: [0, 1, 3, 10][rng.random_range(0..4)],
            latency: [1, 3, 10][rng.random_range(0..3)],
            every: [300, 800, 2000][rng.random_range(0..3)],
            troubles,
            skew: [0, 50, 5_000, 600_000][rng.random_range(0..4)],
            drops: rng.random_bool(0.4),
        }
    }
}
