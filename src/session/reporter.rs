//! The reports of one session on their way into the log: the latest of each agent, one proposal at a
//! time, in order, and again until one is answered.
//!
//! To repeat a report is safe: apply takes it as what is observed under an epoch, not as an event.

use std::{collections::BTreeMap, future::pending, time::Duration};

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use crate::{
    command::{Rejection, Reply},
    consensus::ProposeError,
    model::{AgentId, session::AgentReport},
};

/// Reports of one proposal, at most.
pub(super) const BATCH: usize = 512;

/// Characters of a reason that are passed on; apply keeps no more.
const REASON: usize = 512;

/// The bounds of the pauses after proposals that were not answered.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

type Answer = Result<Reply, ProposeError>;

/// Reports on their way.
#[derive(Default)]
pub(super) struct Reporter {
    waiting: BTreeMap<AgentId, AgentReport>,
    /// What is under way.
    sent: Vec<AgentReport>,
    under_way: Option<BoxFuture<'static, Answer>>,
    pause: Option<(Instant, Duration)>,
}

impl Reporter {
    /// Takes a report in, unless one of a later placement is here already.
    pub(super) fn add(&mut self, report: AgentReport) {
        let known = self.waiting.get(&report.agent);
        if known.is_none_or(|known| known.epoch <= report.epoch) {
            self.waiting.insert(report.agent, report);
        }
    }

    /// Carries reports to the log for as long as they are taken; ends with the rejection of one. May
    /// be dropped and called again at any point.
    pub(super) async fn run(
        &mut self,
        propose: impl Fn(Vec<AgentReport>) -> BoxFuture<'static, Answer>,
    ) -> Rejection {
        loop {
            if self.under_way.is_none() {
                if self.waiting.is_empty() {
                    return pending().await;
                }
                if let Some((until, _)) = self.pause {
                    sleep_until(until).await;
                }
                self.sent = self.take();
                self.under_way = Some(propose(self.sent.clone()));
            }
            let Some(under_way) = &mut self.under_way else {
                continue;
            };
            let answer = under_way.await;
            self.under_way = None;
            match answer {
                Ok(reply) => {
                    self.sent.clear();
                    self.pause = None;
                    if let Err(rejection) = reply.result {
                        return rejection;
                    }
                }
                Err(error) => self.put_back(&error),
            }
        }
    }

    fn take(&mut self) -> Vec<AgentReport> {
        let mut taken = Vec::new();
        while taken.len() < BATCH
            && let Some((_, report)) = self.waiting.pop_first()
        {
            taken.push(bounded(report));
        }
        taken
    }

    fn put_back(&mut self, error: &ProposeError) {
        let pause = self
            .pause
            .map_or(FIRST_PAUSE, |(_, last)| (last * 2).min(LONGEST_PAUSE));
        tracing::debug!(%error, ?pause, "reports were not confirmed; they are proposed again");
        self.pause = Some((
            Instant::now() + pause.mul_f64(rand::random_range(0.5..1.0)),
            pause,
        ));
        for report in std::mem::take(&mut self.sent) {
            let newer = self
                .waiting
                .get(&report.agent)
                .is_some_and(|n| n.epoch >= report.epoch);
            if !newer {
                self.waiting.insert(report.agent, report);
            }
        }
    }
}

/// A report as it goes into the log.
pub(super) fn bounded(mut report: AgentReport) -> AgentReport {
    if let Some((end, _)) = report.reason.char_indices().nth(REASON) {
        report.reason.truncate(end);
    }
    report
}
