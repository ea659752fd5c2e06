//! What managers say of themselves, asked all the time: who leads, in which term, how far they are, who is there.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::attempt::Outcome;
use super::hand::{Ask, Hand, LastRead, Step, drive, read_at_the_end};
use super::{Workload, WorkloadContext};
use crate::checker::{self, Verdict};
use crate::history::{History, Notes};

const NAME: &str = "members";

/// Clients: two at each of three managers.
const CLIENTS: usize = 6;

/// The workload.
#[derive(Debug, Default)]
pub struct Members;

async fn status(hand: &mut Hand) -> Outcome {
    let client = hand.manager().client.clone();
    let answer = async {
        match client.cluster_status().await {
            Ok(status) => {
                let voters: Vec<_> = status
                    .managers
                    .iter()
                    .filter(|manager| manager.voter)
                    .map(|manager| json!(manager.id))
                    .collect();
                let value = json!({
                    "cluster": status.cluster_id,
                    "manager": status.answered_by,
                    "leader": status.leader,
                    "term": status.term,
                    "voters": voters,
                });
                let notes = Notes {
                    revision: Some(status.revision),
                    ..Notes::default()
                };
                Outcome::ok(Some(value), notes)
            }
            Err(error) => Outcome::of_read(&error),
        }
    };
    hand.call(Ask::on_all("status", Value::Null), answer).await
}

#[async_trait]
impl Step for Members {
    async fn step(&self, hand: &mut Hand) {
        status(hand).await;
    }
}

struct Last;

#[async_trait]
impl LastRead for Last {
    async fn read(&self, hand: &mut Hand) -> Outcome {
        status(hand).await
    }
}

#[async_trait]
impl Workload for Members {
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
            checker::enough::check(history, NAME, &["status"]),
            checker::members::check(history, NAME),
            checker::last::check(history, NAME),
        ]
    }
}
