//! Real runners that stop answering all at once, as when a host hangs or a switch dies.

mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use quorate::{
    client::{Client, ClientError, Condition, Page, types::AgentView},
    model::{AgentSpec, AgentState, ContainerState},
};
use support::{Cluster, runner::Runner};

/// Of so many runners three are stopped.
const RUNNERS: usize = 10;

/// After this long a silent container would be fenced, and its agents run elsewhere.
const FENCED: Duration = Duration::from_secs(10);

/// Three managers and ten runners, each with an agent.
struct Fleet {
    cluster: Cluster,
    client: Client,
    runners: Vec<Runner>,
    /// The agents as they were when all ran.
    agents: Vec<AgentView>,
}

impl Fleet {
    async fn start() -> Self {
        let cluster = Cluster::start(3).await;
        let start = |n| Runner::start(&cluster, &format!("box-{n}"));
        let runners: Vec<_> = (0..RUNNERS).map(start).collect();
        let client = cluster.client_of_all();
        let mut fleet = Self {
            cluster,
            client,
            runners,
            agents: Vec::new(),
        };
        fleet
            .until("all are ready", async |fleet| fleet.all_are_ready().await)
            .await;
        for n in 0..RUNNERS {
            let spec = serde_json::json!({"name": format!("a{n}"), "command": "sleep", "args": ["1000"]});
            let spec: AgentSpec = serde_json::from_value(spec).unwrap();
            fleet.client.deploy_agent(&spec).await.unwrap();
        }
        fleet
            .until("all agents run", async |fleet| {
                let runs = |agent: &AgentView| agent.state == AgentState::Running;
                fleet.agents().await.is_ok_and(|agents| agents.iter().all(runs))
            })
            .await;
        fleet.agents = fleet.agents().await.unwrap();
        fleet
    }

    async fn until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        self.cluster.eventually(what, async || holds(self).await).await;
    }

    async fn agents(&self) -> Result<Vec<AgentView>, ClientError> {
        Ok(self.client.agents(&Page::default()).await?.items)
    }

    async fn count(&self, state: ContainerState) -> Result<usize, ClientError> {
        let all = self.client.containers(&Page::default()).await?.items;
        Ok(all.iter().filter(|container| container.state == state).count())
    }

    async fn all_are_ready(&self) -> bool {
        self.count(ContainerState::Ready)
            .await
            .is_ok_and(|count| count == RUNNERS)
    }

    fn signal_three(&self, signal: Signal) {
        self.runners[..3].iter().for_each(|runner| runner.signal(signal));
    }

    /// Every agent is where it was, under the epoch it had.
    async fn nobody_moved(&self) {
        assert_eq!(self.count(ContainerState::Lost).await.unwrap(), 0);
        let places = |agents: &[AgentView]| {
            let all = agents.iter().map(|a| (a.name.clone(), a.container, a.epoch));
            all.collect::<Vec<_>>()
        };
        assert_eq!(places(&self.agents().await.unwrap()), places(&self.agents));
    }

    /// How many agents run under another epoch than before.
    async fn moved(&self) -> usize {
        let now = self.agents().await.unwrap_or_default().into_iter();
        let moved = |(now, then): &(AgentView, &AgentView)| {
            now.epoch > then.epoch && now.state == AgentState::Running
        };
        now.zip(&self.agents).filter(moved).count()
    }

    /// Three runners are stopped, and the breaker is open in the eyes of every manager.
    async fn stop_three(&self) {
        self.signal_three(Signal::SIGSTOP);
        for at in 0..3 {
            let client = self.cluster.client(at);
            self.until("the breaker opens", async |_| {
                let status = client.cluster_status().await;
                status.is_ok_and(|status| status.breaker.is_some())
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_that_is_stopped_at_once_is_kept_until_an_operator_lifts_the_breaker() {
    let fleet = Fleet::start().await;
    let stopped = Instant::now();
    fleet.stop_three().await;
    // Past the time after which a single one of them would have been given up.
    tokio::time::sleep_until((stopped + FENCED + Duration::from_secs(3)).into()).await;
    fleet.nobody_moved().await;
    let breaker = fleet.client.breaker().await.unwrap();
    assert!(breaker.open && breaker.suspect >= 3, "{breaker:?}");
    let health = fleet.client.cluster_health().await.unwrap();
    assert!(health.checks.iter().any(|c| c.name == "breaker" && !c.healthy));
    fleet
        .until("the metric says so", async |fleet| {
            let metrics = fleet.client.get("/metrics").await;
            metrics.is_ok_and(|shown| String::from_utf8_lossy(&shown.body).contains("quorate_breaker_open 1"))
        })
        .await;

    let stale = fleet
        .client
        .lift_breaker(Condition::Version(breaker.version - 1))
        .await;
    assert_eq!(stale.unwrap_err().code(), Some("precondition_failed"));
    fleet
        .client
        .lift_breaker(Condition::Version(breaker.version))
        .await
        .unwrap();
    fleet
        .until(
            "the three are lost and their agents run elsewhere",
            async |fleet| {
                let lost = fleet.count(ContainerState::Lost).await;
                fleet.moved().await == 3 && lost.is_ok_and(|lost| lost == 3)
            },
        )
        .await;
    let breaker = fleet.client.breaker().await.unwrap();
    assert!(!breaker.open, "those who were silent do not open it again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_that_comes_back_closes_the_breaker_and_nothing_moved() {
    let fleet = Fleet::start().await;
    fleet.stop_three().await;
    fleet.signal_three(Signal::SIGCONT);
    fleet
        .until("the breaker closes by itself", async |fleet| {
            fleet.client.breaker().await.is_ok_and(|breaker| !breaker.open)
        })
        .await;
    fleet
        .until("all are ready", async |fleet| fleet.all_are_ready().await)
        .await;
    fleet.nobody_moved().await;
}
