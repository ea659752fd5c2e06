//! Round trips to runners: a number that is sent and comes back.
//!
//! Time in a busy runner's or manager's queue counts: it is how long a word takes, not a packet. A runner can
//! make itself look slow, or fast by an answer that came before the question; nothing is decided by it.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::RoundTrip;

/// Between echoes of a session.
const EVERY: Duration = Duration::from_secs(10);

/// The echoes of one session.
#[derive(Debug, Default)]
pub(super) struct Echo {
    number: u64,
    /// When the last one was sent.
    sent: Option<Instant>,
    /// Whether it has not come back yet.
    out: bool,
}

impl Echo {
    /// The number to send now, if it is time for one.
    pub(super) fn due(&mut self, now: Instant) -> Option<u64> {
        if self.sent.is_some_and(|sent| now - sent < EVERY) {
            return None;
        }
        self.number += 1;
        self.sent = Some(now);
        self.out = true;
        Some(self.number)
    }

    /// What came back tells, unless it is not the number that is out.
    pub(super) fn back(&mut self, number: u64, now: Instant) -> Option<RoundTrip> {
        if !self.out || number != self.number {
            return None;
        }
        self.out = false;
        self.sent.map(|sent| RoundTrip::from(now - sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_number_that_is_out_tells_and_only_once() {
        let mut echo = Echo::default();
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let first = echo.due(start).unwrap();
        assert_eq!(echo.due(after(9_999)), None);
        assert_eq!(echo.back(first + 1, after(1)), None);
        assert_eq!(echo.back(first, after(3)), Some(RoundTrip(3_000)));
        assert_eq!(echo.back(first, after(4)), None);
        // One that never comes back does not stop the next, and tells nothing once that is out.
        let lost = echo.due(after(10_000)).unwrap();
        let next = echo.due(after(20_000)).unwrap();
        assert_eq!(echo.back(lost, after(20_001)), None);
        assert_eq!(echo.back(next, after(20_002)), Some(RoundTrip(2_000)));
    }
}
