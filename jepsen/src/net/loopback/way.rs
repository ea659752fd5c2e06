//! One direction between two ends: open, cut, slow or narrow, and what it held back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::net::{Counts, Shape};

#[derive(Debug, Clone, Copy, Default)]
struct State {
    cut: bool,
    shape: Shape,
}

/// A direction. What goes through it are pieces: some bytes of a stream, its end, or the wish for a connection.
#[derive(Debug)]
pub struct Way {
    state: watch::Sender<State>,
    /// When a narrow one has carried what it was given so far; all connections share it.
    busy_until: Mutex<Instant>,
    /// Since it was cut last.
    held: AtomicU64,
    carried: AtomicU64,
    delayed: AtomicU64,
}

impl Default for Way {
    fn default() -> Self {
        Self {
            state: watch::Sender::default(),
            busy_until: Mutex::new(Instant::now()),
            held: AtomicU64::new(0),
            carried: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
        }
    }
}

impl Way {
    /// From now on nothing comes through.
    pub fn cut(&self) {
        self.state.send_if_modified(|state| {
            if !state.cut {
                self.held.store(0, Ordering::Relaxed);
            }
            !std::mem::replace(&mut state.cut, true)
        });
    }

    /// What was held comes through, in order.
    pub fn mend(&self) {
        self.state
            .send_if_modified(|state| std::mem::take(&mut state.cut));
    }

    pub fn is_cut(&self) -> bool {
        self.state.borrow().cut
    }

    /// What comes from now on is delayed so.
    pub fn shape(&self, shape: Shape) {
        self.state.send_modify(|state| state.shape = shape);
    }

    /// Pieces that came while it was cut.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// What was done to pieces while it was slow or narrow.
    pub fn counts(&self) -> Counts {
        Counts {
            carried: self.carried.load(Ordering::Relaxed),
            delayed: self.delayed.load(Ordering::Relaxed),
            ..Counts::default()
        }
    }

    /// Counts a piece that has come.
    pub fn came(&self) {
        let state = *self.state.borrow();
        if state.cut {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
        if state.shape != Shape::default() {
            self.carried.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until a piece that came at `since` is through.
    pub async fn pass(&self, since: Instant, length: usize) {
        let mut state = self.state.subscribe();
        loop {
            let open = state.wait_for(|state| !state.cut).await.map(|state| state.shape);
            // The sender is in `self`.
            let Ok(shape) = open else { return };
            let due = self.due(shape, since, length);
            if due > Instant::now() {
                self.delayed.fetch_add(1, Ordering::Relaxed);
                sleep_until(due).await;
            }
            // What was on its way when it was cut is not through.
            if !self.is_cut() {
                return;
            }
        }
    }

    fn due(&self, shape: Shape, since: Instant, length: usize) -> Instant {
        let due = since + shape.delay + shape.jitter.mul_f64(rand::rng().random());
        match shape.rate {
            None => due,
            Some(rate) => {
                let takes = Duration::from_secs_f64(length as f64 / rate.max(1) as f64);
                let mut busy = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
                *busy = (*busy).max(Instant::now()) + takes;
                due.max(*busy)
            }
        }
    }
}
