//! Deploys of agents through every manager: each acknowledged agent is there, under its id, and none twice.
//!
//! No container is wanted: an agent without one stays pending, and is in the registry all the same. Some names are
//! deployed by two clients at once, of which one at most may be told that the agent is its own.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::future::join_all;
use rand::Rng;
use serde_json::{Value, json};

use quorate::client::ClientError;
use quorate::model::AgentSpec;

use super::attempt::Outcome;
use super::hand::{Ask, Hand, LastRead, Step, drive, read_at_the_end};
use super::pages;
use super::{Workload, WorkloadContext};
use crate::checker::{self, Verdict};
use crate::history::{History, Notes};

const NAME: &str = "deploys";

/// Clients.
const CLIENTS: usize = 4;

/// Agents in all: each waits for a container and is looked at again and again, which is not what is measured here.
const AGENTS: u64 = 1_500;

/// The workload.
#[derive(Debug, Default)]
pub struct Deploys {
    next: AtomicU64,
}

fn spec(name: &str) -> Result<AgentSpec, serde_json::Error> {
    serde_json::from_value(json!({ "name": name, "command": "/bin/true", "constraints": "nowhere" }))
}

async fn deploy(hand: &mut Hand, name: &str) -> Outcome {
    let client = hand.manager().client.clone();
    let answer = async {
        let spec = match spec(name) {
            Ok(spec) => spec,
            Err(error) => return Outcome::of_write(&ClientError::Setup(error.to_string())),
        };
        match client.deploy_agent(&spec).await {
            Ok(created) => Outcome::ok(
                Some(json!(created.id)),
                Notes {
                    version: Some(created.version),
                    ..Notes::default()
                },
            ),
            Err(error) => Outcome::of_write(&error),
        }
    };
    hand.call(Ask::new("deploy", name, Value::Null), answer).await
}

/// All agents as `[name, id]`.
async fn read(hand: &mut Hand) -> Outcome {
    let client = hand.manager().client.clone();
    let answer = async {
        match pages::agents(&client, 1_000).await {
            Ok(walk) => {
                // Others deploy agents too.
                let agents: Vec<_> = walk
                    .items
                    .iter()
                    .filter(|agent| pages::of_prefix(agent.name.as_str(), "d").is_some())
                    .map(|agent| json!([agent.name, agent.id.to_string()]))
                    .collect();
                let notes = Notes {
                    revision: Some(walk.revision),
                    ..Notes::default()
                };
                Outcome::ok(Some(Value::Array(agents)), notes)
            }
            Err(error) => Outcome::of_read(&error),
        }
    };
    hand.call(Ask::on_all("read", Value::Null), answer).await
}

#[async_trait]
impl Step for Deploys {
    async fn step(&self, hand: &mut Hand) {
        let full = self.next.load(Ordering::Relaxed) >= AGENTS;
        // The list is long once it is full; one in a while is enough.
        if hand.rng.random_bool(if full { 0.05 } else { 0.02 }) {
            read(hand).await;
        }
        if full {
            return;
        }
        let name = format!("d{}", self.next.fetch_add(1, Ordering::Relaxed));
        if hand.rng.random_bool(0.3) {
            let mut hands = [hand.beside(0), hand.beside(1)];
            join_all(hands.iter_mut().map(|hand| deploy(hand, &name))).await;
        } else {
            deploy(hand, &name).await;
        }
    }
}

struct Last;

#[async_trait]
impl LastRead for Last {
    async fn read(&self, hand: &mut Hand) -> Outcome {
        read(hand).await
    }
}

#[async_trait]
impl Workload for Deploys {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run(&self, ctx: WorkloadContext) {
        drive(&ctx, NAME, CLIENTS, self).await;
    }

    async fn final_reads(&self, ctx: WorkloadContext) {
        read_at_the_end(&ctx, NAME, &[Last]).await;
    }

    fn check(&self, history: &History) -> Vec<Verdict> {
        vec![
            checker::enough::check(history, NAME, &["deploy", "read"]),
            checker::deploys::check(history, NAME),
            checker::last::check(history, NAME),
        ]
    }
}
