//! Growing pauses with full jitter.

use std::time::Duration;

/// Doubles from `first` to `most`; each pause is drawn evenly from zero to the current bound, so that
/// many that failed together do not come back together.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            failures: 0,
        }
    }

    /// The bound of the next pause.
    fn bound(&self) -> Duration {
        self.first
            .saturating_mul(2u32.saturating_pow(self.failures))
            .min(self.most)
    }

    /// Notes a failure and draws the pause that follows it.
    pub(super) fn pause(&mut self) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(rand::random::<f64>())
    }

    /// Begins again with short pauses.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_most_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let bounds: Vec<u64> = (0..8)
            .map(|_| {
                let bound = backoff.bound();
                assert!(backoff.pause() <= bound);
                bound.as_secs()
            })
            .collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 60, 60]);
        for _ in 0..100 {
            assert!(backoff.pause() <= Duration::from_secs(60));
        }
        backoff.reset();
        assert_eq!(backoff.bound(), Duration::from_secs(1));
    }
}
