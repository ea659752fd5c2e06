//! Judges containers by the heartbeats of their runners.
//!
//! Heartbeats never enter the log. Each manager sends the leader a digest of them, the leader counts
//! it in a [`LivenessTable`] on its own monotonic clock, and this loop proposes what follows: a
//! container that turns suspect, lost, fenced, or ready again. When too many fall silent together
//! (`breaker`) it proposes that instead, and until they are back or an operator lifts the breaker none is
//! lost by silence: neither proposed here nor taken by apply.
//!
//! Why a fenced container's agents have stopped: the runner counts from the sending of the last
//! heartbeat that was acknowledged, the leader from its receipt, and the runner's limit is the
//! shorter. A verdict only counts in the term it was made in (`Judge` names it), and a new leader
//! grants everything a fresh window, as does one that finds it was itself asleep.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{Replica, breaker};
use crate::{
    command::{Command, ContainerCommand, Loop},
    model::{Container, ContainerId, ContainerState, ManagerId, Revision},
    peers::{Question, QuestionId},
    plan::{self, Judgement, Quiet, Tally, Windows},
    state::State,
};

/// How often the loop looks.
const PERIOD: Duration = Duration::from_millis(250);

/// Waking this much too late means the process was stopped: silences measured across it mean nothing.
const ASLEEP: Duration = Duration::from_secs(1);

/// Verdicts proposed and not answered yet, at most.
const IN_FLIGHT: usize = 256;

/// Runners that no manager has told of for this long are forgotten.
const FORGET: Duration = Duration::from_secs(300);

/// Between two looks for what is to be forgotten.
const TIDY: Duration = Duration::from_secs(60);

/// Which runners of one manager sent a heartbeat: each with its session's latest `seq`. As a question to the
/// leader it is answered once the leader has counted it and a quorum has confirmed it after that.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    /// Who sends it.
    pub from: ManagerId,
    /// Container, start of its runner, latest heartbeat.
    pub heartbeats: Vec<(ContainerId, u64, u64)>,
}

impl Question for Digest {
    const ID: QuestionId = QuestionId(50);
    type Answer = ();
}

/// When each runner was last heard, on this manager's monotonic clock. Only the leader's says anything.
#[derive(Debug, Default)]
pub struct LivenessTable {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    granted: Option<Instant>,
    heard: HashMap<(ContainerId, u64), Heard>,
}

#[derive(Debug)]
struct Heard {
    at: Instant,
    /// When a manager last told of it, be it with nothing new: while one repeats a heartbeat, its number
    /// must be known, or the repetition would pass for a sign of life.
    told: Instant,
    /// The latest heartbeat that each manager told of. A manager repeats it in digest after digest;
    /// only another number is a new sign of life. Numbers start again with each session.
    seqs: Vec<(ManagerId, u64)>,
}

impl LivenessTable {
    /// Counts the heartbeats of a digest as heard now. Call it before the quorum round that confirms
    /// this leader, and acknowledge the digest only after that round.
    pub fn count(&self, digest: &Digest) {
        self.count_at(digest, Instant::now());
    }

    fn count_at(&self, digest: &Digest, now: Instant) {
        let mut inner = self.lock();
        for (container, boot, seq) in &digest.heartbeats {
            let heard = inner.heard.entry((*container, *boot)).or_insert_with(|| Heard {
                at: now,
                told: now,
                seqs: Vec::new(),
            });
            heard.told = now;
            match heard.seqs.iter_mut().find(|(from, _)| *from == digest.from) {
                Some((_, known)) if *known == *seq => continue,
                Some((_, known)) => *known = *seq,
                None => heard.seqs.push((digest.from, *seq)),
            }
            heard.at = now;
        }
    }

    /// Grants everything a fresh window.
    pub(super) fn grant(&self, now: Instant) {
        self.lock().granted = Some(now);
    }

    /// Forgets runners that nobody speaks of any more, and those of removed containers.
    fn tidy(&self, state: &State, now: Instant) {
        self.lock().heard.retain(|(container, _), heard| {
            let fresh = now.saturating_duration_since(heard.told) < FORGET;
            fresh && state.container(*container).is_some()
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held; if something did, the table still only holds times.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the loop remembers of a container between its looks.
#[derive(Debug)]
struct Seen {
    /// Which session it had. A new one, like a new leader, starts a fresh window.
    connected: Revision,
    granted: Instant,
    state: ContainerState,
    /// Since when it is in this state, as far as this leader saw.
    since: Instant,
    /// When its silence passed the suspect window; `None` while it is heard, and for one that was lost
    /// before this leader heard of it.
    fell: Option<Instant>,
}

/// What one look found.
#[derive(Debug)]
struct Look {
    /// The verdicts that are due.
    verdicts: Vec<(Arc<Container>, Judgement)>,
    /// How many are silent.
    tally: Tally,
}

/// The containers as the loop saw them last.
#[derive(Debug, Default)]
struct Watched {
    seen: BTreeMap<ContainerId, Seen>,
}

impl Watched {
    /// Judges each container. None is called lost while the breaker is open, would open now or, as the
    /// caller knows, is `opening`.
    fn look(
        &mut self,
        state: &State,
        table: &LivenessTable,
        windows: &Windows,
        opening: bool,
        now: Instant,
    ) -> Look {
        if self.seen.len() > 2 * state.containers(None).count() {
            self.seen.retain(|id, _| state.container(*id).is_some());
        }
        let inner = table.lock();
        let mut signs = Vec::new();
        for container in state.containers(None).filter(|c| c.boot != 0) {
            let seen = self.note(container, now);
            let heard = inner.heard.get(&(container.id, container.boot)).map(|h| h.at);
            let alive = [heard, inner.granted, Some(seen.granted)]
                .into_iter()
                .flatten()
                .max();
            let silence = alive.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
            let back_for = heard.map_or(Duration::ZERO, |at| at.saturating_duration_since(seen.since));
            let fell = seen.fall(silence, windows, now);
            signs.push((container, Quiet { silence, fell }, back_for));
        }
        drop(inner);
        let quiet = signs.iter().map(|(container, quiet, _)| (&***container, *quiet));
        let tally = plan::tally(state.breaker(), windows, quiet);
        let one_of_many = opening || state.breaker().open.is_some() || tally.is_mass(&windows.mass);
        let judged = signs.into_iter().filter_map(|(container, quiet, back_for)| {
            let judgement = plan::judge(container, quiet.silence, back_for, one_of_many, windows)?;
            Some((container.clone(), judgement))
        });
        Look {
            verdicts: judged.collect(),
            tally,
        }
    }

    fn note(&mut self, container: &Container, now: Instant) -> &mut Seen {
        let seen = self.seen.entry(container.id).or_insert_with(|| Seen {
            connected: container.connected,
            granted: now,
            state: container.state,
            since: now,
            fell: None,
        });
        if seen.connected != container.connected {
            seen.connected = container.connected;
            seen.granted = now;
        }
        if seen.state != container.state {
            seen.state = container.state;
            seen.since = now;
        }
        seen
    }
}

impl Seen {
    /// How long ago it fell silent. A lost one falls no more: it stays fallen, or was lost before.
    fn fall(&mut self, silence: Duration, windows: &Windows, now: Instant) -> Option<Duration> {
        match silence.checked_sub(windows.suspect) {
            None => self.fell = None,
            Some(ago) if self.fell.is_none() && self.state != ContainerState::Lost => {
                self.fell = now.checked_sub(ago);
            }
            Some(_) => {}
        }
        self.fell.map(|at| now.saturating_duration_since(at))
    }
}

pub(super) async fn run<R: Replica>(replica: R, table: Arc<LivenessTable>, windows: Windows, term: u64) {
    let mut watched = Watched::default();
    let mut breaker = breaker::Watch::default();
    let mut breaking = JoinSet::new();
    let mut proposing = JoinSet::new();
    let mut in_flight = BTreeSet::new();
    let mut due = Instant::now() + PERIOD;
    let mut tidy_at = due;
    loop {
        sleep_until(due).await;
        let now = Instant::now();
        let late = now.saturating_duration_since(due);
        due = now + PERIOD;
        while let Some(answered) = proposing.try_join_next() {
            match answered {
                Ok(id) => in_flight.remove(&id),
                // A proposal task does not panic; if one did, its container may be judged again.
                Err(_) => {
                    in_flight.clear();
                    false
                }
            };
        }
        if late > ASLEEP {
            tracing::warn!(
                ?late,
                "this manager was stopped for a while: silences are counted anew"
            );
            table.grant(now);
            breaker.begin_again();
            continue;
        }
        while breaking.try_join_next().is_some() {}
        let state = replica.state();
        if now >= tidy_at {
            table.tidy(&state, now);
            tidy_at = now + TIDY;
        }
        let Look { verdicts, tally } = watched.look(&state, &table, &windows, !breaking.is_empty(), now);
        let change = breaker.look(state.breaker(), &tally, &windows.mass, term, now);
        if let Some(change) = change.filter(|_| breaking.is_empty()) {
            breaking.spawn(breaker::propose(replica.clone(), change));
        }
        for (container, judgement) in verdicts {
            if in_flight.len() == IN_FLIGHT {
                break;
            }
            if in_flight.insert(container.id) {
                proposing.spawn(propose(replica.clone(), term, container, judgement));
            }
        }
    }
}

async fn propose<R: Replica>(
    replica: R,
    term: u64,
    container: Arc<Container>,
    judgement: Judgement,
) -> ContainerId {
    let Judgement {
        state,
        fenced,
        reason,
    } = judgement;
    tracing::info!(container = %container.name, ?state, fenced, %reason, "a container is judged");
    let command = ContainerCommand::Judge {
        id: container.id,
        version: container.version,
        term,
        state,
        fenced,
        reason,
    };
    match replica.propose(Loop::Liveness, Command::Container(command)).await {
        Ok(reply) => {
            if let Err(rejection) = reply.result {
                tracing::debug!(container = %container.name, %rejection, "the verdict came too late");
            }
        }
        Err(error) => {
            tracing::warn!(container = %container.name, %error, "a verdict was not confirmed");
        }
    }
    container.id
}

#[cfg(test)]
#[path = "liveness_tests.rs"]
mod tests;
