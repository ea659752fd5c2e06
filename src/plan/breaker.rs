//! Whether so many containers are silent at once that their silence means nothing.
//!
//! What counts is not how many are silent but how many *fell* silent together: each of those within the
//! last ten seconds, none of them proven dead, and a fifth of the fleet at least. Once that is so, the
//! breaker opens, and from then on it counts how many still are silent.
//!
//! **Who is of the fleet.** Containers with a runner (`boot`), which were ready once. A death that an
//! engine or a goodbye proves takes the runner from the record, so it counts neither as silence nor as
//! fleet. Who was lost before all this is no part of the fleet either: a hundred records that nobody
//! removed would hide that all of ten living containers are silent.
//!
//! **Small fleets.** At least three have to be silent. So one or two containers never open the breaker;
//! of three or four, three have to fall silent; from sixteen on (three are less than a fifth of those) the
//! share decides. It is compared without rounding.
//!
//! **In time.** Containers that are cut off at once were last heard within a heartbeat and a digest of each
//! other, 1.6 s. All of them are past the suspect window before the first is past the lost one if that is
//! two seconds longer; by default it is three.
//!
//! **Another leader** begins with a fresh window, in which nobody is silent by its clock. Whoever the state
//! calls suspect then is past its suspect window as soon as the window ends, again with all the others, so
//! a silence that began under the old leader opens the breaker under the new one. Whoever the state calls
//! lost by then was judged already, and falls no more. While the breaker is open the state alone says that
//! suspects are silent, so that a fresh window does not pass for their return.
//!
//! **After a lift** (or when it closed by itself) those who were not ready by then are judged as usual, and
//! do not count again until they have been ready once more: `silent_since` is not after `settled`. That
//! is read from the state and needs no memory of the leader's.

use std::time::Duration;

use super::Windows;
use crate::model::{Breaker, Container, ContainerState, MassSilence, Revision};

/// From when on a silence is one of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mass {
    /// The share of the fleet, in percent.
    pub share: u32,
    /// At least so many, whatever the share.
    pub least: u32,
    /// Those who fell silent within this time of each other did so together. As long as this the
    /// breaker stays open after the others have come back.
    pub within: Duration,
}

impl Default for Mass {
    fn default() -> Self {
        Self {
            share: 20,
            least: 3,
            within: Duration::from_secs(10),
        }
    }
}

/// What the leader's clock says of one container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quiet {
    /// How long it has been silent.
    pub silence: Duration,
    /// How long ago it fell silent, that is, passed the suspect window; `None` when this leader did not
    /// see it fall: it is heard, or was lost before.
    pub fell: Option<Duration>,
}

/// How many of how many are silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Those that count as silent.
    pub silent: u32,
    /// All that count.
    pub fleet: u32,
    /// The first revision at which one of the silent stopped being ready; the greatest there is when
    /// none did so yet.
    pub since: Revision,
}

impl Tally {
    /// Whether that is a mass silence.
    pub fn is_mass(&self, mass: &Mass) -> bool {
        let share = u64::from(self.silent) * 100 >= u64::from(self.fleet) * u64::from(mass.share);
        self.silent >= mass.least && share
    }
}

/// Counts, while the breaker is closed, those that fell silent lately, and while it is open all that are
/// silent.
pub fn tally<'a>(
    breaker: &Breaker,
    windows: &Windows,
    containers: impl IntoIterator<Item = (&'a Container, Quiet)>,
) -> Tally {
    let mut tally = Tally {
        silent: 0,
        fleet: 0,
        since: Revision::MAX,
    };
    for (container, quiet) in containers.into_iter().filter(|(c, _)| c.boot != 0) {
        let silent = match &breaker.open {
            None => fell(container, quiet, breaker.settled, windows),
            Some(open) => is_silent(container, quiet, open, windows),
        };
        if silent {
            tally.silent += 1;
            let since = Some(container.silent_since).filter(|since| *since != 0);
            tally.since = tally.since.min(since.unwrap_or(Revision::MAX));
        }
        tally.fleet += u32::from(silent || container.state != ContainerState::Lost);
    }
    tally
}

fn fell(container: &Container, quiet: Quiet, settled: Revision, windows: &Windows) -> bool {
    let again = container.silent_since == 0 || container.silent_since > settled;
    again && quiet.fell.is_some_and(|ago| ago < windows.mass.within)
}

fn is_silent(container: &Container, quiet: Quiet, open: &MassSilence, windows: &Windows) -> bool {
    match container.state {
        ContainerState::Candidate | ContainerState::Registered => false,
        ContainerState::Ready => quiet.silence >= windows.suspect,
        ContainerState::Suspect => true,
        ContainerState::Lost => container.silent_since >= open.since,
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
