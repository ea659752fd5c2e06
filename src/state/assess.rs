//! What runners find in their containers.

use std::sync::Arc;

use super::{Decision, State};
use crate::{
    command::{Outcome, Rejection},
    model::{Assessment, Container, ContainerId},
};

impl State {
    /// Keeps what a runner found, unless a later look of the same start is known already.
    pub(super) fn assess(&mut self, id: ContainerId, boot: u64, found: &Assessment) -> Decision {
        let known = self.known_container(id)?;
        if known.boot == 0 || known.boot != boot {
            return Err(Rejection::Busy(format!("{id} has no runner of this start")));
        }
        let last = known.assessment.as_ref().map_or(0, |last| last.number);
        if found.number > last {
            let (bounded, _) = found.clone().bounded();
            let assessed = Container {
                assessment: Some(Arc::new(bounded)),
                ..(*known).clone()
            };
            self.replace_container(&known, assessed);
        }
        Ok(Outcome::Done)
    }
}
