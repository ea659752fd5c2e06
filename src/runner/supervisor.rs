//! All agents of this container: the list of what shall run, turned into orders.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::{sync::watch, task::JoinHandle};

use super::agent::{Actor, Order, Surroundings, Want};
use crate::model::{AgentId, ContainerId, Revision, session::Assignment};

/// Gives orders to one task an agent.
#[derive(Debug)]
pub(super) struct Supervisor {
    around: Surroundings,
    agents: BTreeMap<AgentId, Held>,
    /// Tasks that get no more orders, until their process has stopped. A new task of the same agent
    /// waits for the old one.
    ending: BTreeMap<AgentId, JoinHandle<()>>,
    /// The newest list that was taken.
    revision: Revision,
}

#[derive(Debug)]
struct Held {
    orders: watch::Sender<Order>,
    task: JoinHandle<()>,
}

impl Supervisor {
    pub(super) fn new(around: Surroundings) -> Self {
        Self {
            around,
            agents: BTreeMap::new(),
            ending: BTreeMap::new(),
            revision: 0,
        }
    }

    /// The container whose agents these are.
    pub(super) fn container(&self) -> ContainerId {
        self.around.container
    }

    /// The revision of the list in effect.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// Takes a whole list: what is not in it is stopped. A list older than the one in effect, from a
    /// manager that lags behind, changes nothing and gives false.
    pub(super) fn take(&mut self, revision: Revision, list: Vec<Assignment>) -> bool {
        if revision < self.revision {
            tracing::info!(
                revision,
                in_effect = self.revision,
                "ignored an older list of agents"
            );
            return false;
        }
        self.revision = revision;
        let listed: BTreeSet<AgentId> = list.iter().map(|assignment| assignment.agent).collect();
        self.let_go(|id| !listed.contains(id));
        for assignment in list {
            self.order(assignment);
        }
        true
    }

    fn order(&mut self, assignment: Assignment) {
        let want = if assignment.run { Want::Run } else { Want::Stop };
        let (id, epoch) = (assignment.agent, assignment.epoch);
        if let Some(held) = self.agents.get(&id) {
            held.orders.send_if_modified(|order| {
                // Within an epoch the spec does not change.
                let news = (order.epoch, order.want) != (epoch, want);
                if news {
                    *order = Order {
                        epoch,
                        want,
                        spec: Arc::new(assignment.spec),
                    };
                }
                news
            });
            return;
        }
        let (orders, receiver) = watch::channel(Order {
            epoch,
            want,
            spec: Arc::new(assignment.spec),
        });
        let actor = Actor {
            id,
            orders: receiver,
            before: self.ending.remove(&id),
            around: self.around.clone(),
        };
        let task = tokio::spawn(actor.run());
        self.agents.insert(id, Held { orders, task });
    }

    /// Gives no more orders to agents that `which` picks; each stops its process with its grace.
    fn let_go(&mut self, which: impl Fn(&AgentId) -> bool) {
        self.ending.retain(|_, task| !task.is_finished());
        let (gone, kept) = std::mem::take(&mut self.agents)
            .into_iter()
            .partition(|(id, _)| which(id));
        self.agents = kept;
        let gone: BTreeMap<AgentId, Held> = gone;
        self.ending
            .extend(gone.into_iter().map(|(id, held)| (id, held.task)));
    }

    /// Stops everything, each agent with its grace, and returns when nothing runs.
    pub(super) async fn stop_all(&mut self) {
        self.let_go(|_| true);
        for task in std::mem::take(&mut self.ending).into_values() {
            if let Err(error) = task.await {
                tracing::error!(%error, "an agent's task failed; its process was killed");
            }
        }
    }
}
