use super::{super::fixture::Alone, *};
use crate::plan::Windows;

const ID: ContainerId = ContainerId(1);

fn digest(from: ManagerId, boot: u64, seq: u64) -> Digest {
    Digest {
        from,
        heartbeats: vec![(ID, boot, seq)],
    }
}

struct Bench {
    alone: Alone,
    table: LivenessTable,
    watched: Watched,
    start: Instant,
}

impl Bench {
    fn new() -> Self {
        let alone = Alone::new();
        alone.ready(ID, 7);
        let table = LivenessTable::default();
        let start = Instant::now();
        table.grant(start);
        let mut bench = Self {
            alone,
            table,
            watched: Watched::default(),
            start,
        };
        assert_eq!(bench.look(0.0), None);
        bench
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn hear(&self, seconds: f64, digest: &Digest) {
        self.table.count_at(digest, self.at(seconds));
    }

    /// Judges, and puts the verdict into effect.
    fn look(&mut self, seconds: f64) -> Option<(ContainerState, bool)> {
        let (now, state) = (self.at(seconds), self.alone.state());
        let look = self
            .watched
            .look(&state, &self.table, &Windows::default(), false, now);
        let (container, judgement) = look.verdicts.into_iter().next()?;
        let (state, fenced) = (judgement.state, judgement.fenced);
        self.alone
            .apply(Command::Container(ContainerCommand::Judge {
                id: container.id,
                version: container.version,
                term: super::super::fixture::TERM,
                state,
                fenced,
                reason: judgement.reason,
            }))
            .result
            .unwrap();
        Some((state, fenced))
    }
}

const READY: Option<(ContainerState, bool)> = Some((ContainerState::Ready, false));
const SUSPECT: Option<(ContainerState, bool)> = Some((ContainerState::Suspect, false));
const LOST: Option<(ContainerState, bool)> = Some((ContainerState::Lost, false));
const FENCED: Option<(ContainerState, bool)> = Some((ContainerState::Lost, true));

#[test]
fn a_silence_goes_through_the_windows_once() {
    let mut bench = Bench::new();
    bench.hear(1.0, &digest(1, 7, 1));
    assert_eq!(bench.look(3.9), None);
    assert_eq!(bench.look(4.0), SUSPECT);
    assert_eq!(bench.look(4.3), None);
    assert_eq!(bench.look(7.0), LOST);
    assert_eq!(bench.look(10.9), None);
    assert_eq!(bench.look(11.0), FENCED);
    assert_eq!(bench.look(60.0), None);
    bench.hear(61.5, &digest(1, 7, 9));
    assert_eq!(bench.look(61.5), READY);
    assert_eq!(bench.look(61.7), None, "ready again is a fresh window");
}

#[test]
fn a_heartbeat_that_is_repeated_is_no_new_one() {
    let mut bench = Bench::new();
    for tenth in 1..=40 {
        // Two managers, one with a session that is dead already, tell the same over and over.
        bench.hear(f64::from(tenth) / 10.0, &digest(1, 7, 57));
        bench.hear(f64::from(tenth) / 10.0, &digest(2, 7, 5));
    }
    assert_eq!(bench.look(4.0), SUSPECT);
}

#[test]
fn numbers_start_again_with_each_session() {
    let mut bench = Bench::new();
    bench.hear(1.0, &digest(1, 7, 900));
    bench.hear(2.5, &digest(1, 7, 1));
    assert_eq!(bench.look(5.0), None);
}

#[test]
fn a_heartbeat_of_an_older_start_counts_for_nothing() {
    let mut bench = Bench::new();
    bench.hear(2.9, &digest(1, 6, 1));
    assert_eq!(bench.look(3.0), SUSPECT);
}

#[test]
fn a_new_session_starts_a_fresh_window() {
    let mut bench = Bench::new();
    assert_eq!(bench.look(20.0), FENCED);
    bench.alone.ready(ID, 7);
    assert_eq!(bench.look(21.0), None);
    assert_eq!(bench.look(23.9), None);
    assert_eq!(bench.look(24.0), SUSPECT);
    bench.alone.ready(ID, 8);
    assert_eq!(bench.look(26.9), None);
    assert_eq!(bench.look(29.9), SUSPECT);
}

#[test]
fn a_leader_that_slept_grants_a_fresh_window() {
    let mut bench = Bench::new();
    bench.hear(1.0, &digest(1, 7, 1));
    bench.table.grant(bench.at(30.0));
    assert_eq!(
        bench.look(30.3),
        None,
        "swarmkit#2091: stale timers after a pause"
    );
    assert_eq!(bench.look(33.0), SUSPECT);
}

/// A container that its engine reports paused stays suspect although a heartbeat was on its way.
#[test]
fn a_late_heartbeat_does_not_revive_a_paused_container() {
    let mut bench = Bench::new();
    bench.hear(1.0, &digest(1, 7, 1));
    bench.alone.pause(ID);
    assert_eq!(bench.look(1.3), None);
    bench.hear(1.6, &digest(1, 7, 2));
    assert_eq!(bench.look(1.7), None);
    assert_eq!(bench.look(2.9), None);
    bench.hear(3.0, &digest(1, 7, 3));
    assert_eq!(bench.look(3.1), READY, "it was unpaused");
}

#[test]
fn the_table_forgets_whom_nobody_speaks_of() {
    let bench = Bench::new();
    let stranger = Digest {
        from: 1,
        heartbeats: vec![(ContainerId(99), 1, 1)],
    };
    bench.hear(0.0, &digest(1, 6, 1));
    bench.hear(0.0, &digest(1, 7, 1));
    bench.hear(299.0, &stranger);
    // Repeated: it is no sign of life, and its number must stay known.
    bench.hear(299.0, &digest(1, 7, 1));
    bench.table.tidy(&bench.alone.state(), bench.at(301.0));
    let inner = bench.table.lock();
    assert_eq!(inner.heard.keys().copied().collect::<Vec<_>>(), [(ID, 7)]);
    assert_eq!(inner.heard[&(ID, 7)].at, bench.at(0.0));
}
