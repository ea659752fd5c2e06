//! How fast a scan goes: so many places a second, and never many at once.

use std::time::Duration;

use tokio::time::Instant;

/// What was not used is kept for this long, so that a scan that was held up does not go off like a gun.
const KEPT: Duration = Duration::from_millis(100);

/// Gives out leave to look.
#[derive(Debug)]
pub(super) struct Pace {
    /// Between two.
    each: Duration,
    next: Instant,
}

impl Pace {
    pub(super) fn new(rate: u32, now: Instant) -> Self {
        Self {
            each: Duration::from_secs(1) / rate.max(1),
            next: now,
        }
    }

    /// Whether one more may go now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        let earliest = now.checked_sub(KEPT).unwrap_or(now);
        self.next = self.next.max(earliest) + self.each;
        true
    }

    /// When the next one may go.
    pub(super) fn next(&self) -> Instant {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_second_has_more_than_the_rate_and_what_was_kept() {
        let start = Instant::now();
        let mut pace = Pace::new(100, start);
        let step = Duration::from_millis(1);
        let taken = |pace: &mut Pace, from: u32, to: u32| {
            let moments = (from..to).map(|n| start + step * n);
            moments.filter(|now| pace.take(*now)).count()
        };
        assert_eq!(taken(&mut pace, 0, 1000), 100);
        // Ten seconds in which nobody asked are worth a tenth of one.
        let all_at_once = (0..100).filter(|_| pace.take(start + step * 11_000)).count();
        assert!((10..=11).contains(&all_at_once), "{all_at_once}");
    }
}
