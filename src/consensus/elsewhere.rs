//! What managers hold in memory beside the state, each its own part: samples of the containers whose sessions
//! they have, or had, and what they see of their neighbours.
//!
//! No manager knows who held a session when, so all are asked, each with the same short time. Who did not
//! answer in it is named: what it holds is missing from the answer.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;

use super::{
    core::Core,
    peers::{Request, Response},
    start::Running,
};
use crate::model::{ContainerId, ManagerId, Member, Millis, RoundTrip, Sampled, Sight};

/// For each manager to answer, a connection included.
const ANSWER: Duration = Duration::from_secs(1);

/// What this manager holds beside the state.
pub trait Held: Send + Sync + 'static {
    /// The samples it has of a container, from a moment on.
    fn samples(&self, container: ContainerId, since: Millis) -> Vec<Sampled>;
    /// What it sees of engines and containers; of other managers consensus knows by itself.
    fn sight(&self) -> Sight;
}

/// Holds nothing.
impl Held for () {
    fn samples(&self, _: ContainerId, _: Millis) -> Vec<Sampled> {
        Vec::new()
    }

    fn sight(&self) -> Sight {
        Sight::default()
    }
}

/// What the other managers hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere<T> {
    /// By each manager that answered, also when it has nothing.
    pub answered: BTreeMap<ManagerId, T>,
    /// Who did not answer in time.
    pub unanswered: Vec<ManagerId>,
}

impl Running {
    /// Asks all other managers for the samples they hold of a container, from `since` on.
    pub async fn samples_elsewhere(&self, container: ContainerId, since: Millis) -> Elsewhere<Vec<Sampled>> {
        let ask = || Request::Samples { container, since };
        self.ask_others(ask, |answer| match answer {
            Response::Samples(samples) => Some(samples),
            _ => None,
        })
        .await
    }

    /// What this manager sees of its neighbours.
    pub fn sight(&self) -> Sight {
        self.core.sight()
    }

    /// Asks all other managers what they see of their neighbours.
    pub async fn sights_elsewhere(&self) -> Elsewhere<Sight> {
        self.ask_others(
            || Request::Sight,
            |answer| match answer {
                Response::Sight(sight) => Some(sight),
                _ => None,
            },
        )
        .await
    }

    async fn ask_others<T>(
        &self,
        ask: impl Fn() -> Request,
        read: impl Fn(Response) -> Option<T>,
    ) -> Elsewhere<T> {
        let members = self.core.others();
        let links = &self.core.questions;
        links.keep_only(|id| members.contains_key(id));
        let asked = members.iter().map(|(id, member)| {
            let (link, request) = (links.to(*id, member), ask());
            async move { (*id, link.call(request, ANSWER).await) }
        });
        let mut elsewhere = Elsewhere {
            answered: BTreeMap::new(),
            unanswered: Vec::new(),
        };
        for (id, answer) in join_all(asked).await {
            let read = match answer {
                Ok(answer) => read(answer),
                Err(error) => {
                    tracing::debug!(manager = id, %error, "a manager did not say what it holds");
                    None
                }
            };
            match read {
                Some(held) => drop(elsewhere.answered.insert(id, held)),
                None => elsewhere.unanswered.push(id),
            }
        }
        elsewhere
    }
}

impl Core {
    pub(super) fn sight(&self) -> Sight {
        let trips = self.control.round_trips();
        let managers = self.others().into_keys();
        Sight {
            managers: managers
                .map(|id| (id, trips.get(&id).copied().map(RoundTrip::from)))
                .collect(),
            ..self.held.sight()
        }
    }

    fn others(&self) -> BTreeMap<ManagerId, Member> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.membership().nodes();
        let others = nodes.filter(|(id, _)| **id != self.me.id);
        others.map(|(id, member)| (*id, member.clone())).collect()
    }
}
