//! How often one token may call one manager.
//!
//! Each token has a bucket of one second's worth of requests that fills all the time, kept as one number:
//! the time at which it would be full again (the generic cell rate algorithm of ITU-T I.371). Noting a
//! request is one atomic exchange. Buckets are chosen by the token's id among a fixed number, so that
//! strangers can't make this table grow; two tokens that share one share its rate.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::model::TokenId;

/// Ids are random: a few dozen tokens hardly ever share one of so many.
const BUCKETS: usize = 4096;

/// What a full bucket holds, in time.
const BURST: Duration = Duration::from_secs(1);

/// The buckets of one manager.
#[derive(Debug)]
pub struct Rates {
    began: Instant,
    /// Nanoseconds that one request costs; none without a bound.
    cost: Option<u64>,
    /// When each bucket will be full again, in nanoseconds after `began`.
    full_at: Box<[AtomicU64]>,
}

impl Rates {
    /// So many requests a second for each token; without a bound when that is 0.
    pub fn new(per_second: u32) -> Self {
        let cost = 1_000_000_000_u64.checked_div(u64::from(per_second));
        let buckets = if cost.is_some() { BUCKETS } else { 0 };
        Self {
            began: Instant::now(),
            cost,
            full_at: (0..buckets).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Whether this token may make a request now; if so, it is counted.
    pub fn admit(&self, token: TokenId) -> bool {
        self.admit_at(token, self.began.elapsed())
    }

    fn admit_at(&self, token: TokenId, now: Duration) -> bool {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (Some(cost), now) = (self.cost, nanos(now)) else {
            return true;
        };
        // The remainder is below `BUCKETS`.
        let place = usize::try_from(token.0 % BUCKETS as u64).unwrap_or_default();
        let Some(bucket) = self.full_at.get(place) else {
            return true;
        };
        let counted = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let next = full_at.max(now).saturating_add(cost);
            (next - now <= nanos(BURST).max(cost)).then_some(next)
        });
        counted.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn let_in(rates: &Rates, token: u64, now: Duration, tries: u32) -> u32 {
        let one = || u32::from(rates.admit_at(TokenId(token), now));
        (0..tries).map(|_| one()).sum()
    }

    #[test]
    fn a_token_gets_its_rate_after_one_burst_and_others_theirs() {
        let rates = Rates::new(100);
        let at = Duration::from_millis;
        assert_eq!(let_in(&rates, 7, at(0), 1000), 100, "a second's worth at once");
        assert_eq!(let_in(&rates, 7, at(5), 10), 0, "not yet enough for one");
        assert_eq!(
            let_in(&rates, 7, at(105), 1000),
            10,
            "a tenth of a second, a tenth of them"
        );
        assert_eq!(let_in(&rates, 8, at(105), 1000), 100, "another token has its own");
        // Never more than a second's worth, however long it was silent.
        assert_eq!(let_in(&rates, 7, at(3_600_000), 1000), 100);
    }

    #[test]
    fn small_rates_and_none_are_kept() {
        let rates = Rates::new(1);
        let at = Duration::from_millis;
        assert_eq!(let_in(&rates, 1, at(0), 5), 1);
        assert_eq!(let_in(&rates, 1, at(999), 5), 0);
        assert_eq!(let_in(&rates, 1, at(1001), 5), 1);
        assert_eq!(let_in(&Rates::new(0), 1, at(0), 100_000), 100_000);
    }
}
