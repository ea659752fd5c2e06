//! The breaker as the loops keep it, on a clock that stands still unless all wait.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    Controller, LivenessTable, Replica as _,
    fixture::{Alone, deps},
};
use crate::{
    command::{ClusterCommand, Command, Condition, ContainerCommand},
    control::liveness::Digest,
    model::{ContainerId, ContainerState},
    plan::Windows,
    state::State,
};

const ALL: u64 = 10;

/// Ready containers, each with an agent, whose runners send heartbeats unless they are silent.
struct Bench {
    alone: Alone,
    silent: Arc<Mutex<BTreeSet<u64>>>,
    beating: JoinHandle<()>,
    _stop: CancellationToken,
    _controller: Controller,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

impl Bench {
    async fn start() -> Self {
        let alone = Alone::new();
        for n in 1..=ALL {
            alone.ready(ContainerId(n), n);
            alone.deploy(n, "");
        }
        let table = Arc::new(LivenessTable::default());
        let silent = Arc::new(Mutex::new(BTreeSet::new()));
        let beating = tokio::spawn(beat(table.clone(), silent.clone()));
        let stop = CancellationToken::new();
        let controller = Controller::start(alone.clone(), deps(table, Windows::default()), stop.clone());
        alone.lead(true);
        alone.until("all placed", |s| s.pending().next().is_none()).await;
        sleep(Duration::from_secs(20)).await;
        Self {
            alone,
            silent,
            beating,
            _stop: stop,
            _controller: controller,
        }
    }

    fn silence(&self, containers: impl IntoIterator<Item = u64>) {
        *self.silent.lock().unwrap() = containers.into_iter().collect();
    }

    async fn until_open(&self) {
        self.alone
            .until("the breaker open", |s| s.breaker().open.is_some())
            .await;
    }

    fn lift(&self) {
        let condition = Condition::Version(vec![self.alone.state().breaker().version]);
        self.alone
            .apply(Command::Cluster(ClusterCommand::LiftBreaker { condition }))
            .result
            .unwrap();
    }

    /// Another manager leads.
    async fn change_leader(&self) {
        self.alone.lead(false);
        sleep(Duration::from_millis(1)).await;
        self.alone.lead(true);
    }

    /// Whether a verdict took a container's agents away, or was meant to.
    fn evicted(&self) -> bool {
        let lost = |command: &Command| {
            matches!(
                command,
                Command::Container(ContainerCommand::Judge {
                    state: ContainerState::Lost,
                    ..
                })
            )
        };
        self.alone.proposed().iter().any(lost)
    }

    fn openings(&self) -> usize {
        let opens =
            |command: &&Command| matches!(command, Command::Cluster(ClusterCommand::OpenBreaker { .. }));
        self.alone.proposed().iter().filter(opens).count()
    }
}

/// Ten times faster than life, so that all are heard at nearly the same time.
async fn beat(table: Arc<LivenessTable>, silent: Arc<Mutex<BTreeSet<u64>>>) {
    let mut seq = 0;
    loop {
        seq += 1;
        let silent = silent.lock().unwrap().clone();
        let heard = (1..=ALL).filter(|n| !silent.contains(n));
        table.count(&Digest {
            from: 1,
            heartbeats: heard.map(|n| (ContainerId(n), n, seq)).collect(),
        });
        sleep(Duration::from_millis(100)).await;
    }
}

fn count(state: &State, wanted: ContainerState) -> usize {
    state.containers(None).filter(|c| c.state == wanted).count()
}

#[tokio::test(start_paused = true)]
async fn many_that_fall_silent_at_once_are_kept_until_the_breaker_is_lifted() {
    let bench = Bench::start().await;
    bench.silence(1..=3);
    bench.until_open().await;
    sleep(Duration::from_secs(120)).await;
    let state = bench.alone.state();
    assert!(!bench.evicted(), "no verdict on one of many");
    let open = state.breaker().open.clone().unwrap();
    assert_eq!((open.silent, open.fleet), (3, 10));
    assert_eq!(count(&state, ContainerState::Suspect), 3);
    let suspect = state.container(ContainerId(2)).unwrap();
    assert!(suspect.reason.contains("unknown"), "{}", suspect.reason);
    assert!(state.placed(ContainerId(2)).is_some());

    // Proof of death counts all the same.
    let dead = ContainerCommand::Leave {
        id: ContainerId(1),
        boot: 1,
    };
    bench.alone.apply(Command::Container(dead)).result.unwrap();
    assert!(bench.alone.state().container(ContainerId(1)).unwrap().fenced);
    bench
        .alone
        .until("elsewhere", |s| s.pending().next().is_none())
        .await;

    bench.silence(1..=4);
    bench.until_open().await;
    sleep(Duration::from_secs(120)).await;
    assert!(
        bench.alone.state().breaker().open.is_some(),
        "three are silent again"
    );
    bench.lift();
    let lifted = Instant::now();
    bench
        .alone
        .until("the silent are lost", |s| {
            let fenced = |n| s.container(ContainerId(n)).is_some_and(|c| c.fenced);
            fenced(2) && fenced(3) && fenced(4) && s.pending().next().is_none()
        })
        .await;
    assert!(
        lifted.elapsed() < Duration::from_secs(2),
        "they had been silent for long"
    );
    let before = bench.openings();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(bench.openings(), before, "those do not open it again");

    // Others do: of seven that are left, three.
    bench.silence(1..=7);
    bench.until_open().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(count(&bench.alone.state(), ContainerState::Suspect), 3);
}

#[tokio::test(start_paused = true)]
async fn it_closes_by_itself_ten_seconds_after_they_are_back() {
    let bench = Bench::start().await;
    bench.silence(1..=3);
    bench.until_open().await;
    sleep(Duration::from_secs(60)).await;
    bench.silence([]);
    let back = Instant::now();
    let closed = |s: &State| s.breaker().open.is_none();
    bench.alone.until("closed", closed).await;
    assert!(back.elapsed() >= Duration::from_secs(10), "{:?}", back.elapsed());
    assert_eq!(count(&bench.alone.state(), ContainerState::Ready), 10);
    assert!(!bench.evicted());
}

#[tokio::test(start_paused = true)]
async fn those_who_are_few_when_it_closes_are_judged() {
    let bench = Bench::start().await;
    bench.silence(1..=4);
    bench.until_open().await;
    bench.silence(1..=2);
    bench
        .alone
        .until("two are lost", |s| count(s, ContainerState::Lost) == 2)
        .await;
    assert!(bench.alone.state().breaker().open.is_none());
    assert_eq!(bench.openings(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_keeps_it_open_and_remembers_a_lift() {
    let bench = Bench::start().await;
    bench.silence(1..=3);
    bench.until_open().await;
    for _ in 0..3 {
        bench.change_leader().await;
        sleep(Duration::from_secs(25)).await;
        assert!(bench.alone.state().breaker().open.is_some());
        assert!(!bench.evicted());
    }
    bench.lift();
    bench.change_leader().await;
    bench
        .alone
        .until("they are lost after a fresh window", |s| {
            count(s, ContainerState::Lost) == 3
        })
        .await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.openings(), 1);
}

/// A host that takes the leader with it.
#[tokio::test(start_paused = true)]
async fn a_silence_that_began_under_another_leader_counts() {
    for after in [500, 2_000, 2_999] {
        let bench = Bench::start().await;
        bench.silence(1..=3);
        sleep(Duration::from_millis(after)).await;
        bench.change_leader().await;
        bench.until_open().await;
        sleep(Duration::from_secs(60)).await;
        assert!(!bench.evicted(), "{after}");
    }
}

#[tokio::test(start_paused = true)]
async fn few_or_one_after_the_other_are_lost_as_ever() {
    let bench = Bench::start().await;
    bench.silence(1..=2);
    bench
        .alone
        .until("two are lost", |s| count(s, ContainerState::Lost) == 2)
        .await;
    sleep(Duration::from_secs(20)).await;
    bench.silence(1..=3);
    bench
        .alone
        .until("and a third", |s| count(s, ContainerState::Lost) == 3)
        .await;
    assert_eq!(bench.openings(), 0);
    // The dead are no part of the fleet, and a new leader does not count them as fallen.
    bench.change_leader().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.openings(), 0);
}
