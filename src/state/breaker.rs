//! The breaker: while it is open, silence makes no container lost.
//!
//! The leader's clock says when it opens and when it closes by itself (see `plan::breaker`), an operator
//! lifts it. It is in the state so that every manager shows it, a new leader keeps it, and a verdict that
//! was on its way when it opened is refused wherever the log is applied.
//!
//! Closed by itself or lifted, it is *settled*: whoever is not ready then is judged as usual and does not
//! open it again. [`Container::silent_since`] tells those from the ones that fall silent later, under
//! whichever leader.

use std::sync::Arc;

use super::{Decision, State, quota::bounded};
use crate::{
    command::{ClusterCommand, Condition, Outcome, Rejection},
    model::{Breaker, Container, ContainerState, MassSilence, Revision},
};

/// What the reason of a suspect container ends with while the breaker is open.
const UNKNOWN: &str = "; whether it is gone is unknown, as too many fell silent with it: the breaker is open";

impl State {
    pub(super) fn open_breaker(&mut self, command: &ClusterCommand) -> Decision {
        let ClusterCommand::OpenBreaker {
            term,
            version,
            silent,
            fleet,
            since,
            reason,
        } = command
        else {
            return Ok(Outcome::Done);
        };
        self.breaker_as_judged(*term, *version)?;
        if self.breaker.open.is_some() {
            return Err(Rejection::Busy("the breaker is open already".into()));
        }
        self.breaker.open = Some(MassSilence {
            silent: *silent,
            fleet: *fleet,
            since: (*since).min(self.revision),
            reason: bounded(reason),
            at: self.now,
        });
        self.breaker.version = self.revision;
        self.reword_suspects(|reason| Some(format!("{reason}{UNKNOWN}")));
        Ok(Outcome::Done)
    }

    pub(super) fn close_breaker(&mut self, term: u64, version: Revision) -> Decision {
        self.breaker_as_judged(term, version)?;
        self.settle_breaker()
    }

    pub(super) fn lift_breaker(&mut self, condition: &Condition) -> Decision {
        condition.check(Some(self.breaker.version))?;
        self.settle_breaker()
    }

    /// Refuses what another leader judged, or what was judged on another breaker.
    fn breaker_as_judged(&self, term: u64, version: Revision) -> Result<(), Rejection> {
        if term != self.term {
            return Err(Rejection::Busy(format!(
                "the breaker was judged in term {term}, which is over"
            )));
        }
        if version != self.breaker.version {
            return Err(Rejection::Busy(
                "the breaker has changed since it was judged".into(),
            ));
        }
        Ok(())
    }

    fn settle_breaker(&mut self) -> Decision {
        if self.breaker.open.take().is_none() {
            return Err(Rejection::Busy(
                "the breaker is closed: there is nothing to lift".into(),
            ));
        }
        self.breaker.settled = self.revision;
        self.breaker.version = self.revision;
        self.reword_suspects(|reason| reason.strip_suffix(UNKNOWN).map(str::to_owned));
        Ok(Outcome::Done)
    }

    /// Gives suspect containers another reason, where there is another.
    fn reword_suspects(&mut self, other: impl Fn(&str) -> Option<String>) {
        let suspect = |c: &&Arc<Container>| c.state == ContainerState::Suspect;
        let suspects: Vec<_> = self.containers.values().filter(suspect).cloned().collect();
        for known in suspects {
            if let Some(reason) = other(&known.reason) {
                let reworded = Container {
                    reason,
                    ..(*known).clone()
                };
                self.replace_container(&known, reworded);
            }
        }
    }

    /// The reason for a state, with a word about the breaker where that is why it goes no further.
    pub(super) fn reason_while_open(&self, state: ContainerState, reason: String) -> String {
        if state == ContainerState::Suspect && self.breaker.open.is_some() {
            reason + UNKNOWN
        } else {
            reason
        }
    }

    /// The breaker.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }
}
