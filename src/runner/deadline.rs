//! Until when exclusive agents may act, where their keepers can read it.
//!
//! A runner may stand still, stopped or starved, while its agents go on. So the end of the lease is in
//! memory that it shares with the keepers ([`super::keeper`]), and each of them holds its agent to it by
//! itself. A keeper looks when the end it knows of has come: renewals wake nobody.
//!
//! Both sides read the same clock, which is the machine's since it started. What is written is never
//! later than what the runner's own fence goes by.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    sys::memfd::{MFdFlags, memfd_create},
    time::{ClockId, clock_gettime},
};

/// How often a keeper reads anew what it met half written. Two reads are one too many already.
const READS: u32 = 1_000;

/// So many pairs of clocks are read, for two that lie close together.
const PAIRS: u32 = 8;

/// The runner's side.
#[derive(Debug)]
pub(super) struct Deadline {
    memory: File,
    /// The same moment twice, the second not later than the first.
    origin: (Instant, Duration),
}

impl Deadline {
    /// One that has passed.
    ///
    /// # Errors
    /// When the system has no memory to give.
    pub(super) fn new() -> io::Result<Self> {
        let new = Self {
            memory: File::from(memfd_create(c"quorate-lease", MFdFlags::MFD_CLOEXEC)?),
            origin: origin()?,
        };
        new.write(0)?;
        Ok(new)
    }

    /// Agents may act until then, or may not.
    pub(super) fn set(&self, until: Option<Instant>) {
        let (instant, clock) = self.origin;
        let at = until.map_or(Duration::ZERO, |until| {
            (clock + until.saturating_duration_since(instant))
                .saturating_sub(instant.saturating_duration_since(until))
        });
        if let Err(error) = self.write(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)) {
            // Then the last end that was written holds, which is earlier.
            tracing::warn!(%error, "the end of the lease can't be told to the agents' keepers");
        }
    }

    fn write(&self, at: u64) -> io::Result<()> {
        let both = [at.to_ne_bytes(), (!at).to_ne_bytes()].concat();
        self.memory.write_all_at(&both, 0)
    }

    /// What a keeper gets as its standard input.
    ///
    /// # Errors
    /// When this process has too many files open.
    pub(super) fn for_keeper(&self) -> io::Result<Stdio> {
        Ok(self.memory.try_clone()?.into())
    }
}

/// The keeper's side.
#[derive(Debug)]
pub(super) struct Remaining(File);

impl Remaining {
    /// Reads from here, where a runner put it.
    pub(super) fn of(memory: File) -> Self {
        Self(memory)
    }

    /// How long the agent may go on; zero when the lease is over, or can't be read.
    pub(super) fn left(&self) -> Duration {
        let now = now().unwrap_or(Duration::MAX);
        self.at().unwrap_or_default().saturating_sub(now)
    }

    fn at(&self) -> Option<Duration> {
        for _ in 0..READS {
            let (mut at, mut check) = ([0; 8], [0; 8]);
            self.0.read_exact_at(&mut at, 0).ok()?;
            self.0.read_exact_at(&mut check, 8).ok()?;
            let at = u64::from_ne_bytes(at);
            if at == !u64::from_ne_bytes(check) {
                return Some(Duration::from_nanos(at));
            }
        }
        None
    }
}

/// Since the machine started.
fn now() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

fn origin() -> io::Result<(Instant, Duration)> {
    let mut best: Option<(Duration, Instant, Duration)> = None;
    for _ in 0..PAIRS {
        let (clock, instant) = (now()?, Instant::now());
        let apart = now()?.saturating_sub(clock);
        if best.is_none_or(|(least, ..)| apart < least) {
            best = Some((apart, instant, clock));
        }
    }
    let (_, instant, clock) = best.ok_or_else(|| io::Error::other("no clock was read"))?;
    Ok((instant, clock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_mean_the_same_moment() {
        let deadline = Deadline::new().unwrap();
        let remaining = Remaining::of(deadline.memory.try_clone().unwrap());
        assert_eq!(remaining.left(), Duration::ZERO, "none was given yet");
        let until = Instant::now() + Duration::from_secs(8);
        deadline.set(Some(until));
        let left = remaining.left();
        let after = until.saturating_duration_since(Instant::now());
        // Read before `after`, so not less than it but for the distance of the clocks.
        assert!(left <= Duration::from_secs(8) && left + Duration::from_millis(1) > after);
        deadline.set(Some(Instant::now()));
        assert_eq!(remaining.left(), Duration::ZERO);
        deadline.set(Some(until));
        deadline.set(None);
        assert_eq!(remaining.left(), Duration::ZERO);
    }

    #[test]
    fn what_makes_no_sense_is_no_right_to_act() {
        let deadline = Deadline::new().unwrap();
        let remaining = Remaining::of(deadline.memory.try_clone().unwrap());
        deadline.memory.write_all_at(&[0xff; 16], 0).unwrap();
        assert_eq!(remaining.left(), Duration::ZERO);
        deadline.memory.set_len(0).unwrap();
        assert_eq!(remaining.left(), Duration::ZERO);
    }
}
