//! Joining: what a stranger with a join token gets.

use std::sync::Arc;

use super::{
    Context,
    door::{Link, LinkError},
};
use crate::{
    command::{ClusterCommand, Command, ContainerCommand, Outcome, Rejection},
    consensus::{ProposeError, ReadError},
    model::{
        ContainerId, JoinRole, JoinTokenId,
        session::{FromManager, Hello},
    },
    security::JoinToken,
    state::State,
};

/// Why a stranger is turned away, and whether trying again can help.
struct Refusal {
    reason: String,
    retry: bool,
}

fn for_good(reason: impl ToString) -> Refusal {
    Refusal {
        reason: reason.to_string(),
        retry: false,
    }
}

fn for_now(reason: impl ToString) -> Refusal {
    Refusal {
        reason: reason.to_string(),
        retry: true,
    }
}

impl From<ProposeError> for Refusal {
    fn from(error: ProposeError) -> Self {
        for_now(error)
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        for_now(error)
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Refused(_) => for_good(rejection),
            // A taken name becomes free once the other runner is proven stopped.
            _ => for_now(rejection),
        }
    }
}

/// Makes a runner a container, or turns it away.
pub(super) async fn enroll(
    context: &Arc<Context>,
    mut link: Link,
    token: &str,
    csr: &str,
    hello: &Hello,
) -> Result<(), LinkError> {
    match try_enroll(context, token, csr, hello).await {
        Ok(certificate) => {
            link.send(&certificate).await?;
            link.close().await
        }
        Err(refusal) => link.refuse(refusal.reason, refusal.retry).await,
    }
}

async fn try_enroll(
    context: &Context,
    token: &str,
    csr: &str,
    hello: &Hello,
) -> Result<FromManager, Refusal> {
    let token = check(context, token, JoinRole::Runner).await?;
    // Before the token's use is spent: a request that can't be signed must not cost one.
    context.deps.ca.sign_runner(csr, "c-check").map_err(for_good)?;
    let command = Command::Container(ContainerCommand::Enroll {
        id: ContainerId(rand::random()),
        token,
        name: hello.name.clone(),
        engine_container: hello.engine_container.clone(),
    });
    let reply = context.deps.consensus.propose(None, command).await?;
    let Outcome::Enrolled(container) = reply.result? else {
        return Err(for_now("the cluster gave an answer that does not fit; try again"));
    };
    let chain = context
        .deps
        .ca
        .sign_runner(csr, &container.to_string())
        .map_err(for_good)?;
    tracing::info!(%container, name = %hello.name, "a runner joined");
    Ok(FromManager::Certificate { container, chain })
}

/// Gives a manager an id and the CA's key, or turns it away.
pub(super) async fn admit(
    context: &Arc<Context>,
    mut link: Link,
    token: &str,
    incarnation: u64,
) -> Result<(), LinkError> {
    match try_admit(context, token, incarnation).await {
        Ok(admitted) => {
            link.send(&admitted).await?;
            link.close().await
        }
        Err(refusal) => link.refuse(refusal.reason, refusal.retry).await,
    }
}

async fn try_admit(context: &Context, token: &str, incarnation: u64) -> Result<FromManager, Refusal> {
    let token = check(context, token, JoinRole::Manager).await?;
    let command = Command::Cluster(ClusterCommand::AllocateManager { token, incarnation });
    let reply = context.deps.consensus.propose(None, command).await?;
    let Outcome::ManagerAllocated(id) = reply.result? else {
        return Err(for_now("the cluster gave an answer that does not fit; try again"));
    };
    let known = context.deps.consensus.status().managers;
    tracing::info!(manager = id, "a manager was admitted");
    Ok(FromManager::Admitted {
        id,
        ca_key: context.deps.ca.key_pem(),
        managers: known
            .into_values()
            .map(|manager| (manager.id, manager.info))
            .collect(),
    })
}

/// Checks a token against the state here, or, if it is not known here yet, against the latest. Apply
/// checks once more what may change meanwhile: uses left, expiry, revocation.
async fn check(context: &Context, text: &str, role: JoinRole) -> Result<JoinTokenId, Refusal> {
    let token: JoinToken = text.parse().map_err(for_good)?;
    if token.ca() != context.deps.ca.fingerprint() {
        return Err(for_good("the join token is for another cluster"));
    }
    let id = JoinTokenId(token.id());
    let here = context.deps.consensus.state();
    if here.join_token(id).is_some() {
        return verify(&here, &token, role);
    }
    let latest = context.deps.consensus.read().await?;
    verify(&latest, &token, role)
}

fn verify(state: &State, token: &JoinToken, role: JoinRole) -> Result<JoinTokenId, Refusal> {
    let id = JoinTokenId(token.id());
    let kept = state.join_token(id).filter(|kept| token.verify(&kept.hash));
    // A wrong secret and an unknown id are the same answer.
    let kept = kept.ok_or_else(|| for_good(format!("join token {id} is unknown, revoked or wrong")))?;
    if kept.role != role {
        return Err(for_good(format!("join token {id} is for another role")));
    }
    if kept.expires_at.is_some_and(|at| at <= state.now()) {
        return Err(for_good(format!(
            "join token {id} has expired: ask an operator for another one"
        )));
    }
    Ok(id)
}
