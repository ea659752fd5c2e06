//! Changes of the managers: add, promote, remove, hand over. One at a time, on the leader.
//!
//! A joiner is a learner until it has caught up; the leader then promotes it by itself, whoever
//! leads at that time. A manager that is removed first loses its right to join, then its place: if
//! the leader falls in between, removing it again finishes the work.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use openraft::{
    ChangeMembers, Instant as _,
    alias::InstantOf,
    async_runtime::watch::WatchReceiver,
    error::{ChangeMembershipError, ClientWriteError, RaftError},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

use super::{
    core::{Core, ROUND, Route},
    error::MembershipError,
    handle::{DEADLINE, MembershipCall, MembershipRequest},
    questions::Change,
    status::{HEALTHY, followers},
    types::TypeConfig,
};
use crate::{
    command::{ClusterCommand, Command, Principal, Proposal},
    model::{ManagerId, Member},
    peers::{AskError, Members, Standing},
    state::State,
};

/// A change of the membership needs two commits; a slow disk is given time for them.
const CHANGE: Duration = Duration::from_secs(5);

/// How far behind the log's end a learner may be when it is promoted, in entries.
const CAUGHT_UP: u64 = 1_000;

/// How often the leader looks after the membership.
const TEND_EVERY: Duration = Duration::from_millis(500);

/// Serves changes until the handle is gone.
pub(super) async fn run(core: Arc<Core>, mut queue: mpsc::Receiver<MembershipCall>) {
    while let Some((request, answer)) = queue.recv().await {
        let core = core.clone();
        tokio::spawn(async move {
            let result = route(&core, request).await;
            let _ = answer.send(result);
        });
    }
}

async fn route(core: &Core, request: MembershipRequest) -> Result<(), MembershipError> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match core.route() {
            Route::Here => match core.change(request.clone()).await {
                Err(MembershipError::NotTaken(_)) if Instant::now() < deadline => {}
                result => return result,
            },
            Route::There(links) => {
                let question = Change(request.clone());
                match links.questions.ask(&question, CHANGE + DEADLINE).await {
                    Ok(Err(MembershipError::NotTaken(_))) if Instant::now() < deadline => {}
                    Ok(result) => return result,
                    Err(AskError::Refused(_) | AskError::NotSent(_)) if Instant::now() < deadline => {}
                    // It was refused before anything was done, or never left.
                    Err(AskError::Refused(why) | AskError::NotSent(why)) => {
                        return Err(MembershipError::NotTaken(why));
                    }
                    Err(error @ AskError::Lost(_)) => {
                        return Err(MembershipError::Unconfirmed(error.to_string()));
                    }
                }
            }
            Route::Nowhere if Instant::now() >= deadline => {
                return Err(MembershipError::NotTaken("no leader is known".into()));
            }
            Route::Nowhere => {}
        }
        core.leader_change(Duration::from_millis(50)).await;
    }
}

type RaftResult<T> = Result<T, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>;

fn into_error(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> MembershipError {
    match error {
        RaftError::APIError(ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(
            _,
        ))) => MembershipError::InProgress,
        other => MembershipError::Unconfirmed(other.to_string()),
    }
}

/// How many of so many voters must agree.
const fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

impl Core {
    /// Carries a change out; only on the leader.
    pub(super) async fn change(&self, request: MembershipRequest) -> Result<(), MembershipError> {
        // One at a time: what one has checked must still hold when it acts.
        let Ok(Ok(_turn)) = tokio::time::timeout(DEADLINE, self.changing.acquire()).await else {
            return Err(MembershipError::InProgress);
        };
        match request {
            MembershipRequest::Add { id, member } => self.add(id, member).await,
            MembershipRequest::Remove { id } => self.remove(id).await,
            MembershipRequest::Transfer { to } => self.transfer(to).await,
        }
    }

    /// Carries a change through in a task of its own: a change of the voters takes two steps, and the
    /// second must not be lost with whoever waits for it.
    async fn within<T: Send + 'static>(
        &self,
        change: impl Future<Output = RaftResult<T>> + Send + 'static,
    ) -> Result<(), MembershipError> {
        match tokio::time::timeout(CHANGE, tokio::spawn(change)).await {
            Ok(Ok(result)) => result.map(|_| ()).map_err(into_error),
            Ok(Err(error)) => Err(MembershipError::Unconfirmed(error.to_string())),
            Err(_) => Err(MembershipError::Unconfirmed(format!(
                "it was not committed within {CHANGE:?}"
            ))),
        }
    }

    /// Finishes a change that an earlier leader left between its two steps: raft would let the next one
    /// begin. Called right before each change, because what came before it may have committed the first step.
    async fn finish_earlier(&self) -> Result<(), MembershipError> {
        let steps = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.membership().get_joint_config().len()
        };
        if steps > 1 { self.finish().await } else { Ok(()) }
    }

    /// Takes the second step of a change of the voters.
    async fn finish(&self) -> Result<(), MembershipError> {
        let (next, _) = self.members();
        if !next.contains(&self.me.id) {
            return self.hand_over(&next).await;
        }
        self.change_members(ChangeMembers::AddVoterIds(BTreeSet::new()), false)
            .await
    }

    /// A leader does not lead the change that ends its membership: raft has no place for a leader that is
    /// no member. Another one does, to which the caller turns next.
    async fn hand_over(&self, to: &BTreeSet<ManagerId>) -> Result<(), MembershipError> {
        let target = self.furthest(to)?;
        let handed = self.lead_by(target).await;
        Err(MembershipError::NotTaken(match handed {
            Ok(()) => format!("manager {target} leads now, because this one is being removed"),
            Err(error) => format!("leadership has to be handed over first: {error}"),
        }))
    }

    async fn change_members(
        &self,
        change: ChangeMembers<ManagerId, Member>,
        retain: bool,
    ) -> Result<(), MembershipError> {
        let raft = self.raft.clone();
        self.within(async move { raft.change_membership(change, retain).await })
            .await
    }

    /// Voters and all members, as the latest membership in the log has them; between the two steps of a
    /// change, the voters that there will be after it.
    fn members(&self) -> (BTreeSet<ManagerId>, BTreeSet<ManagerId>) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        (
            membership.get_joint_config().last().cloned().unwrap_or_default(),
            membership.nodes().map(|(id, _)| *id).collect(),
        )
    }

    /// The state with everything that was committed before this call. Fails unless this manager leads.
    async fn confirmed_state(&self) -> Result<Arc<State>, MembershipError> {
        let confirmed = async {
            let index = self.read_index().await.map_err(MembershipError::Unconfirmed)?;
            let mut applied = self.shared.applied.subscribe();
            let stopping = |_| MembershipError::Unconfirmed("this manager is stopping".into());
            applied.wait_for(|now| *now >= index).await.map_err(stopping)?;
            Ok(self.shared.state())
        };
        tokio::time::timeout(ROUND, confirmed).await.unwrap_or_else(|_| {
            Err(MembershipError::Unconfirmed(format!(
                "no quorum confirmed it within {ROUND:?}"
            )))
        })
    }

    async fn add(&self, id: ManagerId, member: Member) -> Result<(), MembershipError> {
        // What is refused here is refused for ever, and ends the manager that asks: a leader that was deposed
        // and does not know it yet must not do that.
        let state = self.confirmed_state().await?;
        if self.members().1.contains(&id) {
            return match self.standing(id) {
                Standing::Member { incarnation } if incarnation == member.incarnation => Ok(()),
                _ => Err(MembershipError::Invalid(format!(
                    "manager {id} is a member with another data directory"
                ))),
            };
        }
        if !state.may_join(id, member.incarnation) {
            return Err(MembershipError::Invalid(format!(
                "manager {id} has no right to join: its id was not given to this data directory, or it was removed; start with an empty data directory and a join token"
            )));
        }
        self.finish_earlier().await?;
        info!(manager = id, %member.info, "adding a manager as a learner");
        let raft = self.raft.clone();
        self.within(async move { raft.add_learner(id, member, false).await })
            .await
    }

    async fn remove(&self, id: ManagerId) -> Result<(), MembershipError> {
        let (voters, members) = self.members();
        if !members.contains(&id) {
            return Err(MembershipError::Unknown(id));
        }
        if voters.contains(&id) {
            let left = self.check_quorum_without(id, &voters).await?;
            if id == self.me.id {
                return self.hand_over(&left).await;
            }
        }
        let command = Command::Cluster(ClusterCommand::RetireManager(id));
        let retire = Proposal {
            at: self.clock.now(),
            by: Principal::Manager,
            key: None,
            command,
        };
        let raft = self.raft.clone();
        self.within(async move { raft.client_write(retire).await })
            .await?;
        self.finish_earlier().await?;
        let (voters, members) = self.members();
        if !members.contains(&id) {
            return Ok(());
        }
        info!(manager = id, "removing a manager");
        if !voters.contains(&id) {
            return self.forget(id).await;
        }
        // Something may have failed while that was committed.
        self.check_quorum_without(id, &voters).await?;
        self.change_members(ChangeMembers::RemoveVoters([id].into()), false)
            .await
    }

    /// Removes a learner.
    async fn forget(&self, id: ManagerId) -> Result<(), MembershipError> {
        self.change_members(ChangeMembers::RemoveNodes([id].into()), false)
            .await
    }

    /// The remaining voters, which must have a working quorum among them.
    async fn check_quorum_without(
        &self,
        id: ManagerId,
        voters: &BTreeSet<ManagerId>,
    ) -> Result<BTreeSet<ManagerId>, MembershipError> {
        let left: BTreeSet<_> = voters.iter().copied().filter(|v| *v != id).collect();
        if left.is_empty() {
            return Err(MembershipError::QuorumAtRisk(format!(
                "manager {id} is the only voter: it can't be removed"
            )));
        }
        self.quorum_works(&left).await.map_err(|silent| {
            let dead: Vec<_> = silent.iter().map(ToString::to_string).collect();
            MembershipError::QuorumAtRisk(format!(
                "without manager {id}, {} of {} must work and only {} do: bring back or remove manager {} first",
                quorum(left.len()),
                left.len(),
                left.len() - dead.len(),
                dead.join(", ")
            ))
        })?;
        Ok(left)
    }

    /// Whether a quorum of these voters works now, or else who is silent: each acknowledges something sent after this was asked.
    /// What was heard before does not count. A change of the voters that can't be committed can't be taken
    /// back either, and a voter that has died a moment ago may never return.
    async fn quorum_works(&self, voters: &BTreeSet<ManagerId>) -> Result<(), Vec<ManagerId>> {
        let (asked, until) = (InstantOf::<TypeConfig>::now(), Instant::now() + ROUND);
        let mut metrics = self.raft.metrics();
        loop {
            let followers = followers(&self.raft);
            let answered = |v: &ManagerId| {
                followers
                    .get(v)
                    .and_then(|f| f.heard)
                    .is_some_and(|at| at >= asked)
            };
            let silent: Vec<_> = voters
                .iter()
                .copied()
                .filter(|v| *v != self.me.id && !answered(v))
                .collect();
            if voters.len() - silent.len() >= quorum(voters.len()) {
                return Ok(());
            }
            if !matches!(timeout_at(until, metrics.changed()).await, Ok(Ok(()))) {
                return Err(silent);
            }
        }
    }

    async fn transfer(&self, to: Option<ManagerId>) -> Result<(), MembershipError> {
        let (voters, _) = self.members();
        let target = match to {
            Some(to) if to == self.me.id => return Ok(()),
            Some(to) if !voters.contains(&to) => return Err(MembershipError::Unknown(to)),
            Some(to) if !followers(&self.raft).get(&to).is_some_and(|f| f.healthy) => {
                return Err(MembershipError::Conflict(format!(
                    "manager {to} has not answered for {HEALTHY:?}: it can't lead now"
                )));
            }
            Some(to) => to,
            None => self.furthest(&voters)?,
        };
        self.lead_by(target).await
    }

    /// Who of these voters has most of this leader's log.
    fn furthest(&self, voters: &BTreeSet<ManagerId>) -> Result<ManagerId, MembershipError> {
        followers(&self.raft)
            .iter()
            // Raft counts the leader among those it hears from, and nobody has more of its log.
            .filter(|(id, f)| **id != self.me.id && f.healthy && voters.contains(id))
            .max_by_key(|(_, f)| f.matched)
            .map(|(id, _)| *id)
            .ok_or_else(|| MembershipError::Conflict("no other voter is healthy".into()))
    }

    async fn lead_by(&self, target: ManagerId) -> Result<(), MembershipError> {
        info!(to = target, "handing leadership over");
        self.raft
            .trigger()
            .transfer_leader(target)
            .await
            .map_err(|error| MembershipError::Unconfirmed(error.to_string()))?;
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if self.raft.metrics().borrow_watched().current_leader == Some(target) {
                return Ok(());
            }
            self.leader_change(Duration::from_millis(20)).await;
        }
        Err(MembershipError::Unconfirmed(format!(
            "manager {target} does not lead after {DEADLINE:?}"
        )))
    }
}

/// While this manager leads: finishes changes of the membership that an earlier leader left half-way, and
/// makes voters of learners that have caught up.
pub(super) async fn tend(core: Arc<Core>) {
    let mut every = tokio::time::interval(TEND_EVERY);
    loop {
        every.tick().await;
        if !matches!(core.route(), Route::Here) {
            continue;
        }
        let Ok(_turn) = core.changing.try_acquire() else {
            continue;
        };
        if let Err(error) = core.settle().await {
            warn!(%error, "the managers' membership is not settled yet; it will be tried again");
        }
    }
}

impl Core {
    async fn settle(&self) -> Result<(), MembershipError> {
        if self.unfinished() {
            return self.finish().await;
        }
        let (voters, members) = self.members();
        let mut learners = members.difference(&voters).copied();
        if learners.clone().next().is_none() {
            return Ok(());
        }
        // A learner was allowed to join before it became one; a removal takes that back first.
        let state = self.confirmed_state().await?;
        let retired = |id: &ManagerId| matches!(self.standing(*id), Standing::Member { incarnation } if !state.may_join(*id, incarnation));
        if let Some(id) = learners.clone().find(retired) {
            info!(manager = id, "removing a manager whose removal was left half-way");
            return self.forget(id).await;
        }
        let last = self.raft.metrics().borrow_watched().last_log_index.unwrap_or(0);
        let followers = followers(&self.raft);
        // It has all but the last entries.
        let caught_up = learners.find(|id| {
            followers
                .get(id)
                .is_some_and(|f| f.healthy && f.matched.is_some_and(|at| at + CAUGHT_UP >= last))
        });
        match caught_up {
            Some(id) => self.promote(id).await,
            None => Ok(()),
        }
    }

    async fn promote(&self, id: ManagerId) -> Result<(), MembershipError> {
        let mut voters = self.members().0;
        voters.insert(id);
        if let Err(silent) = self.quorum_works(&voters).await {
            return Err(MembershipError::QuorumAtRisk(format!(
                "manager {id} has caught up and can't vote yet: with it, {} of {} must work, and {silent:?} do not",
                quorum(voters.len()),
                voters.len()
            )));
        }
        info!(manager = id, "promoting a learner that has caught up");
        self.change_members(ChangeMembers::AddVoterIds([id].into()), true)
            .await
    }

    /// Whether the committed membership is one of two steps.
    fn unfinished(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .committed_membership_config
            .membership()
            .get_joint_config()
            .len()
            > 1
    }
}
