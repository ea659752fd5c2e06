//! All agents of this container: the list of what shall run, turned into orders.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

use super::agent::{Actor, Order, Surroundings, Want, remove_dir};
use crate::model::{AgentId, ContainerId, Revision, session::Assignment};

/// Gives orders to one task an agent.
#[derive(Debug)]
pub(super) struct Supervisor {
    around: Surroundings,
    agents: BTreeMap<AgentId, Held>,
    /// Tasks that get no more orders, until their process has stopped. A new task of the same agent
    /// waits for the old one.
    ending: BTreeMap<AgentId, JoinHandle<()>>,
    /// Agents of which an earlier start has left a directory, until the first list.
    left: Vec<AgentId>,
    /// The newest list that was taken.
    revision: Revision,
}

#[derive(Debug)]
struct Held {
    orders: watch::Sender<Order>,
    task: JoinHandle<()>,
}

impl Supervisor {
    pub(super) async fn new(around: Surroundings) -> Self {
        let home = around.home.clone();
        // Without knowing them nothing is removed, and the next start knows.
        let left = spawn_blocking(move || directories(&home)).await;
        Self {
            left: left.unwrap_or_default(),
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
        for id in std::mem::take(&mut self.left) {
            if !listed.contains(&id) {
                let dir = self.around.home.join(id.to_string());
                self.ending.insert(id, spawn_blocking(move || remove_dir(&dir)));
            }
        }
        for (id, held) in &self.agents {
            if !listed.contains(id) {
                held.orders.send_modify(|order| order.want = Want::Leave);
            }
        }
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

    /// Stops everything for the runner's own end: graces that would go on after `limit` end then.
    pub(super) async fn stop_all_within(&mut self, limit: Duration) {
        let hurry = self.around.hurry.clone();
        let mut stopping = pin!(self.stop_all());
        tokio::select! {
            () = &mut stopping => return,
            () = sleep(limit) => hurry.cancel(),
        }
        stopping.await;
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

/// Whose directories are here. Blocks.
fn directories(home: &Path) -> Vec<AgentId> {
    let all = fs::read_dir(home).into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
