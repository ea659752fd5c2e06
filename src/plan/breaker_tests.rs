use super::*;
use crate::{model::ContainerId, state::bench::StateBench};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Ready containers, of which each gets a state and what the clock says of it.
struct Fleet {
    breaker: Breaker,
    containers: Vec<(Container, Quiet)>,
}

impl Fleet {
    fn of(size: u64) -> Self {
        let mut bench = StateBench::default();
        (1..=size).for_each(|n| bench.ready_with(n, "", 1000));
        let all = (1..=size).map(|n| (**bench.state.container(ContainerId(n)).unwrap()).clone());
        Self {
            breaker: Breaker::default(),
            containers: all.map(|container| (container, Quiet::default())).collect(),
        }
    }

    /// The first `count` fell silent so long ago.
    fn silent(mut self, count: usize, ago: Duration) -> Self {
        for (_, quiet) in &mut self.containers[..count] {
            quiet.silence = ago + Windows::default().suspect;
            quiet.fell = Some(ago);
        }
        self
    }

    fn state(mut self, at: std::ops::Range<usize>, state: ContainerState, since: Revision) -> Self {
        for (container, _) in &mut self.containers[at] {
            container.state = state;
            container.silent_since = since;
        }
        self
    }

    fn open(mut self, since: Revision) -> Self {
        self.breaker.open = Some(MassSilence {
            silent: 3,
            fleet: 10,
            since,
            reason: String::new(),
            at: crate::model::Millis(1),
        });
        self
    }

    fn tally(&self) -> Tally {
        let all = self
            .containers
            .iter()
            .map(|(container, quiet)| (container, *quiet));
        tally(&self.breaker, &Windows::default(), all)
    }

    fn counted(&self) -> (u32, u32) {
        (self.tally().silent, self.tally().fleet)
    }

    fn is_mass(&self) -> bool {
        self.tally().is_mass(&Mass::default())
    }
}

#[test]
fn a_fifth_and_at_least_three_are_a_mass() {
    for (fleet, needed) in [
        (3, 3),
        (4, 3),
        (5, 3),
        (15, 3),
        (16, 4),
        (20, 4),
        (21, 5),
        (100, 20),
        (101, 21),
    ] {
        let silent = |count| Fleet::of(fleet).silent(count, secs(0)).is_mass();
        assert!(!silent(needed - 1), "{} of {fleet}", needed - 1);
        assert!(silent(needed), "{needed} of {fleet}");
    }
    for fleet in [0, 1, 2] {
        assert!(
            !Fleet::of(fleet).silent(fleet as usize, secs(0)).is_mass(),
            "{fleet}"
        );
    }
}

#[test]
fn only_those_who_fell_lately_count() {
    let fleet = Fleet::of(10).silent(3, Duration::from_millis(9_999));
    assert_eq!(fleet.counted(), (3, 10));
    assert_eq!(Fleet::of(10).silent(3, secs(10)).counted(), (0, 10));
    // Two long ago, one now.
    assert!(!Fleet::of(10).silent(3, secs(30)).silent(1, secs(0)).is_mass());
}

#[test]
fn the_proven_dead_and_the_long_lost_are_no_part_of_it() {
    let mut fleet = Fleet::of(10).silent(3, secs(1));
    for (container, _) in &mut fleet.containers[..2] {
        container.boot = 0;
        container.state = ContainerState::Lost;
        container.fenced = true;
    }
    assert_eq!(fleet.counted(), (1, 8));

    let mut fleet = Fleet::of(100).state(0..90, ContainerState::Lost, 7);
    for (_, quiet) in &mut fleet.containers[90..93] {
        quiet.fell = Some(secs(1));
    }
    assert_eq!((fleet.counted(), fleet.is_mass()), ((3, 10), true));
}

/// A silence that spreads over ten seconds has lost some before it is seen.
#[test]
fn who_was_lost_on_the_way_counts() {
    let fleet = Fleet::of(10)
        .silent(3, secs(4))
        .state(0..2, ContainerState::Lost, 50)
        .state(2..3, ContainerState::Suspect, 55);
    assert_eq!((fleet.counted(), fleet.tally().since), ((3, 10), 50));
    let open = fleet.open(50);
    assert_eq!(open.counted(), (3, 10), "and while it is open");
    assert_eq!(open.state(0..2, ContainerState::Lost, 49).counted(), (1, 8));
}

#[test]
fn who_was_silent_at_a_lift_does_not_count_until_it_was_ready() {
    let mut fleet = Fleet::of(10)
        .silent(4, secs(1))
        .state(0..4, ContainerState::Suspect, 60);
    fleet.breaker.settled = 60;
    assert_eq!(fleet.counted(), (0, 10));
    fleet.breaker.settled = 59;
    assert_eq!(fleet.counted(), (4, 10));
    // Ready again and silent again, before the verdict and after it.
    fleet.breaker.settled = 60;
    let fleet = fleet.state(0..3, ContainerState::Ready, 0);
    assert_eq!(fleet.counted(), (3, 10));
    assert_eq!(fleet.tally().since, Revision::MAX);
    let fleet = fleet.state(0..3, ContainerState::Suspect, 61);
    assert_eq!((fleet.counted(), fleet.tally().since), ((3, 10), 61));
}

/// A new leader has heard nobody and granted all a fresh window.
#[test]
fn suspects_are_silent_while_it_is_open_whatever_the_clock_says() {
    let fleet = Fleet::of(10).state(0..3, ContainerState::Suspect, 50).open(50);
    assert!(fleet.is_mass());
    assert_eq!(fleet.state(1..3, ContainerState::Ready, 0).counted(), (1, 10));
    // Long silent, as all that fell before the breaker opened are after a while.
    assert!(Fleet::of(10).silent(3, secs(600)).open(50).is_mass());
}
