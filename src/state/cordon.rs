//! Cordons: containers that an operator wants no new agents in.
//!
//! A cordon stands beside the state and has nothing to do with it: a container may be cordoned before it
//! is ready and stays so through sessions, losses and whoever takes its record over.

use super::{Decision, State, quota::bounded};
use crate::{
    command::{Condition, Outcome},
    model::ContainerId,
};

impl State {
    /// Cordons a container, with another reason perhaps, or takes the cordon away.
    pub(super) fn cordon(&mut self, id: ContainerId, why: Option<&str>, condition: &Condition) -> Decision {
        let known = self.known_container(id)?;
        condition.check(Some(known.version))?;
        let cordoned = why.map(bounded);
        if known.cordoned != cordoned {
            let mut changed = (*known).clone();
            changed.cordoned = cordoned;
            self.replace_container(&known, changed);
        }
        Ok(Outcome::Done)
    }
}
