//! Killing managers under load: nothing acknowledged is lost, nothing happens twice, nothing stale is
//! served as linearizable.

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use quorate::client::{Client, ClientError, Condition, Page};
use support::Cluster;
use tokio::task::JoinSet;

/// Names whose creation was acknowledged.
type Acknowledged = Arc<Mutex<Vec<String>>>;

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
            Ok(_) => done.lock().unwrap().push(name),
            Err(ClientError::Refused(problem)) if problem.status == 412 => {
                panic!("{name}: a retry with its key had a second effect: {problem:?}");
            }
            // Unknown or not taken: no promise was made.
            Err(_) => {}
        }
    }
}

struct Load {
    stop: Arc<AtomicBool>,
    done: Acknowledged,
    writers: JoinSet<()>,
}

impl Load {
    fn start(cluster: &Cluster, writers: usize) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Acknowledged::default());
        let mut set = JoinSet::new();
        for writer in 0..writers {
            set.spawn(create_until(
                stop.clone(),
                cluster.client_of_all(),
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

    fn acknowledged(&self) -> usize {
        self.done.lock().unwrap().len()
    }

    /// Waits for so many more acknowledgements.
    async fn more(&self, cluster: &Cluster, count: usize) {
        let goal = self.acknowledged() + count;
        cluster
            .eventually("writes go on", async || self.acknowledged() >= goal)
            .await;
    }

    async fn finish(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.done.lock().unwrap())
    }
}

/// Every acknowledged name is there, through every manager.
async fn all_there(cluster: &Cluster, managers: usize, names: &[String]) {
    for at in 0..managers {
        let client = cluster.client(at);
        let mut found = std::collections::BTreeSet::new();
        let mut page = Page {
            limit: Some(1000),
            ..Page::default()
        };
        loop {
            let list = client.configs(&page).await.unwrap();
            found.extend(list.items.into_iter().map(|c| c.name.to_string()));
            page.after = list.next;
            if page.after.is_none() {
                break;
            }
        }
        let lost: Vec<_> = names.iter().filter(|name| !found.contains(*name)).collect();
        assert!(
            lost.is_empty(),
            "manager {at} lost {} of {}: {lost:?}",
            lost.len(),
            names.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_any_manager_under_load_loses_nothing() {
    let mut cluster = Cluster::start(3).await;
    let load = Load::start(&cluster, 6);
    load.more(&cluster, 100).await;
    let leader = cluster.leader().await;
    for victim in [leader, (leader + 1) % 3] {
        cluster.kill(victim);
        load.more(&cluster, 100).await;
        cluster.restart(victim);
        cluster.recovered().await;
        load.more(&cluster, 50).await;
    }
    let names = load.finish().await;
    all_there(&cluster, 3, &names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_all_managers_under_load_loses_nothing() {
    let mut cluster = Cluster::start(3).await;
    let load = Load::start(&cluster, 6);
    for _ in 0..3 {
        load.more(&cluster, 100).await;
        (0..3).for_each(|at| cluster.kill(at));
        (0..3).for_each(|at| cluster.restart(at));
        cluster.recovered().await;
    }
    load.more(&cluster, 50).await;
    let names = load.finish().await;
    all_there(&cluster, 3, &names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_through_every_manager_never_go_back_while_leaders_die() {
    let mut cluster = Cluster::start(3).await;
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    let (writer, stopped, high) = (cluster.client_of_all(), stop.clone(), acknowledged.clone());
    tasks.spawn(async move {
        let mut value = 0_u64;
        while !stopped.load(Ordering::Relaxed) {
            value += 1;
            // One writer, each write tried to its end: the value only grows.
            if writer
                .put_config("counter", "text/plain", value.to_string(), Condition::Any, None)
                .await
                .is_ok()
            {
                high.store(value, Ordering::SeqCst);
            }
        }
        0
    });
    for at in 0..3 {
        let (reader, stopped, high) = (cluster.client(at), stop.clone(), acknowledged.clone());
        tasks.spawn(async move {
            let mut reads = 0;
            while !stopped.load(Ordering::Relaxed) {
                let at_least = high.load(Ordering::SeqCst);
                match reader.get_config("counter", &Page::default()).await {
                    Ok(read) => {
                        let value: u64 = String::from_utf8(read.value.to_vec()).unwrap().parse().unwrap();
                        assert!(
                            value >= at_least,
                            "manager {at} showed {value} after {at_least} was acknowledged"
                        );
                        reads += 1;
                    }
                    // It is down, or there is no quorum just now.
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
            reads
        });
    }
    for _ in 0..2 {
        let before = acknowledged.load(Ordering::SeqCst);
        cluster
            .eventually("writes go on", async || {
                acknowledged.load(Ordering::SeqCst) > before + 50
            })
            .await;
        let leader = cluster.leader().await;
        cluster.kill(leader);
        let before = acknowledged.load(Ordering::SeqCst);
        cluster
            .eventually("writes go on", async || {
                acknowledged.load(Ordering::SeqCst) > before + 50
            })
            .await;
        cluster.restart(leader);
        cluster.recovered().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut reads = 0;
    while let Some(ended) = tasks.join_next().await {
        reads += ended.unwrap();
    }
    assert!(reads > 100, "only {reads} reads: this proves nothing");
}

fn tell_to_stop(cluster: &Cluster, at: usize) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(cluster.pid(at)).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_told_to_stop_under_load_end_in_order_and_lose_nothing() {
    let mut cluster = Cluster::start(3).await;
    let load = Load::start(&cluster, 6);
    for _ in 0..3 {
        load.more(&cluster, 100).await;
        let leader = cluster.leader().await;
        tell_to_stop(&cluster, leader);
        let told = Instant::now();
        let code = cluster.exit_code(leader).await;
        let took = told.elapsed();
        assert_eq!(code, Some(0), "{}", cluster.log(leader));
        // What its steps may take in all, see `node`.
        assert!(
            took < Duration::from_secs(10),
            "{took:?}\n{}",
            cluster.log(leader)
        );
        cluster.restart(leader);
        cluster.recovered().await;
    }
    let names = load.finish().await;
    all_there(&cluster, 3, &names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_leader_hands_over() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    tell_to_stop(&cluster, leader);
    assert_eq!(
        cluster.exit_code(leader).await,
        Some(0),
        "{}",
        cluster.log(leader)
    );
    assert!(
        cluster.log(leader).contains("leadership is handed over"),
        "{}",
        cluster.log(leader)
    );
    let other = cluster.client((leader + 1) % 3);
    other
        .put_config("k", "text/plain", "v", Condition::Any, None)
        .await
        .unwrap();
}
