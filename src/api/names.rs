//! From names, which people use, to ids, which commands carry.

use super::{
    App,
    problem::{Code, Problem},
};
use crate::{model::Name, state::State};

/// The raw part of a new object's id.
pub fn fresh_id() -> u64 {
    rand::random()
}

impl App {
    /// The id behind a name, as of now.
    ///
    /// A request with an idempotency key goes on with `nobody` when the name is unknown: it may
    /// repeat one that made the name unknown, and only apply knows that one's answer.
    ///
    /// # Errors
    /// `not_found`, or as `Consensus::read`.
    pub async fn resolve<I>(
        &self,
        kind: &str,
        name: &Name,
        keyed: bool,
        nobody: I,
        find: impl FnOnce(&State) -> Option<I>,
    ) -> Result<I, Problem> {
        let state = self.consensus().read().await?;
        match find(&state) {
            Some(id) => Ok(id),
            None if keyed => Ok(nobody),
            None => Err(absent(kind, name)),
        }
    }
}

/// There is none of this name.
pub fn absent(kind: &str, name: &Name) -> Problem {
    Problem::new(Code::NotFound, missing(kind, name))
}

fn missing(kind: &str, name: &Name) -> String {
    format!("there is no {kind} `{name}`")
}

impl Problem {
    /// Speaks of the name that was asked for, where the command only knew an id.
    #[must_use]
    pub fn naming(self, kind: &str, name: &Name) -> Self {
        if self.is(Code::NotFound) {
            self.detail(missing(kind, name))
        } else {
            self
        }
    }
}
