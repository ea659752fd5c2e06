//! Opens the breaker when too many containers fall silent together, and closes it when few enough have
//! been silent for long enough. Part of the liveness loop: what counts is in `plan::tally`.
//!
//! The time for which few enough have been silent is the leader's own; a new leader, or one that slept,
//! begins to count it again.

use tokio::time::Instant;

use super::Replica;
use crate::{
    command::{ClusterCommand, Command, Loop},
    model::{Breaker, Revision},
    plan::{Mass, Tally},
};

/// What the leader remembers of the breaker between its looks.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Since when few enough are silent while it is open.
    calm: Option<Instant>,
    /// The version that was last told to the log of this process.
    told: Revision,
}

impl Watch {
    /// Counts from now on.
    pub(super) fn begin_again(&mut self) {
        self.calm = None;
    }

    /// The change that is due.
    pub(super) fn look(
        &mut self,
        breaker: &Breaker,
        tally: &Tally,
        mass: &Mass,
        term: u64,
        now: Instant,
    ) -> Option<ClusterCommand> {
        self.tell(breaker);
        let version = breaker.version;
        match (breaker.open.is_some(), tally.is_mass(mass)) {
            (false, false) => None,
            (false, true) => {
                self.calm = None;
                Some(ClusterCommand::OpenBreaker {
                    term,
                    version,
                    silent: tally.silent,
                    fleet: tally.fleet,
                    since: tally.since,
                    reason: format!(
                        "{} of {} containers fell silent within {:?}",
                        tally.silent, tally.fleet, mass.within
                    ),
                })
            }
            (true, true) => {
                self.calm = None;
                None
            }
            (true, false) => {
                let calm = *self.calm.get_or_insert(now);
                let over = now.saturating_duration_since(calm) >= mass.within;
                over.then_some(ClusterCommand::CloseBreaker { term, version })
            }
        }
    }

    fn tell(&mut self, breaker: &Breaker) {
        if self.told == breaker.version {
            return;
        }
        self.told = breaker.version;
        match &breaker.open {
            Some(open) => tracing::warn!(
                silent = open.silent,
                fleet = open.fleet,
                reason = %open.reason,
                "the breaker is open: nobody is lost by silence until they are back or it is lifted"
            ),
            None => tracing::info!("the breaker is closed: silence counts"),
        }
    }
}

/// Proposes a change of the breaker. What fails is decided anew by the next look.
pub(super) async fn propose<R: Replica>(replica: R, command: ClusterCommand) {
    match replica.propose(Loop::Breaker, Command::Cluster(command)).await {
        Ok(reply) => {
            if let Err(rejection) = reply.result {
                tracing::debug!(%rejection, "a change of the breaker came too late");
            }
        }
        Err(error) => tracing::warn!(%error, "a change of the breaker was not confirmed"),
    }
}
