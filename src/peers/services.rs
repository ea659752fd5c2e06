//! Who answers what, and who takes which connections.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};

use super::{
    BoxedStream, Lane, Question, QuestionId,
    question::{Answered, Look, decode, encode},
};
use crate::model::ManagerId;

type Answer = Arc<dyn Fn(ManagerId, Bytes) -> BoxFuture<'static, Answered> + Send + Sync>;
type Take = Arc<dyn Fn(ManagerId, BoxedStream) -> BoxFuture<'static, ()> + Send + Sync>;

#[derive(Default)]
struct Registered {
    answers: BTreeMap<(Lane, QuestionId), Answer>,
    takers: BTreeMap<Lane, Take>,
}

/// What was registered. Whoever registered something is held weakly: it may hold the peers itself.
#[derive(Default)]
pub(super) struct Services {
    registered: RwLock<Registered>,
}

impl Services {
    pub fn answer<Q, T, F>(
        &self,
        lane: Lane,
        owner: &Arc<T>,
        answer: impl Fn(Arc<T>, ManagerId, Q) -> F + Send + Sync + 'static,
    ) where
        Q: Question,
        T: Send + Sync + 'static,
        F: Future<Output = Result<Q::Answer, String>> + Send + 'static,
    {
        let owner = Arc::downgrade(owner);
        let answer: Answer = Arc::new(move |from, body| {
            let asked = owner
                .upgrade()
                .ok_or_else(|| "this manager is stopping".to_owned())
                .and_then(|owner| Ok(answer(owner, from, decode(&body)?)));
            async move {
                let answered = match asked {
                    Ok(answer) => answer.await,
                    Err(why) => Err(why),
                };
                match answered.map(|answer| encode(&answer)) {
                    Ok(Ok(body)) => Answered::Done(body),
                    Ok(Err(why)) => Answered::Lost(why),
                    Err(why) => Answered::Refused(why),
                }
            }
            .boxed()
        });
        let before = self.write().answers.insert((lane, Q::ID), answer);
        debug_assert!(before.is_none(), "{} has two answers", Q::ID);
    }

    pub fn take<T, F>(
        &self,
        lane: Lane,
        owner: &Arc<T>,
        take: impl Fn(Arc<T>, ManagerId, BoxedStream) -> F + Send + Sync + 'static,
    ) where
        T: Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let owner = Arc::downgrade(owner);
        let take: Take = Arc::new(move |from, stream| match owner.upgrade() {
            Some(owner) => take(owner, from, stream).boxed(),
            None => futures::future::ready(()).boxed(),
        });
        self.write().takers.insert(lane, take);
    }

    /// Who takes the connections of a lane, if it is not one of questions.
    pub fn taker(&self, lane: Lane) -> Option<Take> {
        self.read().takers.get(&lane).cloned()
    }

    /// Answers a question that came on `lane`.
    pub fn serve(
        &self,
        lane: Lane,
        from: ManagerId,
        id: QuestionId,
        body: Bytes,
    ) -> BoxFuture<'static, Answered> {
        if id == Look::ID {
            return futures::future::ready(Answered::Done(Bytes::new())).boxed();
        }
        let Some(answer) = self.read().answers.get(&(lane, id)).cloned() else {
            // An older program than the one that asks, or one that has not started everything yet.
            let refused = Answered::Refused(format!("this manager does not answer {id} here"));
            return futures::future::ready(refused).boxed();
        };
        answer(from, body)
    }

    // Every critical section is a single operation on a map, which a panic leaves whole.
    fn read(&self) -> RwLockReadGuard<'_, Registered> {
        self.registered.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Registered> {
        self.registered.write().unwrap_or_else(PoisonError::into_inner)
    }
}
