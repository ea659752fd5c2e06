//! Brings runners into watched containers that have none.
//!
//! Which containers those are is told by the state (no runner has joined, or the one that was brought
//! in is silent) and by what engines have just told (the container runs). A container gets a grace to
//! start a runner of its own; one that did is left alone for ever. Whether a runner is in a container
//! after all, brought there by a leader before this one say, is looked at on its engine before every
//! attempt, so the loop may start anew at any time.
//!
//! At most so many attempts are under way on one engine, each with a bound: an engine that hangs holds
//! up its own containers only. Attempts at one container become rarer as they fail.
//!
//! What is not known is not failed: a runner that may have been started keeps its token, and whether a
//! runner was brought in is not forgotten because an engine did not answer.

use std::{
    collections::BTreeSet,
    fmt,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::FutureExt as _;
use tokio::time::{sleep, timeout};

use super::{
    Replica,
    adopt_desk::{Desk, End},
    adopt_sightings::Sightings,
};
use crate::{
    command::{Command, ContainerCommand, Loop, Rejection},
    engine::{
        Endpoint, EngineAccess,
        adopt::{self, Order, Standing},
    },
    model::{
        Adoption, Container, ContainerId, JoinRole, JoinToken, JoinTokenId, Millis, SecretHash, Selector,
    },
    state::MAX_TOKENS,
    telemetry::ADOPTIONS,
};

pub use crate::engine::{Program, ProgramError};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// The longest the engine may take until the binary is there and was tried out. What comes after has its
/// own, shorter bounds, and is not cut off between the start and the look at what became of it.
const PREPARED: Duration = Duration::from_secs(180);

/// How long its join token is good for.
const TOKEN_LIFE: Duration = Duration::from_secs(300);

/// A new join token: its id, its hash, and its text, which is secret.
pub struct Ticket {
    /// The public half.
    pub id: JoinTokenId,
    /// What is kept.
    pub hash: SecretHash,
    /// What the runner is given.
    pub text: String,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({}, hidden)", self.id)
    }
}

/// How runners are brought into containers.
pub struct Adopter {
    /// The static binary.
    pub program: Arc<Program>,
    /// Only containers with these labels.
    pub selector: Selector,
    /// How long a container may take to start a runner of its own.
    pub grace: Duration,
    /// Attempts under way on one engine.
    pub at_once: usize,
    /// Session addresses of managers, as containers reach them.
    pub managers: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Makes join tokens; `None` when the system has no randomness to give.
    pub ticket: Box<dyn Fn() -> Option<Ticket> + Send + Sync>,
}

impl fmt::Debug for Adopter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adopter")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

pub(super) async fn run<R: Replica>(
    replica: R,
    access: EngineAccess,
    adopter: Arc<Adopter>,
    sightings: Arc<Sightings>,
    term: u64,
) {
    let mut desk = Desk::default();
    loop {
        let state = replica.state();
        desk.forget(&state);
        for (container, engine) in desk.choose(&state, &sightings, &access, &adopter) {
            let attempt = Attempt {
                replica: replica.clone(),
                adopter: adopter.clone(),
                container,
                term,
            };
            desk.work.spawn(attempt.run_out(engine));
        }
        tokio::select! {
            Some(Ok((id, end))) = desk.work.join_next() => desk.ended(id, end),
            () = sleep(LOOK) => {}
        }
    }
}

/// One attempt at one container.
struct Attempt<R> {
    replica: R,
    adopter: Arc<Adopter>,
    /// As it was when the attempt began.
    container: Arc<Container>,
    /// The leader's.
    term: u64,
}

/// What the log made of what was told.
enum Told {
    Noted,
    Refused(Rejection),
    /// It may be noted yet.
    Unknown,
}

impl<R: Replica> Attempt<R> {
    /// Tries once, and tells what came of it. It always comes to an end, or its slot would stay taken.
    async fn run_out(self, engine: Endpoint) -> (ContainerId, End) {
        let end = AssertUnwindSafe(self.run(&engine)).catch_unwind().await;
        let end = end.unwrap_or_else(|_| {
            tracing::error!(container = %self.container.name, "bringing a runner in panicked");
            End::Failed
        });
        (self.container.id, end)
    }

    async fn run(&self, engine: &Endpoint) -> End {
        let managers = (self.adopter.managers)();
        let Some(place) = self.container.engine.as_ref().filter(|_| !managers.is_empty()) else {
            return End::Idle;
        };
        // Before anything is copied.
        if self.replica.state().join_tokens().count() >= MAX_TOKENS {
            let why = format!("the cluster holds {MAX_TOKENS} join tokens, its bound: remove some first");
            return self.failed(why).await;
        }
        let order = Order {
            container: place.container.clone(),
            name: self.container.name.clone(),
            managers,
            selector: self.adopter.selector.clone(),
            program: self.adopter.program.clone(),
        };
        let prepared = match timeout(PREPARED, adopt::prepare(engine, &order)).await {
            Ok(Ok(Standing::Prepared(prepared))) => prepared,
            Ok(Ok(Standing::Idle)) => return End::Idle,
            // Its labels stay as they are for as long as it lives.
            Ok(Ok(Standing::Unmeant)) => return End::Failed,
            Ok(Ok(Standing::Taken { brought })) => return self.taken(brought, &order.managers).await,
            Ok(Err(error)) => return self.failed(error.to_string()).await,
            Err(_) => {
                return self
                    .failed(format!("its engine did not do it within {PREPARED:?}"))
                    .await;
            }
        };
        let reason = match &prepared.last_words {
            Some(words) => format!("a manager has brought a runner in again; the last one ended: {words}"),
            None => "a manager has brought a runner in".to_owned(),
        };
        let Some(ticket) = (self.adopter.ticket)() else {
            return self.failed("the system has no randomness to give".into()).await;
        };
        let token = JoinToken {
            id: ticket.id,
            role: JoinRole::Runner,
            hash: ticket.hash,
            expires_at: Some(self.clock().after(TOKEN_LIFE)),
            uses_left: Some(1),
            version: 0,
        };
        // Without its token noted it could not join.
        match self.tell(true, Some(token), &reason).await {
            Told::Noted => {}
            // It is another's by now, or gone.
            Told::Refused(Rejection::Busy(_) | Rejection::NotFound { .. }) | Told::Unknown => {
                return End::Failed;
            }
            Told::Refused(rejection) => return self.failed(rejection.to_string()).await,
        }
        if let Err(error) = prepared.start(&ticket.text).await {
            return self.failed(error.to_string()).await;
        }
        tracing::info!(container = %self.container.name, reason, "a container is adopted");
        metrics::counter!(ADOPTIONS, "result" => "started").increment(1);
        End::Runs
    }

    /// This machine's clock; log time stands still while nothing is written.
    fn clock(&self) -> Millis {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Millis::default().after(since).max(self.replica.state().now())
    }

    /// A runner is in the container and has not joined, or is silent.
    async fn taken(&self, brought: bool, managers: &[String]) -> End {
        let managers: BTreeSet<_> = managers.iter().map(String::as_str).collect();
        let managers = managers.into_iter().collect::<Vec<_>>().join(", ");
        let adopted = brought || self.was_adopted();
        let reason = if adopted {
            format!("the runner that was brought in runs and has no session: can it reach {managers}?")
        } else {
            "it has a runner of its own, which has not joined: see that one's log".to_owned()
        };
        self.tell_news(adopted, &reason).await;
        End::Runs
    }

    /// Whether its runner, if it had one when the attempt began, was brought in.
    fn was_adopted(&self) -> bool {
        let known = self.container.adoption.as_ref();
        known.is_some_and(|known| known.adopted)
    }

    /// That a runner was brought in stays as true as it was: this attempt has changed nothing of it.
    async fn failed(&self, why: String) -> End {
        // An engine's words may be anything of any length.
        let reason: String = format!("no runner can be brought in: {why}")
            .chars()
            .filter(|c| !c.is_control())
            .take(400)
            .collect();
        metrics::counter!(ADOPTIONS, "result" => "failed").increment(1);
        if self.tell_news(self.was_adopted(), &reason).await {
            tracing::warn!(container = %self.container.name, reason, "a container is not adopted");
        }
        End::Failed
    }

    /// Tells what the state does not say yet; whether there was anything to tell.
    async fn tell_news(&self, adopted: bool, reason: &str) -> bool {
        let state = self.replica.state();
        let known = state.container(self.container.id);
        let known = known.and_then(|known| known.adoption.as_ref());
        let told = |known: &Adoption| known.adopted == adopted && known.reason == reason;
        let news = !known.is_some_and(told);
        if news {
            self.tell(adopted, None, reason).await;
        }
        news
    }

    async fn tell(&self, adopted: bool, token: Option<JoinToken>, reason: &str) -> Told {
        let Some(place) = &self.container.engine else {
            return Told::Unknown;
        };
        let command = ContainerCommand::Adopt {
            id: self.container.id,
            engine_container: place.container.clone(),
            token,
            adopted,
            reason: reason.to_owned(),
            term: self.term,
        };
        match self
            .replica
            .propose(Loop::Adopt, Command::Container(command))
            .await
        {
            Ok(reply) => match reply.result {
                Ok(_) => Told::Noted,
                Err(rejection) => {
                    tracing::debug!(%rejection, "an adoption was refused");
                    Told::Refused(rejection)
                }
            },
            Err(error) => {
                tracing::warn!(%error, "an adoption was not confirmed");
                Told::Unknown
            }
        }
    }
}

#[cfg(test)]
#[path = "adopt_tests.rs"]
mod tests;
