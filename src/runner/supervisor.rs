//! All placements of this container: the list of what shall run, turned into orders.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    pin::pin,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

use super::{
    agent::{Actor, Order, Surroundings, Want, remove_dir},
    list::Listed,
};
use crate::model::{ContainerId, PlacementId, PlacementRole, ReplicaId, Revision};

/// Gives orders to one task a placement.
#[derive(Debug)]
pub(super) struct Supervisor {
    around: Surroundings,
    placements: BTreeMap<PlacementId, Held>,
    /// Tasks that get no more orders, until their process has stopped. A new task of the same replica
    /// waits for them.
    ending: Vec<Ending>,
    /// Placements of which an earlier start has left a directory, until the first list.
    left: Vec<PlacementId>,
    /// The newest list that was taken.
    revision: Revision,
}

#[derive(Debug)]
struct Held {
    replica: ReplicaId,
    orders: watch::Sender<Order>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Ending {
    /// Unknown where only a directory is left.
    replica: Option<ReplicaId>,
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
            placements: BTreeMap::new(),
            ending: Vec::new(),
            revision: 0,
        }
    }

    /// The container whose placements these are.
    pub(super) fn container(&self) -> ContainerId {
        self.around.container
    }

    /// The revision of the list in effect.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// Takes a whole list: what is not in it is stopped. A list older than the one in effect, from a
    /// manager that lags behind, changes nothing and gives false.
    pub(super) fn take(&mut self, revision: Revision, list: Vec<Listed>) -> bool {
        if revision < self.revision {
            tracing::info!(
                revision,
                in_effect = self.revision,
                "ignored an older list of placements"
            );
            return false;
        }
        self.revision = revision;
        let listed: BTreeSet<PlacementId> = list.iter().map(|(one, _)| one.placement).collect();
        for id in std::mem::take(&mut self.left) {
            if !listed.contains(&id) {
                let dir = self.around.home.join(id.to_string());
                let task = spawn_blocking(move || remove_dir(&dir));
                self.ending.push(Ending { replica: None, task });
            }
        }
        for (id, held) in &self.placements {
            if !listed.contains(id) {
                held.orders.send_modify(|order| order.want = Want::Leave);
            }
        }
        self.let_go(|id| !listed.contains(id));
        for one in list {
            self.order(one);
        }
        true
    }

    fn order(&mut self, (assignment, spec): Listed) {
        // Who is to come or to go does not act.
        let acts = assignment.run && assignment.role == PlacementRole::Active;
        let order = Order {
            epoch: assignment.epoch,
            generation: assignment.generation,
            want: if acts { Want::Run } else { Want::Stop },
            spec,
        };
        let (id, replica) = (assignment.placement, assignment.replica);
        if let Some(held) = self.placements.get(&id) {
            held.orders.send_if_modified(|now| {
                let news = now.gist() != order.gist();
                if news {
                    *now = order;
                }
                news
            });
            return;
        }
        let (orders, receiver) = watch::channel(order);
        let before = self
            .ending
            .extract_if(.., |ending| ending.replica == Some(replica));
        let actor = Actor {
            id,
            replica,
            orders: receiver,
            before: before.map(|ending| ending.task).collect(),
            around: self.around.clone(),
        };
        let task = tokio::spawn(actor.run());
        let held = Held {
            replica,
            orders,
            task,
        };
        self.placements.insert(id, held);
    }

    /// Gives no more orders to placements that `which` picks; each stops its process with its grace.
    fn let_go(&mut self, which: impl Fn(&PlacementId) -> bool) {
        self.ending.retain(|ending| !ending.task.is_finished());
        let (gone, kept) = std::mem::take(&mut self.placements)
            .into_iter()
            .partition(|(id, _)| which(id));
        self.placements = kept;
        let gone: BTreeMap<PlacementId, Held> = gone;
        self.ending.extend(gone.into_values().map(|held| Ending {
            replica: Some(held.replica),
            task: held.task,
        }));
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

    /// Stops everything, each placement with its grace, and returns when nothing runs.
    pub(super) async fn stop_all(&mut self) {
        self.let_go(|_| true);
        for ending in std::mem::take(&mut self.ending) {
            if let Err(error) = ending.task.await {
                tracing::error!(%error, "a placement's task failed; its process was killed");
            }
        }
    }
}

/// Whose directories are here. Blocks.
fn directories(home: &Path) -> Vec<PlacementId> {
    let all = fs::read_dir(home).into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
