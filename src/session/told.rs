//! Reports of one session on their way into the log.
//!
//! The latest of each agent is kept until a proposal with it was taken; what waits goes in one
//! proposal. Sending the same again does no harm: apply compares it with what is known, and refuses
//! what speaks of another start or another placement.

use std::{collections::BTreeMap, pin::Pin, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{
    command::{AgentCommand, Command, Rejection, Reply},
    consensus::{Consensus, ProposeError},
    model::{AgentId, ContainerId, session::AgentReport},
};

/// Agents a runner may speak of at once; far more than a container holds.
pub(super) const MOST: usize = 10_000;

/// Reports in one proposal.
const BATCH: usize = 512;

/// The bounds of the pauses after a proposal that was not taken.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

type Proposing = Pin<Box<dyn Future<Output = (Vec<AgentReport>, Result<Reply, ProposeError>)> + Send>>;

/// What one runner told.
pub(super) struct Told {
    consensus: Consensus,
    container: ContainerId,
    boot: u64,
    waiting: BTreeMap<AgentId, AgentReport>,
    proposing: Option<Proposing>,
    pause: Duration,
    not_before: Instant,
}

impl Told {
    pub(super) fn new(consensus: Consensus, container: ContainerId, boot: u64) -> Self {
        Self {
            consensus,
            container,
            boot,
            waiting: BTreeMap::new(),
            proposing: None,
            pause: FIRST_PAUSE,
            not_before: Instant::now(),
        }
    }

    /// Takes reports in; false when they are of more agents than any runner has.
    pub(super) fn take(&mut self, reports: impl IntoIterator<Item = AgentReport>) -> bool {
        self.waiting
            .extend(reports.into_iter().map(|report| (report.agent, report)));
        self.waiting.len() <= MOST
    }

    /// Brings what waits into the log. Returns when a proposal was refused for good: the session is
    /// then not the container's current one. Safe to cancel and call again.
    pub(super) async fn bring(&mut self) -> Rejection {
        loop {
            if self.proposing.is_none() {
                if self.waiting.is_empty() {
                    return std::future::pending().await;
                }
                sleep_until(self.not_before).await;
                self.propose();
            }
            let Some(proposing) = &mut self.proposing else {
                continue;
            };
            let (batch, result) = proposing.await;
            self.proposing = None;
            match result {
                Ok(Reply {
                    result: Err(rejection),
                    ..
                }) => return rejection,
                Ok(_) => self.pause = FIRST_PAUSE,
                // Also when its fate is unknown: what is told twice is no harm.
                Err(error) => {
                    tracing::debug!(container = %self.container, %error, "reports are sent again");
                    for report in batch {
                        self.waiting.entry(report.agent).or_insert(report);
                    }
                    self.not_before = Instant::now() + self.pause.mul_f64(rand::random::<f64>());
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn propose(&mut self) {
        let rest = match self.waiting.keys().nth(BATCH).copied() {
            Some(key) => self.waiting.split_off(&key),
            None => BTreeMap::new(),
        };
        let batch: Vec<_> = std::mem::replace(&mut self.waiting, rest).into_values().collect();
        let command = Command::Agent(AgentCommand::Report {
            container: self.container,
            boot: self.boot,
            reports: batch.clone(),
        });
        let consensus = self.consensus.clone();
        self.proposing = Some(Box::pin(async move {
            let result = consensus.propose(None, command).await;
            (batch, result)
        }));
    }
}
