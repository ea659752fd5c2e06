//! Operations a second, shared by many clients.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Lets so many turns a second through. Turns that nobody took are lost after a moment, so that a cluster that comes
/// back is not flooded.
#[derive(Debug)]
pub struct Pace {
    every: Duration,
    next: Mutex<Instant>,
}

/// How far behind the clock turns may be taken up.
const BEHIND: Duration = Duration::from_millis(200);

impl Pace {
    /// `rate` turns a second.
    pub fn new(rate: f64) -> Self {
        Self {
            every: Duration::from_secs_f64(1.0 / rate.max(0.001)),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits for a turn.
    pub async fn turn(&self) {
        let at = {
            let mut next = self.next.lock().await;
            let now = Instant::now();
            let oldest = now.checked_sub(BEHIND).unwrap_or(now);
            let at = (*next).max(oldest);
            *next = at + self.every;
            at
        };
        sleep_until(at).await;
    }
}
