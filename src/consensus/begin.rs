//! How a manager comes into a cluster, and notices that it is out of it.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use openraft::{ServerState, async_runtime::watch::WatchReceiver};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{
    core::Core,
    error::MembershipError,
    handle::Consensus,
    questions::{Join, Probe, Probed},
    status::{Fatal, Halt},
};
use crate::{
    command::{ClusterCommand, Command, Principal},
    model::{ManagerId, Member, PeerInfo},
    peers::Lane,
};

/// How often a manager without a cluster asks the others.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// How often a manager without a leader asks whether it still is a member.
const DOUBT_EVERY: Duration = Duration::from_secs(2);

/// How often a manager that can't form its cluster yet says whom it waits for.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What a manager without any log does first.
#[derive(Debug, Clone)]
pub enum First {
    /// Forms a cluster with these managers, itself among them, once all of them answer and none has
    /// a cluster already. A single one forms it at once.
    Form(BTreeMap<ManagerId, PeerInfo>),
    /// Asks one of these managers to be added; its id was allocated before.
    Join(Vec<(ManagerId, PeerInfo)>),
}

/// Brings this manager into a cluster, and from then on watches whether it still belongs there.
pub(super) async fn run(core: Arc<Core>, first: First, info: PeerInfo, fatal: Fatal) {
    let come_in = match first {
        First::Form(peers) => form(&core, peers).await,
        First::Join(peers) => join(&core, peers, info).await,
    };
    match come_in {
        Ok(()) => watch_removal(core, fatal).await,
        Err(why) => fatal(Halt::Consensus(why)),
    }
}

/// Forms a cluster. Nobody begins before everybody was asked: a manager that lost its data must not
/// begin again beside a cluster that knows it.
async fn form(core: &Core, peers: BTreeMap<ManagerId, PeerInfo>) -> Result<(), String> {
    let lowest = peers.keys().next() == Some(&core.me.id);
    let mut told = Instant::now();
    while !matches!(core.raft.is_initialized().await, Ok(true)) {
        // Asked anew each time: who was wiped meanwhile has another incarnation.
        let (members, missing) = blank_members(core, &peers).await?;
        if lowest && missing.is_empty() {
            info!(managers = members.len(), "forming a cluster");
            if let Err(error) = core.raft.initialize(members).await {
                warn!(%error, "the cluster was not formed");
            }
        } else if !missing.is_empty() && told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            warn!(
                missing = missing.join("; "),
                "waiting for all managers before the cluster is formed"
            );
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(())
}

/// Those of the managers that answer and have no cluster yet, this one among them, and why the others
/// are missing.
///
/// # Errors
/// When there is a cluster that this manager can't be part of.
async fn blank_members(
    core: &Core,
    peers: &BTreeMap<ManagerId, PeerInfo>,
) -> Result<(BTreeMap<ManagerId, Member>, Vec<String>), String> {
    let me = core.me;
    let mut members = BTreeMap::new();
    let mut missing = Vec::new();
    for (id, info) in peers {
        let incarnation = if *id == me.id {
            me.incarnation
        } else {
            let (incarnation, probe) = match probe(core, *id, info).await {
                Ok(answer) => answer,
                Err(error) => {
                    missing.push(format!("manager {id} at {}: {error}", info.peer));
                    continue;
                }
            };
            // Whoever lives there may have taken the place of one that was removed: what it knows
            // counts all the same.
            match (probe.initialized, probe.knows) {
                (false, _) if probe.id != *id => {
                    missing.push(format!(
                        "manager {id}: manager {} is at {}, check the peer addresses",
                        probe.id, info.peer
                    ));
                    continue;
                }
                (false, _) => incarnation,
                // Known as itself: the others will be in touch.
                (true, Some(known)) if known == me.incarnation => {
                    missing.push(format!(
                        "manager {id} has a cluster with this manager and will be in touch"
                    ));
                    continue;
                }
                (true, Some(_)) => {
                    return Err(format!(
                        "manager {} is known to the cluster with another data directory: its data were lost, so it can't come back as itself; remove it and join it as a new manager",
                        me.id
                    ));
                }
                (true, None) => {
                    return Err(format!(
                        "manager {} at {} has a cluster without manager {}: join it with a join token instead",
                        probe.id, info.peer, me.id
                    ));
                }
            }
        };
        let info = info.clone();
        members.insert(*id, Member { info, incarnation });
    }
    Ok((members, missing))
}

/// Asks the manager at an address what it knows, whichever manager that is by now; returns its
/// incarnation too.
async fn probe(core: &Core, id: ManagerId, info: &PeerInfo) -> io::Result<(u64, Probed)> {
    let incarnation = core.peers.incarnation_at(id, info).await?;
    let member = Member {
        info: info.clone(),
        incarnation,
    };
    let link = core.peers.link(Lane::JOIN, id, member);
    let probed = link.ask(&Probe, Duration::from_secs(1)).await;
    probed
        .map(|probed| (incarnation, probed))
        .map_err(io::Error::other)
}

/// Asks the known managers in turn to be added, until a committed membership has this manager: one that
/// was only appended may have fallen with its leader.
async fn join(core: &Core, peers: Vec<(ManagerId, PeerInfo)>, info: PeerInfo) -> Result<(), String> {
    let me = core.me;
    let member = Member {
        info,
        incarnation: me.incarnation,
    };
    for (id, info) in peers.iter().cycle() {
        if is_committed_member(core) {
            break;
        }
        if let Ok((incarnation, _)) = probe(core, *id, info).await {
            let theirs = Member {
                info: info.clone(),
                incarnation,
            };
            let link = core.peers.link(Lane::JOIN, *id, theirs);
            let member = member.clone();
            match link.ask(&Join { member }, Duration::from_secs(10)).await {
                Ok(Ok(())) => info!(manager = me.id, "this manager is a member"),
                Ok(Err(MembershipError::Invalid(why))) => return Err(why),
                other => debug!(answer = ?other, "not added yet; asking again"),
            }
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(())
}

fn is_committed_member(core: &Core) -> bool {
    let metrics = core.raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics
        .committed_membership_config
        .membership()
        .get_node(&core.me.id)
        .is_some()
}

/// Proposes the first command of the cluster while this manager leads one that lacks it.
pub(super) async fn found(consensus: Consensus, bootstrap: Option<ClusterCommand>) {
    let Some(bootstrap) = bootstrap else { return };
    let mut leadership = consensus.watch_leadership();
    while leadership.wait_for(Option::is_some).await.is_ok() {
        if consensus.state().cluster_id().is_some() {
            return;
        }
        // A second one, of an earlier leader, is rejected by apply and does no harm.
        if let Err(error) = consensus
            .propose(Principal::Manager, None, Command::Cluster(bootstrap.clone()))
            .await
        {
            warn!(%error, "the cluster was not founded yet; trying again");
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

/// Ends a manager that was removed while it could not be told: nobody replicates to it any more, so it
/// would stand for election for ever. It is sure when most of the others say so.
async fn watch_removal(core: Arc<Core>, fatal: Fatal) {
    loop {
        tokio::time::sleep(DOUBT_EVERY).await;
        let others: Vec<_> = {
            let metrics = core.raft.metrics();
            let metrics = metrics.borrow_watched();
            // Silence counts: raft remembers the last leader for ever.
            if metrics.state == ServerState::Leader || core.silence() < DOUBT_EVERY {
                continue;
            }
            let nodes = metrics.membership_config.membership().nodes();
            let others = nodes.filter(|(id, _)| **id != core.me.id);
            others.map(|(id, member)| (*id, member.info.clone())).collect()
        };
        let mut strangers = 0;
        for (id, info) in &others {
            let answer = probe(&core, *id, info).await;
            strangers +=
                usize::from(answer.is_ok_and(|(_, probe)| probe.initialized && probe.knows.is_none()));
        }
        if strangers > others.len() / 2 {
            return fatal(Halt::Consensus(format!(
                "manager {} was removed from its cluster; to join again, start it with an empty data directory and a join token",
                core.me.id
            )));
        }
    }
}
