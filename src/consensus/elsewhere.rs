//! What other managers hold in memory beside the state: samples of the containers whose sessions they
//! have, or had.
//!
//! No manager knows who held a session when, so all are asked, each with the same short time. Who did not
//! answer in it is named: what it holds is missing from the answer.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;

use super::{
    peers::{Request, Response},
    start::Running,
};
use crate::model::{ContainerId, ManagerId, Member, Millis, Sampled};

/// For each manager to answer, a connection included.
const ANSWER: Duration = Duration::from_secs(1);

/// Gives the samples that this manager holds of a container, from a moment on.
pub type SamplesHere = Arc<dyn Fn(ContainerId, Millis) -> Vec<Sampled> + Send + Sync>;

/// What the other managers hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// The samples of each manager that answered, also of those that have none.
    pub answered: BTreeMap<ManagerId, Vec<Sampled>>,
    /// Who did not answer in time.
    pub unanswered: Vec<ManagerId>,
}

impl Running {
    /// Asks all other managers for the samples they hold of a container, from `since` on.
    pub async fn samples_elsewhere(&self, container: ContainerId, since: Millis) -> Elsewhere {
        let members = self.others();
        let links = &self.core.questions;
        links.keep_only(|id| members.contains_key(id));
        let asked = members.iter().map(|(id, member)| async move {
            let link = links.to(*id, member);
            let answer = link.call(Request::Samples { container, since }, ANSWER).await;
            (*id, answer)
        });
        let mut elsewhere = Elsewhere::default();
        for (id, answer) in join_all(asked).await {
            match answer {
                Ok(Response::Samples(samples)) => drop(elsewhere.answered.insert(id, samples)),
                other => {
                    tracing::debug!(manager = id, answer = ?other, "a manager did not say what samples it holds");
                    elsewhere.unanswered.push(id);
                }
            }
        }
        elsewhere
    }

    fn others(&self) -> BTreeMap<ManagerId, Member> {
        let metrics = self.core.raft.metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.membership().nodes();
        let others = nodes.filter(|(id, _)| **id != self.core.me.id);
        others.map(|(id, member)| (*id, member.clone())).collect()
    }
}
