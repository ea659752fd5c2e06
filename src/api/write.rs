//! Writes: propose, then answer from the reply.
//!
//! The answer is built from the reply and never from what a later read shows, so that a repeated
//! request gets the first answer again. A client that goes away cancels nothing: the proposal is
//! on its way as soon as it was made.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    App,
    call::{self, Origin},
    headers::{IDEMPOTENCY_REPLAYED, QUORATE_REVISION},
    precondition::etag,
    problem::{Code, Problem},
    view::CATCH_UP,
};
use crate::{
    command::{Command, Outcome, Rejection},
    model::Revision,
    state::State,
};

/// A write that took effect.
#[derive(Debug)]
pub struct Accepted {
    /// The revision it took effect at.
    pub revision: Revision,
    /// Whether it did so for an earlier request with the same key.
    pub replayed: bool,
    /// What it did.
    pub outcome: Outcome,
}

impl App {
    /// Proposes a command. When its condition does not hold, the problem shows the object as
    /// `current` sees it.
    ///
    /// # Errors
    /// The rejection, or what kept the command from being decided.
    pub async fn write(
        &self,
        Origin { by, key }: Origin,
        command: Command,
        current: impl FnOnce(&State) -> Option<(Revision, Value)>,
    ) -> Result<Accepted, Problem> {
        let reply = self.consensus().propose(by, key, command).await?;
        let (revision, replayed) = (reply.revision, reply.replayed);
        let rejection = match reply.result {
            Ok(outcome) => {
                return Ok(Accepted {
                    revision,
                    replayed,
                    outcome,
                });
            }
            Err(rejection) => rejection,
        };
        let conditional = matches!(rejection, Rejection::Condition { .. });
        let mut problem = Problem::from(rejection).header(QUORATE_REVISION, revision.into());
        if replayed {
            problem = problem.header(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
        if conditional {
            problem = self.show_current(problem, revision, current).await;
        }
        Err(problem)
    }

    /// Adds the object to a failed precondition, as it is here once this manager has seen what the
    /// write saw. When that takes too long, the version in the problem has to do.
    async fn show_current(
        &self,
        problem: Problem,
        revision: Revision,
        current: impl FnOnce(&State) -> Option<(Revision, Value)>,
    ) -> Problem {
        let seen = self
            .consensus()
            .at_least(revision, Instant::now() + CATCH_UP)
            .await;
        match seen.ok().and_then(|state| current(&state)) {
            Some((version, object)) => problem
                .with("current", object)
                .header(header::ETAG, etag(version)),
            None => problem,
        }
    }
}

impl Accepted {
    /// The answer to the write.
    pub fn json<T: Serialize>(&self, status: StatusCode, value: &T) -> Response {
        let mut response = call::json(status, self.revision, value);
        if self.replayed {
            response
                .headers_mut()
                .insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }

    /// The answer to a write that left an object behind, at the version of this write.
    pub fn object<T: Serialize>(&self, status: StatusCode, value: &T) -> Response {
        let mut response = self.json(status, value);
        response.headers_mut().insert(header::ETAG, etag(self.revision));
        response
    }

    /// An outcome that does not belong to the command: a defect, told as one.
    pub fn unexpected(&self) -> Problem {
        tracing::error!(outcome = ?self.outcome, revision = self.revision, "an outcome of another command");
        Problem::new(
            Code::Internal,
            "the change was made, but its answer was not understood: read to see it",
        )
    }
}
