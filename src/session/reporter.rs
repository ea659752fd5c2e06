//! The reports of one session on their way into the log: the latest of each placement, one proposal at a
//! time, in order, and again until one is answered.
//!
//! To repeat a report is safe: apply takes it as what is observed under an epoch, not as an event.

use std::{collections::BTreeMap, future::pending, time::Duration};

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use crate::{
    command::{Rejection, Reply},
    consensus::ProposeError,
    model::{PlacementId, session::PlacementReport},
};

/// Reports of one proposal, at most.
pub(super) const BATCH: usize = 200;

/// Characters of a reason that are passed on; apply keeps no more.
const REASON: usize = 512;

/// The bounds of the pauses after proposals that were not answered.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

type Answer = Result<Reply, ProposeError>;

/// Reports on their way.
#[derive(Default)]
pub(super) struct Reporter {
    waiting: BTreeMap<PlacementId, PlacementReport>,
    /// What is under way.
    sent: Vec<PlacementReport>,
    under_way: Option<BoxFuture<'static, Answer>>,
    pause: Option<(Instant, Duration)>,
}

impl Reporter {
    /// Takes a report in, unless one under a later epoch is here already.
    pub(super) fn add(&mut self, report: PlacementReport) {
        let known = self.waiting.get(&report.placement);
        if known.is_none_or(|known| known.epoch <= report.epoch) {
            self.waiting.insert(report.placement, report);
        }
    }

    /// Carries reports to the log for as long as they are taken; ends with the rejection of one. May
    /// be dropped and called again at any point.
    pub(super) async fn run(
        &mut self,
        propose: impl Fn(Vec<PlacementReport>) -> BoxFuture<'static, Answer>,
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

    fn take(&mut self) -> Vec<PlacementReport> {
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
                .get(&report.placement)
                .is_some_and(|n| n.epoch >= report.epoch);
            if !newer {
                self.waiting.insert(report.placement, report);
            }
        }
    }
}

/// A report as it goes into the log.
pub(super) fn bounded(mut report: PlacementReport) -> PlacementReport {
    if let Some((end, _)) = report.reason.char_indices().nth(REASON) {
        report.reason.truncate(end);
    }
    report
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::time::timeout;

    use super::*;
    use crate::{
        command::Outcome,
        model::{AgentId, AgentState, ReplicaId, Revision},
    };

    fn report(n: u64, epoch: Revision, state: AgentState) -> PlacementReport {
        PlacementReport {
            placement: PlacementId(n),
            replica: ReplicaId {
                agent: AgentId(n),
                ordinal: 1,
            },
            epoch,
            generation: 1,
            state,
            reason: String::new(),
            restarts: 0,
        }
    }

    /// A log that answers as it is told, and keeps what was proposed.
    #[derive(Clone, Default)]
    struct Log {
        proposed: Arc<Mutex<Vec<Vec<PlacementReport>>>>,
        answers: Arc<Mutex<Vec<Answer>>>,
    }

    impl Log {
        fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
            let mut answers: Vec<_> = answers.into_iter().collect();
            answers.reverse();
            Self {
                answers: Arc::new(Mutex::new(answers)),
                ..Self::default()
            }
        }

        /// Runs the reporter until it has nothing more to do; a rejection ends it.
        async fn drain(&self, reporter: &mut Reporter) -> Option<Rejection> {
            let propose = |reports: Vec<PlacementReport>| -> BoxFuture<'static, Answer> {
                self.proposed.lock().unwrap().push(reports);
                let answer = self.answers.lock().unwrap().pop();
                Box::pin(async move {
                    // Without an answer it hangs, as a proposal does for a while.
                    match answer {
                        Some(answer) => answer,
                        None => pending().await,
                    }
                })
            };
            timeout(Duration::from_secs(60), reporter.run(propose)).await.ok()
        }

        fn proposed(&self) -> Vec<Vec<PlacementReport>> {
            self.proposed.lock().unwrap().clone()
        }
    }

    fn taken() -> Answer {
        Ok(Reply {
            revision: 1,
            replayed: false,
            result: Ok(Outcome::Done),
        })
    }

    use AgentState::{Failed, Running, Starting};

    #[tokio::test(start_paused = true)]
    async fn what_gathers_meanwhile_is_one_proposal_with_the_latest_of_each() {
        let log = Log::default();
        let mut reporter = Reporter::default();
        reporter.add(report(1, 5, Starting));
        assert_eq!(log.drain(&mut reporter).await, None);
        reporter.add(report(1, 5, Running));
        reporter.add(report(2, 5, Starting));
        reporter.add(report(2, 5, Running));
        reporter.add(report(2, 4, Failed));
        assert_eq!(log.drain(&mut reporter).await, None);
        assert_eq!(log.proposed().len(), 1, "one at a time");

        // The first one is answered.
        reporter.under_way = Some(Box::pin(async { taken() }));
        log.drain(&mut reporter).await;
        assert_eq!(log.proposed()[1], [report(1, 5, Running), report(2, 5, Running)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_confirmed_is_proposed_again_until_it_is() {
        let lost = || Err(ProposeError::Unknown("no quorum".into()));
        let log = Log::answering([lost(), Err(ProposeError::Overloaded), lost(), taken()]);
        let mut reporter = Reporter::default();
        reporter.add(report(1, 5, Running));
        let began = Instant::now();
        assert_eq!(log.drain(&mut reporter).await, None);
        assert_eq!(log.proposed(), vec![vec![report(1, 5, Running)]; 4]);
        assert!(began.elapsed() > FIRST_PAUSE, "it waits between attempts");
        assert!(reporter.waiting.is_empty() && reporter.sent.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_newer_report_is_not_undone_by_one_that_comes_back() {
        let mut reporter = Reporter {
            sent: vec![report(1, 5, Starting), report(2, 5, Starting)],
            ..Reporter::default()
        };
        reporter.add(report(1, 5, Running));
        reporter.put_back(&ProposeError::Stopping);
        let log = Log::answering([taken()]);
        log.drain(&mut reporter).await;
        assert_eq!(log.proposed(), [[report(1, 5, Running), report(2, 5, Starting)]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejection_ends_it_and_large_batches_are_cut() {
        let over = Rejection::Busy("over".into());
        let rejected = Ok(Reply {
            result: Err(over.clone()),
            revision: 2,
            replayed: false,
        });
        let log = Log::answering([taken(), rejected]);
        let mut reporter = Reporter::default();
        for agent in 0..=BATCH as u64 {
            let reason = "ä".repeat(2 * REASON);
            reporter.add(PlacementReport {
                reason,
                ..report(agent, 5, Running)
            });
        }
        assert_eq!(log.drain(&mut reporter).await, Some(over));
        let sizes: Vec<_> = log.proposed().iter().map(Vec::len).collect();
        assert_eq!(sizes, [BATCH, 1]);
        assert_eq!(log.proposed()[1][0].reason, "ä".repeat(REASON));
    }
}
