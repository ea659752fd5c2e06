//! How a runner paces itself, and which manager it turns to when a session is over.
//!
//! Numbers and decisions only, so that a program which stands in for thousands of runners, as the
//! measurement of scale does, keeps the pace of real ones: what is measured is then what they do.

use std::{collections::BTreeSet, time::Duration};

use rand::seq::SliceRandom;

use super::backoff::Backoff;

/// Between heartbeats, ±10 % (DESIGN section 7).
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// Between samples of what is in use in the container.
pub const SAMPLE: Duration = Duration::from_secs(5);

/// A manager that gets no heartbeat counted for this long is left for another one, while there is
/// lease left to find it in: two missed heartbeats and the time of an election.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// For a connection with its TLS hand-shake. Short: there are other managers.
pub const DIAL: Duration = Duration::from_secs(3);

/// For the answer to the first frame, which takes an entry of the log.
pub const ANSWER: Duration = Duration::from_secs(6);

/// For a frame to go out.
pub const WRITE: Duration = Duration::from_secs(5);

/// The bounds of the pauses once every manager has failed.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The time until the next heartbeat.
pub fn next_heartbeat() -> Duration {
    HEARTBEAT.mul_f64(rand::random_range(0.9..1.1))
}

/// The managers that are known, the one to use, and when to try the next one.
///
/// Each runner goes round in an order of its own, drawn by lot: those of a manager that dies spread over
/// all others, and do not all turn to the next in line.
#[derive(Debug)]
pub struct Tour {
    configured: Vec<String>,
    /// The configured session addresses first, then those that managers told; both in this runner's order.
    all: Vec<String>,
    at: usize,
    /// Sessions and attempts that failed since one lasted.
    failures: usize,
    backoff: Backoff,
}

impl Tour {
    /// Begins at any of the configured managers, so that runners of one configuration spread over them.
    pub fn new(mut configured: Vec<String>) -> Self {
        configured.shuffle(&mut rand::rng());
        Self {
            all: configured.clone(),
            at: 0,
            configured,
            failures: 0,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
        }
    }

    /// Takes what a manager told of all of them; gives whether that is news.
    pub fn learn(&mut self, told: Vec<String>) -> bool {
        let before = self.all.clone();
        let here = self.all.get(self.at).cloned();
        self.all
            .retain(|known| self.configured.contains(known) || told.contains(known));
        let is_new = |address: &String| !self.all.contains(address);
        let new: BTreeSet<String> = told.into_iter().filter(is_new).collect();
        let mut new: Vec<String> = new.into_iter().collect();
        new.shuffle(&mut rand::rng());
        self.all.extend(new);
        if let Some(at) = here.and_then(|here| self.all.iter().position(|a| *a == here)) {
            self.at = at;
        }
        self.all != before
    }

    /// All of them.
    pub fn all(&self) -> &[String] {
        &self.all
    }

    /// The one to use.
    pub fn current(&self) -> &str {
        self.all
            .get(self.at % self.all.len().max(1))
            .map_or("", String::as_str)
    }

    /// Goes on with this one, if it is known.
    pub fn turn_to(&mut self, address: &str) {
        if let Some(at) = self.all.iter().position(|known| known == address) {
            self.at = at;
        }
    }

    /// A session is over, or none was opened, this long after the attempt began: goes on to the next
    /// manager, and gives the pause before it, if there is to be one.
    pub fn failed(&mut self, after: Duration) -> Option<Duration> {
        self.at = (self.at + 1) % self.all.len().max(1);
        // A session that lasted was a success; its end is the first failure.
        if after > LONGEST_PAUSE {
            self.failures = 0;
            self.backoff.reset();
        }
        self.failures += 1;
        (self.failures >= self.all.len().max(2)).then(|| self.backoff.pause())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tour(managers: &[&str]) -> Tour {
        Tour::new(managers.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_told_comes_after_what_is_configured_and_does_not_move_anybody() {
        let mut tour = tour(&["a:1"]);
        assert!(tour.learn(vec!["b:1".into(), "a:1".into(), "c:1".into()]));
        assert_eq!((tour.all().len(), tour.current()), (3, "a:1"));
        assert!(!tour.learn(vec!["b:1".into(), "c:1".into()]));
        let mut round: Vec<_> = (0..3)
            .map(|_| {
                tour.failed(Duration::ZERO);
                tour.current().to_owned()
            })
            .collect();
        assert_eq!(round.pop().as_deref(), Some("a:1"));
        round.sort();
        assert_eq!(round, ["b:1", "c:1"]);
    }

    #[test]
    fn the_runners_of_a_dead_manager_do_not_all_turn_to_the_same_other_one() {
        let many = 1000;
        for (configured, told) in [(&["a:1", "b:1", "c:1"][..], &[][..]), (&["a:1"], &["b:1", "c:1"])] {
            let mut next = std::collections::BTreeMap::new();
            for _ in 0..many {
                let mut tour = tour(configured);
                tour.learn(told.iter().map(ToString::to_string).collect());
                if tour.current() == "a:1" {
                    tour.failed(Duration::ZERO);
                    *next.entry(tour.current().to_owned()).or_insert(0) += 1;
                }
            }
            // Half each of a third of them at least; a fifth of that is out of reach of chance.
            let enough = |who: &str| next.get(who).is_some_and(|count| *count > many / 30);
            assert!(next.len() == 2 && enough("b:1") && enough("c:1"), "{next:?}");
        }
    }

    #[test]
    fn nobody_pauses_until_every_manager_has_failed() {
        let mut tour = tour(&["a:1", "b:1", "c:1"]);
        let lasted = LONGEST_PAUSE * 2;
        for _ in 0..2 {
            assert_eq!(tour.failed(lasted), None);
            assert_eq!(tour.failed(Duration::ZERO), None);
            assert!(
                tour.failed(Duration::ZERO)
                    .is_some_and(|pause| pause <= FIRST_PAUSE)
            );
        }
    }

    #[test]
    fn a_lone_manager_is_tried_again_at_once_and_then_after_pauses() {
        let mut tour = tour(&["a:1"]);
        assert_eq!(tour.failed(Duration::ZERO), None);
        assert!(tour.failed(Duration::ZERO).is_some());
        assert_eq!(tour.current(), "a:1");
    }
}
