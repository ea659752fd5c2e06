//! The steps, each judged by what the API says.

use std::{future::Future, io, time::Duration};

use tokio::time::{Instant, sleep};

use super::{hosts::Hosts, stage::Stage};
use crate::{
    client::{Client, ClientError, Condition, Page, types::AgentView},
    model::{AgentSpec, AgentState, ContainerState},
};

const AGENT: &str = "demo";
const CONFIG: &str = "demo";

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// How long any step may take, on a slow machine and with no proof that a container is dead.
const STEP: Duration = Duration::from_secs(60);

/// How long the agent is looked at after the leader's death: longer than any window after which a
/// leader that is wrong about containers would act.
const UNMOVED: Duration = Duration::from_secs(5);

/// How long a client tries; steps repeat what fails.
const TRY: Duration = Duration::from_secs(1);

pub(super) async fn show(stage: &Stage, hosts: &mut Hosts) -> io::Result<()> {
    println!("\n[2/5] Wait for two containers");
    let all = stage.client(stage.ids(), TRY)?;
    let names = hosts.start(stage)?;
    ready(&all, &names).await?;

    println!("\n[3/5] Deploy an agent through a follower");
    let leader = leader(&all).await?;
    let follower = others(stage, leader)
        .next()
        .ok_or_else(|| wrong("there is no follower"))?;
    println!("      manager {leader} leads; manager {follower} is asked");
    let before = deploy(&stage.client([follower], STEP)?, hosts).await?;

    println!("\n[4/5] Kill the leader, manager {leader} (kill -9)");
    write(&all, "before").await.map_err(io::Error::other)?;
    kill_leader(stage, leader, &before).await?;

    let home = container(&before)?;
    println!("\n[5/5] Kill the agent's container, {home} ({})", hosts.way());
    let all = stage.client(others(stage, leader), TRY)?;
    let begin = Instant::now();
    hosts.kill(&home, stage)?;
    let after = elsewhere(&all, &before).await?;
    let took = begin.elapsed();
    println!(
        "      it runs in {}, under epoch {}: {took:.2?} after the kill",
        container(&after)?,
        after.epoch
    );
    check(
        read(&all).await? == "after",
        "the config is not what was written last",
    )?;
    println!("      the config is still there\n\nAll steps were seen to work.");
    Ok(())
}

fn others(stage: &Stage, leader: u64) -> impl Iterator<Item = u64> + use<> {
    stage.ids().filter(move |id| *id != leader)
}

async fn ready(client: &Client, names: &[String]) -> io::Result<()> {
    let begin = Instant::now();
    for name in names {
        until(&format!("container {name} to be ready"), async || {
            let container = client.container(name).await?;
            Ok((container.state == ContainerState::Ready).then_some(()))
        })
        .await?;
    }
    println!(
        "      {} are ready, after {:.1?}",
        names.join(" and "),
        begin.elapsed()
    );
    Ok(())
}

async fn leader(client: &Client) -> io::Result<u64> {
    until("a leader", async || Ok(client.cluster_status().await?.leader)).await
}

async fn deploy(follower: &Client, hosts: &Hosts) -> io::Result<AgentView> {
    let spec = serde_json::json!({
        "name": AGENT, "command": hosts.program()?, "args": ["example-agent"],
    });
    let spec: AgentSpec = serde_json::from_value(spec)?;
    let begin = Instant::now();
    follower.deploy_agent(&spec).await.map_err(io::Error::other)?;
    let agent = until("the agent to run", async || {
        Ok(Some(follower.agent(AGENT).await?).filter(runs))
    })
    .await?;
    let (home, epoch, took) = (container(&agent)?, agent.epoch, begin.elapsed());
    println!("      the agent runs in {home}, under epoch {epoch}, {took:.2?} after the request");
    Ok(agent)
}

async fn kill_leader(stage: &Stage, old: u64, before: &AgentView) -> io::Result<()> {
    let client = stage.client(others(stage, old), TRY)?;
    let begin = Instant::now();
    stage.kill(&format!("manager-{old}"))?;
    until("a write to be acknowledged", async || {
        Ok(Some(write(&client, "after").await?))
    })
    .await?;
    println!(
        "      a write is acknowledged {:.2?} after the kill",
        begin.elapsed()
    );
    let new = leader(&client).await?;
    check(new != old, "the killed manager still leads")?;
    println!("      manager {new} leads");
    for id in others(stage, old) {
        check(
            read(&stage.client([id], STEP)?).await? == "after",
            "a read shows an old value",
        )?;
        println!("      a linearizable read through manager {id} shows the write");
    }
    let end = Instant::now() + UNMOVED;
    while Instant::now() < end {
        let now = until("the agent to be shown", async || {
            Ok(Some(client.agent(AGENT).await?))
        })
        .await?;
        let same = runs(&now) && now.epoch == before.epoch && now.restarts == before.restarts;
        check(
            same,
            &format!(
                "the agent did not go on: it is {:?} under epoch {}: {}",
                now.state, now.epoch, now.reason
            ),
        )?;
        sleep(LOOK * 10).await;
    }
    println!(
        "      the agent goes on under epoch {}, with no restart",
        before.epoch
    );
    Ok(())
}

/// The agent, once it runs in another container.
async fn elsewhere(client: &Client, before: &AgentView) -> io::Result<AgentView> {
    until("the agent to run elsewhere", async || {
        let now = client.agent(AGENT).await?;
        let moved = now.container != before.container && now.epoch > before.epoch;
        Ok(Some(now).filter(|now| moved && runs(now)))
    })
    .await
}

fn runs(agent: &AgentView) -> bool {
    agent.state == AgentState::Running
}

fn container(agent: &AgentView) -> io::Result<String> {
    let name = agent.container_name.as_ref().map(ToString::to_string);
    name.ok_or_else(|| wrong("the agent is in no container"))
}

async fn write(client: &Client, value: &'static str) -> Result<(), ClientError> {
    let put = client.put_config(CONFIG, "text/plain", value, Condition::Any, None);
    put.await.map(drop)
}

async fn read(client: &Client) -> io::Result<String> {
    let config = client.get_config(CONFIG, &Page::default()).await;
    let value = config.map_err(io::Error::other)?.value;
    Ok(String::from_utf8_lossy(&value).into_owned())
}

fn wrong(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}

fn check(fine: bool, what: &str) -> io::Result<()> {
    if fine { Ok(()) } else { Err(wrong(what)) }
}

/// Looks until there is something to see. While managers come and go, a look may fail.
async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> io::Result<T>
where
    F: Future<Output = Result<Option<T>, ClientError>>,
{
    let end = Instant::now() + STEP;
    loop {
        let seen = look().await;
        match seen {
            Ok(Some(seen)) => return Ok(seen),
            Ok(None) if Instant::now() > end => {
                return Err(wrong(&format!("waited {STEP:?} for {what}")));
            }
            Err(error) if Instant::now() > end => {
                return Err(wrong(&format!(
                    "waited {STEP:?} for {what}; the last look failed: {error}"
                )));
            }
            _ => sleep(LOOK).await,
        }
    }
}
