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

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use futures::FutureExt as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::Replica;
use crate::{
    command::{Command, ContainerCommand},
    engine::{
        Endpoint, EngineAccess,
        adopt::{self, Order, Standing},
    },
    model::{
        Container, ContainerId, ContainerState, EngineId, EngineState, Found, FoundState, JoinRole,
        JoinToken, JoinTokenId, MAY_ADOPT, Millis, SecretHash, Selector,
    },
    state::State,
    telemetry::ADOPTIONS,
};

pub use crate::engine::{Program, ProgramError};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// The longest one attempt may take in all.
const ATTEMPT: Duration = Duration::from_secs(180);

/// Pauses between attempts at one container: they double from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long a runner that was started may take to join before it is looked at again.
const JOINING: Duration = Duration::from_secs(10);

/// How long its join token is good for.
const TOKEN_LIFE: Duration = Duration::from_secs(300);

/// How long a container must have had a runner until its failures are forgotten.
const SETTLED: Duration = Duration::from_secs(60);

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

/// What engines have told of their containers to this leader.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    running: Mutex<BTreeMap<(EngineId, String), Instant>>,
}

impl Sightings {
    /// Notes what an engine told.
    pub(super) fn note(&self, engine: EngineId, found: &[Found]) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for one in found {
            let key = (engine, one.container.clone());
            match one.state {
                FoundState::Running => {
                    running.entry(key).or_insert_with(Instant::now);
                }
                FoundState::Paused | FoundState::Dead => {
                    running.remove(&key);
                }
            }
        }
    }

    /// Forgets what an engine has no longer, be it known here or not.
    pub(super) fn keep(&self, engine: EngineId, has: impl Fn(&str) -> bool) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(of, theirs), _| *of != engine || has(theirs));
    }

    /// Since when a container is known to run; those of engines that are no longer watched are forgotten.
    fn running(&self, state: &State) -> BTreeMap<(EngineId, String), Instant> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(engine, _), _| state.engine(*engine).is_some());
        running.clone()
    }
}

pub(super) async fn run<R: Replica>(
    replica: R,
    access: EngineAccess,
    adopter: Arc<Adopter>,
    sightings: Arc<Sightings>,
) {
    let mut desk = Desk::default();
    loop {
        let state = replica.state();
        desk.forget(&state);
        for (container, engine) in desk.choose(&state, &sightings.running(&state), &access, &adopter) {
            let work = attempt(replica.clone(), adopter.clone(), container, engine);
            desk.work.spawn(work);
        }
        tokio::select! {
            Some(Ok((id, end))) = desk.work.join_next() => desk.ended(id, end),
            () = sleep(LOOK) => {}
        }
    }
}

/// What was tried in one container.
#[derive(Debug)]
struct Tried {
    engine: EngineId,
    under_way: bool,
    failures: u32,
    not_before: Instant,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There was nothing to do.
    Idle,
    /// A runner is in it, and has to join.
    Runs,
    Failed,
}

#[derive(Debug, Default)]
struct Desk {
    tried: BTreeMap<ContainerId, Tried>,
    work: JoinSet<(ContainerId, End)>,
}

impl Desk {
    /// Containers that are gone or have had a runner for long enough begin anew.
    fn forget(&mut self, state: &State) {
        let now = Instant::now();
        self.tried.retain(|id, tried| {
            let settled = |container: &Arc<Container>| {
                container.state == ContainerState::Ready && now > tried.not_before + SETTLED
            };
            tried.under_way || state.container(*id).is_some_and(|known| !settled(known))
        });
    }

    /// The containers to try now.
    fn choose(
        &mut self,
        state: &State,
        running: &BTreeMap<(EngineId, String), Instant>,
        access: &EngineAccess,
        adopter: &Adopter,
    ) -> Vec<(Arc<Container>, Endpoint)> {
        let now = Instant::now();
        let mut chosen = Vec::new();
        let mut busy: BTreeMap<EngineId, usize> = BTreeMap::new();
        for tried in self.tried.values().filter(|tried| tried.under_way) {
            *busy.entry(tried.engine).or_default() += 1;
        }
        for ((engine, theirs), since) in running {
            let known = state.engine_container(*engine, theirs);
            let known = known.filter(|known| {
                let meant = lacks_runner(known) && adopter.selector.matches(&known.labels);
                meant && *since + adopter.grace <= now
            });
            let Some(container) = known else {
                continue;
            };
            let Some(watched) = state
                .engine(*engine)
                .filter(|engine| engine.state != EngineState::Unreachable)
            else {
                continue;
            };
            let early = |tried: &Tried| tried.under_way || now < tried.not_before;
            let there = busy.entry(*engine).or_default();
            if *there >= adopter.at_once || self.tried.get(&container.id).is_some_and(early) {
                continue;
            }
            *there += 1;
            let tried = self.tried.entry(container.id).or_insert(Tried {
                engine: *engine,
                under_way: true,
                failures: 0,
                not_before: now,
            });
            tried.under_way = true;
            tried.engine = *engine;
            chosen.push((container.clone(), access.to(watched)));
        }
        chosen
    }

    /// Takes note of an attempt's end.
    fn ended(&mut self, id: ContainerId, end: End) {
        let Some(tried) = self.tried.get_mut(&id) else {
            return;
        };
        tried.under_way = false;
        let pause = RETRY
            .0
            .saturating_mul(2u32.saturating_pow(tried.failures))
            .min(RETRY.1);
        let pause = match end {
            // The engine tells when the container goes on; this is for news that were lost.
            End::Idle => RETRY.0,
            End::Runs => pause.max(JOINING),
            End::Failed => pause,
        };
        if end != End::Idle {
            tried.failures = tried.failures.saturating_add(1);
        }
        tried.not_before = Instant::now() + pause;
    }
}

/// Whether a runner may have to be brought in, if the container runs.
fn lacks_runner(container: &Container) -> bool {
    let refused = container.labels.get(MAY_ADOPT) == Some("false");
    let lacks = match container.state {
        ContainerState::Candidate | ContainerState::Registered => true,
        ContainerState::Ready => false,
        // A runner that came by itself may come again by itself.
        ContainerState::Suspect | ContainerState::Lost => container.adoption.is_some(),
    };
    lacks && !refused && container.engine.is_some()
}

/// Tries once, and tells what came of it.
async fn attempt<R: Replica>(
    replica: R,
    adopter: Arc<Adopter>,
    container: Arc<Container>,
    engine: Endpoint,
) -> (ContainerId, End) {
    let id = container.id;
    let attempt = Attempt {
        replica,
        adopter,
        container,
    };
    let run = AssertUnwindSafe(timeout(ATTEMPT, attempt.run(&engine))).catch_unwind();
    let end = match run.await {
        Ok(Ok(end)) => end,
        Ok(Err(_)) => {
            attempt
                .failed(format!("its engine did not do it within {ATTEMPT:?}"))
                .await
        }
        Err(_) => {
            tracing::error!(container = %attempt.container.name, "bringing a runner in panicked");
            End::Failed
        }
    };
    (id, end)
}

struct Attempt<R> {
    replica: R,
    adopter: Arc<Adopter>,
    container: Arc<Container>,
}

impl<R: Replica> Attempt<R> {
    async fn run(&self, engine: &Endpoint) -> End {
        let managers = (self.adopter.managers)();
        if managers.is_empty() {
            return End::Idle;
        }
        let Some(place) = &self.container.engine else {
            return End::Idle;
        };
        let order = Order {
            container: place.container.clone(),
            name: self.container.name.clone(),
            managers,
            program: self.adopter.program.clone(),
        };
        let prepared = match adopt::prepare(engine, &order).await {
            Ok(Standing::Prepared(prepared)) => prepared,
            Ok(Standing::Idle) => return End::Idle,
            Ok(Standing::Taken { brought }) => return self.taken(brought, &order.managers).await,
            Err(error) => return self.failed(error.to_string()).await,
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
        if !self.tell(true, Some(token), &reason).await {
            return End::Idle;
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
        let adopted = brought
            || self
                .container
                .adoption
                .as_ref()
                .is_some_and(|known| known.adopted);
        let reason = if adopted {
            format!("the runner that was brought in runs and has no session: can it reach {managers}?")
        } else {
            "it has a runner of its own, which has not joined: see that one's log".to_owned()
        };
        self.tell_news(adopted, &reason).await;
        End::Runs
    }

    async fn failed(&self, why: String) -> End {
        // An engine's words may be anything of any length.
        let reason: String = format!("no runner can be brought in: {why}")
            .chars()
            .filter(|c| !c.is_control())
            .take(400)
            .collect();
        metrics::counter!(ADOPTIONS, "result" => "failed").increment(1);
        if self.tell_news(false, &reason).await {
            tracing::warn!(container = %self.container.name, reason, "a container is not adopted");
        }
        End::Failed
    }

    /// Tells what the state does not say yet; whether there was anything to tell.
    async fn tell_news(&self, adopted: bool, reason: &str) -> bool {
        let state = self.replica.state();
        let known = state.container(self.container.id);
        let known = known.and_then(|known| known.adoption.as_ref());
        let news = known.is_none_or(|known| known.adopted != adopted || known.reason != reason);
        if news {
            self.tell(adopted, None, reason).await;
        }
        news
    }

    /// Whether it was taken note of.
    async fn tell(&self, adopted: bool, token: Option<JoinToken>, reason: &str) -> bool {
        let Some(place) = &self.container.engine else {
            return false;
        };
        let command = ContainerCommand::Adopt {
            id: self.container.id,
            engine_container: place.container.clone(),
            token,
            adopted,
            reason: reason.to_owned(),
        };
        match self.replica.propose(Command::Container(command)).await {
            Ok(reply) => match reply.result {
                Ok(_) => true,
                Err(rejection) => {
                    tracing::debug!(%rejection, "an adoption was overtaken");
                    false
                }
            },
            Err(error) => {
                tracing::warn!(%error, "an adoption was not confirmed");
                false
            }
        }
    }
}

#[cfg(test)]
#[path = "adopt_tests.rs"]
mod tests;
