//! How long it took the first, half, nearly all and the last of many.

use std::time::Duration;

use serde::Serialize;

use crate::spread::short;

/// Times of many, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    pub count: usize,
    pub first_ms: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub last_ms: f64,
}

impl Times {
    /// None of no times.
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut sorted: Vec<Duration> = times.into_iter().collect();
        sorted.sort_unstable();
        let (first, last) = (*sorted.first()?, *sorted.last()?);
        let at = |share: f64| {
            let rank = (sorted.len() as f64 * share).ceil() as usize;
            sorted[rank.clamp(1, sorted.len()) - 1]
        };
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        Some(Self {
            count: sorted.len(),
            first_ms: millis(first),
            p50_ms: millis(at(0.50)),
            p99_ms: millis(at(0.99)),
            last_ms: millis(last),
        })
    }

    /// `last 5.21 s (first 3.02, half 3.40, p99 5.10)`.
    pub fn text(&self) -> String {
        let seconds = |millis: f64| short(millis / 1e3);
        format!(
            "last {} s (first {}, half {}, p99 {})",
            seconds(self.last_ms),
            seconds(self.first_ms),
            seconds(self.p50_ms),
            seconds(self.p99_ms)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_of_sorted_times() {
        let times = Times::of((1..=200).rev().map(Duration::from_millis)).unwrap();
        assert_eq!((times.count, times.first_ms, times.last_ms), (200, 1.0, 200.0));
        assert_eq!((times.p50_ms, times.p99_ms), (100.0, 198.0));
        assert_eq!(Times::of([]), None);
        assert_eq!(
            Times::of([Duration::from_secs(5)]).unwrap().text(),
            "last 5.00 s (first 5.00, half 5.00, p99 5.00)"
        );
    }
}
