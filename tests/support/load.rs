//! Writers that go on whatever happens to the managers, and what must be so afterwards.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use quorate::client::{Client, ClientError, Condition, Page};
use tokio::task::JoinSet;

use super::Cluster;

/// Names whose creation was acknowledged, each with the version it was told.
type Acknowledged = Arc<Mutex<BTreeMap<String, u64>>>;

/// Creates configs of new names until told to stop. Each creation carries a key and demands that the
/// name is new: a second effect of a retry would be refused, and that is a failure here.
async fn create_until(stop: Arc<AtomicBool>, client: Client, writer: usize, done: Acknowledged) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let name = format!("w{writer}-{number}");
        number += 1;
        match client
            .put_config(&name, "text/plain", name.clone(), Condition::Absent, Some(&name))
            .await
        {
            Ok(put) => drop(done.lock().unwrap().insert(name, put.version)),
            Err(ClientError::Refused(problem)) if problem.status == 412 => {
                panic!("{name}: a retry with its key had a second effect: {problem:?}");
            }
            // Unknown or not taken: no promise was made.
            Err(_) => {}
        }
    }
}

/// Several writers of their own names each, spread over the managers.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Acknowledged,
    writers: JoinSet<()>,
}

impl Load {
    pub fn start(cluster: &Cluster, writers: usize) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Acknowledged::default());
        let mut set = JoinSet::new();
        for writer in 0..writers {
            set.spawn(create_until(
                stop.clone(),
                cluster.client_from(writer),
                writer,
                done.clone(),
            ));
        }
        Self {
            stop,
            done,
            writers: set,
        }
    }

    pub fn acknowledged(&self) -> usize {
        self.done.lock().unwrap().len()
    }

    /// Waits for so many more acknowledgements.
    pub async fn more(&self, cluster: &Cluster, count: usize) {
        let goal = self.acknowledged() + count;
        cluster
            .eventually("writes go on", async || self.acknowledged() >= goal)
            .await;
    }

    /// Ends the writers; gives what was acknowledged.
    pub async fn finish(mut self) -> BTreeMap<String, u64> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.done.lock().unwrap())
    }
}

/// The configs that a manager shows, by name, each with the revisions of its creation and last change.
pub async fn configs(client: &Client) -> Result<BTreeMap<String, (u64, u64)>, ClientError> {
    let mut found = BTreeMap::new();
    let mut page = Page {
        limit: Some(1000),
        ..Page::default()
    };
    loop {
        let list = client.configs(&page).await?;
        let items = list.items.into_iter();
        found.extend(items.map(|c| (c.name.to_string(), (c.created, c.version))));
        page.after = list.next;
        if page.after.is_none() {
            return Ok(found);
        }
    }
}

/// What is wrong with what a manager shows: acknowledged names that are not there as they were
/// acknowledged, and any that were written twice.
pub fn wrong(found: &BTreeMap<String, (u64, u64)>, acknowledged: &BTreeMap<String, u64>) -> Vec<String> {
    let lost = acknowledged
        .iter()
        .filter_map(|(name, version)| match found.get(name) {
            None => Some(format!("{name} is lost")),
            Some((_, now)) if now != version => Some(format!("{name} is at {now}, not at {version}")),
            Some(_) => None,
        });
    let twice = found
        .iter()
        .filter(|(_, (created, version))| created != version)
        .map(|(name, _)| format!("{name} was written twice"));
    lost.chain(twice).collect()
}

/// Every acknowledged name is there as it was acknowledged, through every manager, and none was written twice.
pub async fn all_there(cluster: &Cluster, managers: usize, acknowledged: &BTreeMap<String, u64>) {
    for at in 0..managers {
        let found = configs(&cluster.patient_client(at)).await.unwrap();
        let wrong = wrong(&found, acknowledged);
        assert!(
            wrong.is_empty(),
            "manager {at}, of {}: {wrong:?}",
            acknowledged.len()
        );
    }
}
