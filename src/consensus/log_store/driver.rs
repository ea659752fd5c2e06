//! Runs a writer on a thread, and watches it.

use super::shared::Shared;
use super::writer::{Done, Op, Work, Writer};
use openraft::RaftTypeConfig;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc::WeakUnboundedSender;

/// When the watchdog looks, and when it has seen enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    /// Between two looks; the watermark is brought up to date at each.
    pub every: Duration,
    /// Looks at the same unfinished turn after which the disk counts as hung. Looks are counted, not
    /// wall time, so that a paused process or machine is not taken for a hung disk when it goes on.
    pub patience: u32,
}

impl Default for Watch {
    /// 30 s.
    fn default() -> Self {
        Self {
            every: Duration::from_secs(1),
            patience: 30,
        }
    }
}

/// Counts turns begun and ended: odd while one runs.
#[derive(Debug, Default)]
struct Pulse(AtomicU64);

impl Pulse {
    fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Starts the writer's thread and its watchdog. Both end when the last handle of the store is gone
/// or the store is closed.
pub(super) fn spawn<C: RaftTypeConfig>(
    mut writer: Writer<C>,
    queue: WeakUnboundedSender<Op<C>>,
    watch: Watch,
) -> io::Result<()> {
    let shared = Arc::clone(&writer.shared);
    let pulse = Arc::new(Pulse::default());
    // Dropped by the writer's thread when it ends, however it ends.
    let (alive, gone) = channel::<()>();
    thread::Builder::new().name("log-watchdog".into()).spawn({
        let (shared, pulse) = (Arc::clone(&shared), Arc::clone(&pulse));
        move || look(&shared, &pulse, &queue, &gone, watch)
    })?;
    thread::Builder::new().name("log-writer".into()).spawn(move || {
        let _alive = alive;
        let run = AssertUnwindSafe(|| {
            while writer.turn_blocking(|| pulse.step()) {
                pulse.step();
            }
            writer.finish();
        });
        if catch_unwind(run).is_err() {
            // Callbacks of that turn are lost with it; the hook ends the process.
            shared.fail("writing the log", &io::Error::other("the writer panicked"));
        }
    })?;
    Ok(())
}

fn look<C: RaftTypeConfig>(
    shared: &Shared<C>,
    pulse: &Pulse,
    queue: &WeakUnboundedSender<Op<C>>,
    gone: &Receiver<()>,
    watch: Watch,
) {
    let (mut seen, mut looks) = (0, 0);
    while gone.recv_timeout(watch.every) == Err(RecvTimeoutError::Timeout) {
        let now = pulse.0.load(Ordering::Relaxed);
        looks = if now % 2 == 1 && now == seen { looks + 1 } else { 0 };
        seen = now;
        if looks == watch.patience {
            let hung = io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the disk has not answered for {:?}", watch.every * watch.patience),
            );
            shared.fail("writing the log", &hung);
        }
        if let Some(queue) = queue.upgrade()
            && looks == 0
        {
            // Refused only if the writer has just ended.
            let _ = queue.send(Op {
                work: Work::Mark,
                done: Done::Nobody,
            });
        }
    }
}
