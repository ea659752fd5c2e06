//! What a session's runner finds in its container, on its way into the log: the latest, one proposal at a
//! time, not too often, and only when it says something new.
//!
//! A runner's word is bounded before it is proposed, and a bound that it broke is told once a session.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::roster::Handle;
use crate::{
    command::{Command, ContainerCommand, Rejection, Reply},
    consensus::ProposeError,
    model::{Assessment, ContainerId, Resources},
    state::State,
};

/// Between proposals of one session at least, whatever its runner sends. A runner looks once a minute.
const PAUSE: Duration = Duration::from_secs(5);

type Answer = Result<Reply, ProposeError>;

/// The assessment on its way.
#[derive(Default)]
pub(super) struct Assessed {
    waiting: Option<Assessment>,
    /// What is under way.
    sent: Option<Assessment>,
    under_way: Option<BoxFuture<'static, Answer>>,
    not_before: Option<Instant>,
    complained: bool,
}

impl Assessed {
    /// Takes one in, in the place of an earlier one.
    pub(super) fn add(&mut self, handle: &Handle, found: Assessment) {
        self.waiting = Some(within_bounds(handle.container, found, &mut self.complained));
    }

    /// Carries what waits to the log for as long as it is taken; ends with a rejection. May be dropped and
    /// called again at any point.
    pub(super) async fn run(
        &mut self,
        state: impl Fn() -> Arc<State>,
        handle: &Handle,
        propose: impl Fn(Command) -> BoxFuture<'static, Answer>,
    ) -> Rejection {
        loop {
            if self.under_way.is_none() {
                if self.waiting.is_none() {
                    return std::future::pending().await;
                }
                if let Some(at) = self.not_before {
                    sleep_until(at).await;
                }
                let Some(found) = self.waiting.take() else {
                    continue;
                };
                if !is_news(&state(), handle.container, handle.boot, &found) {
                    continue;
                }
                self.not_before = Some(Instant::now() + PAUSE);
                self.under_way = Some(propose(command(handle.container, handle.boot, found.clone())));
                self.sent = Some(found);
            }
            let Some(under_way) = &mut self.under_way else {
                continue;
            };
            let answer = under_way.await;
            self.under_way = None;
            let sent = self.sent.take();
            match answer {
                Ok(reply) => {
                    if let Err(rejection) = reply.result {
                        return rejection;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "an assessment was not confirmed; it is proposed again");
                    // What came meanwhile is newer.
                    self.waiting = self.waiting.take().or(sent);
                }
            }
        }
    }
}

/// The command that keeps it.
pub(super) fn command(id: ContainerId, boot: u64, assessment: Assessment) -> Command {
    Command::Container(ContainerCommand::Assess { id, boot, assessment })
}

/// Whether it says something that this manager does not know yet.
pub(super) fn is_news(state: &State, id: ContainerId, boot: u64, found: &Assessment) -> bool {
    let known = state.container(id).filter(|container| container.boot == boot);
    let known = known.and_then(|container| container.assessment.as_ref());
    known.is_none_or(|known| known.number < found.number && !known.says_the_same(found))
}

/// An assessment as it goes into the log; a runner that lied gets one line in it.
pub(super) fn within_bounds(id: ContainerId, found: Assessment, complained: &mut bool) -> Assessment {
    let (bounded, cut) = found.bounded();
    if !cut.is_empty() && !std::mem::replace(complained, true) {
        tracing::warn!(
            container = %id,
            "its runner says what no machine has, or too much; cut to what is possible: {}",
            cut.join(", ")
        );
    }
    bounded
}

/// What a container can host, as it goes into the log.
pub(super) fn possible(id: ContainerId, told: Resources) -> Resources {
    let bounded = told.bounded();
    if bounded != told {
        tracing::warn!(container = %id, ?told, "its runner says that it can host more than any machine has; cut to what is possible");
    }
    bounded
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::Mutex};

    use tokio::time::timeout;

    use super::*;
    use crate::{command::Outcome, state::bench::StateBench};

    const ONE: ContainerId = ContainerId(1);

    fn found(number: u64, kernel: &str) -> Assessment {
        Assessment {
            number,
            kernel: kernel.into(),
            ..Assessment::default()
        }
    }

    /// A log that takes what it is told to, and the state that comes of it.
    struct Log {
        bench: Mutex<StateBench>,
        proposed: Mutex<Vec<u64>>,
        answers: Mutex<Vec<bool>>,
    }

    impl Log {
        fn answering(answers: &[bool]) -> Self {
            Self {
                bench: Mutex::new(StateBench::with_containers(1)),
                proposed: Mutex::default(),
                answers: Mutex::new(answers.iter().rev().copied().collect()),
            }
        }

        async fn drain(&self, assessed: &mut Assessed) -> Option<Rejection> {
            let handle = Handle::new(ONE, 1);
            let propose = |command: Command| -> BoxFuture<'static, Answer> {
                let Command::Container(ContainerCommand::Assess { assessment, .. }) = &command else {
                    panic!("{command:?}");
                };
                self.proposed.lock().unwrap().push(assessment.number);
                let answer = self.answers.lock().unwrap().pop();
                if answer == Some(true) {
                    self.bench.lock().unwrap().apply(command).unwrap();
                }
                Box::pin(async move {
                    match answer {
                        Some(true) => Ok(Reply {
                            revision: 1,
                            replayed: false,
                            result: Ok(Outcome::Done),
                        }),
                        Some(false) => Err(ProposeError::Overloaded),
                        None => pending().await,
                    }
                })
            };
            let state = || Arc::new(self.bench.lock().unwrap().state.clone());
            let run = assessed.run(state, &handle, propose);
            timeout(Duration::from_secs(60), run).await.ok()
        }

        fn proposed(&self) -> Vec<u64> {
            self.proposed.lock().unwrap().clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_news_enter_the_log_and_the_latest_is_enough() {
        let (log, handle) = (Log::answering(&[true; 9]), Handle::new(ONE, 1));
        let mut assessed = Assessed::default();
        for (number, kernel) in [(1, "6.1"), (2, "6.2"), (3, "6.2"), (4, "6.3")] {
            assessed.add(&handle, found(number, kernel));
            if number == 1 || number == 2 {
                assert_eq!(log.drain(&mut assessed).await, None);
            }
        }
        assert_eq!(log.drain(&mut assessed).await, None);
        assert_eq!(log.proposed(), [1, 2, 4], "3 was overtaken");
        for (number, kernel) in [(5, "6.3"), (3, "6.0")] {
            assessed.add(&handle, found(number, kernel));
            assert_eq!(log.drain(&mut assessed).await, None);
        }
        assert_eq!(log.proposed(), [1, 2, 4], "the same, or older");
    }

    #[tokio::test(start_paused = true)]
    async fn a_runner_that_always_says_something_else_is_slowed_down() {
        let (log, handle) = (Log::answering(&[true; 99]), Handle::new(ONE, 1));
        let mut assessed = Assessed::default();
        let began = Instant::now();
        for number in 1..=4 {
            assessed.add(&handle, found(number, &number.to_string()));
            let drained = log.drain(&mut assessed);
            let _ = timeout(Duration::from_millis(1), drained).await;
        }
        assert_eq!((log.proposed(), began.elapsed() < PAUSE), (vec![1], true));
        assert_eq!(log.drain(&mut assessed).await, None);
        assert_eq!(log.proposed(), [1, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_confirmed_is_proposed_again_unless_a_newer_one_came() {
        let (log, handle) = (Log::answering(&[false, false, true]), Handle::new(ONE, 1));
        let mut assessed = Assessed::default();
        assessed.add(&handle, found(1, "a"));
        assert_eq!(log.drain(&mut assessed).await, None);
        assert_eq!(log.proposed(), [1, 1, 1]);
        let log = Log::answering(&[]);
        assessed.add(&handle, found(2, "b"));
        assert_eq!(log.drain(&mut assessed).await, None);
        assessed.under_way = Some(Box::pin(async { Err(ProposeError::Overloaded) }));
        assessed.add(&handle, found(3, "c"));
        assert_eq!(log.drain(&mut assessed).await, None);
        assert_eq!(log.proposed(), [2, 3]);
    }
}
