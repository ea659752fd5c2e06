//! Exclusive agents in containers: at no moment two live copies of one, and none lost or restarted without a cause.
//!
//! Each agent writes down by itself when it acts ([`beat`]), so that no word of a manager or runner is believed.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use serde_json::{Value, json};
use tokio::time::timeout;

use quorate::client::{ClientError, Page};
use quorate::model::{AgentSpec, AgentState};

use super::attempt::Outcome;
use super::hand::{Ask, Hand, LastRead, Step, drive, read_at_the_end};
use super::{Stage, Workload, WorkloadContext};
use crate::beat;
use crate::checker::{self, Verdict};
use crate::history::{History, Notes};

pub const NAME: &str = "containers";

/// Clients.
const CLIENTS: usize = 3;

/// Agents in all: enough that every runner has some.
const AGENTS: u64 = 8;

/// How long agents may take to run at the end: a lease that has ended and a replacement lie in it.
const RUN_WITHIN: Duration = Duration::from_secs(40);

/// The workload.
#[derive(Debug, Default)]
pub struct Containers {
    next: AtomicU64,
}

struct Deploying<'a> {
    of: &'a Containers,
    stage: &'a Stage,
}

fn name(number: u64) -> String {
    format!("c{number}")
}

fn spec(name: &str, stage: &Stage) -> Result<AgentSpec, serde_json::Error> {
    serde_json::from_value(json!({
        "name": name, "command": stage.program, "args": ["beat", stage.lives], "restart": "always",
        "stop_grace_seconds": 1,
    }))
}

async fn deploy(hand: &mut Hand, name: &str, stage: &Stage) -> Outcome {
    let client = hand.manager().client.clone();
    let answer = async {
        let spec = match spec(name, stage) {
            Ok(spec) => spec,
            Err(error) => return Outcome::of_write(&ClientError::Setup(error.to_string())),
        };
        match client.deploy_agent(&spec).await {
            Ok(created) => Outcome::ok(Some(json!(created.id)), Notes::default()),
            Err(error) => Outcome::of_write(&error),
        }
    };
    hand.call(Ask::new("deploy", name, Value::Null), answer).await
}

/// What the managers say of an agent. With `lives`, that it runs is the only answer, and only once it acts as well:
/// what the managers know is as old as the last word of its runner, which may be about to come back.
async fn look(hand: &mut Hand, name: &str, lives: Option<&Path>) -> Outcome {
    let client = hand.manager().client.clone();
    let not_yet = |why: String| Outcome {
        error: Some(why),
        ..Outcome::of_read(&ClientError::Answer(String::new()))
    };
    let answer = async {
        match client.agent(name).await {
            Ok(agent) if lives.is_some() && agent.state != AgentState::Running => {
                not_yet(format!("{:?}: {}", agent.state, agent.reason))
            }
            Ok(_) if lives.is_some_and(|dir| !beat::acts(dir, name)) => {
                not_yet("it is said to run, and does not act".to_owned())
            }
            Ok(agent) => Outcome::ok(
                Some(json!({"state": agent.state, "epoch": agent.epoch, "container": agent.container_name})),
                Notes::default(),
            ),
            Err(error) => Outcome::of_read(&error),
        }
    };
    let f = if lives.is_some() { "runs" } else { "look" };
    hand.call(Ask::new(f, name, Value::Null), answer).await
}

/// All containers as `[name, state]`.
async fn containers(hand: &mut Hand) -> Outcome {
    let client = hand.manager().client.clone();
    let answer = async {
        match client.containers(&Page::default()).await {
            Ok(list) => {
                let all: Vec<_> = list
                    .items
                    .iter()
                    .map(|one| json!([one.name, one.state]))
                    .collect();
                Outcome::ok(Some(Value::Array(all)), Notes::default())
            }
            Err(error) => Outcome::of_read(&error),
        }
    };
    hand.call(Ask::on_all("containers", Value::Null), answer).await
}

#[async_trait]
impl Step for Deploying<'_> {
    async fn step(&self, hand: &mut Hand) {
        let deployed = self.of.next.load(Ordering::Relaxed);
        if deployed < AGENTS && hand.rng.random_bool(0.2) {
            let name = name(self.of.next.fetch_add(1, Ordering::Relaxed));
            deploy(hand, &name, self.stage).await;
        } else if deployed > 0 && hand.rng.random_bool(0.7) {
            let name = name(hand.rng.random_range(0..deployed));
            look(hand, &name, None).await;
        } else {
            containers(hand).await;
        }
    }
}

struct Runs<'a>(String, &'a Path);

#[async_trait]
impl LastRead for Runs<'_> {
    async fn read(&self, hand: &mut Hand) -> Outcome {
        look(hand, &self.0, Some(self.1)).await
    }
}

struct Lives<'a>(&'a Path);

#[async_trait]
impl LastRead for Lives<'_> {
    async fn read(&self, hand: &mut Hand) -> Outcome {
        let answer = async {
            match beat::now().and_then(|now| Ok(json!({"now": now, "lives": beat::lives(self.0)?}))) {
                Ok(value) => Outcome::ok(Some(value), Notes::default()),
                Err(error) => Outcome::of_read(&ClientError::Setup(format!("{error:#}"))),
            }
        };
        hand.call(Ask::on_all("lives", Value::Null), answer).await
    }
}

#[async_trait]
impl Workload for Containers {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run(&self, ctx: WorkloadContext) {
        let stage = &ctx.stage;
        drive(&ctx, NAME, CLIENTS, &Deploying { of: self, stage }).await;
    }

    async fn final_reads(&self, ctx: WorkloadContext) {
        let agents: Vec<_> = (0..self.next.load(Ordering::Relaxed))
            .map(|number| Runs(name(number), &ctx.stage.lives))
            .collect();
        // What does not run in time is told by the checker; the lives are wanted all the same.
        let _ = timeout(RUN_WITHIN, read_at_the_end(&ctx, NAME, &agents)).await;
        read_at_the_end(&ctx, NAME, &[Lives(&ctx.stage.lives)]).await;
    }

    fn check(&self, history: &History) -> Vec<Verdict> {
        vec![
            checker::enough::check(history, NAME, &["deploy", "look", "containers"]),
            checker::containers::one_at_a_time(history, NAME),
            checker::containers::not_without_a_cause(history, NAME),
            checker::containers::run_at_the_end(history, NAME),
        ]
    }
}
