//! Strangers with a join token: runners that want a certificate, managers that want to join.
//!
//! The token is looked at here first, so that only who holds its secret writes to the log; apply
//! decides again, in log order, and spends a use.

use super::{Core, Refusal};
use crate::{
    command::{ClusterCommand, Command, ContainerCommand, Outcome, Rejection, RequestKey},
    consensus::ProposeError,
    model::{
        ContainerId, JoinRole, JoinTokenId, TokenId,
        session::{FromManager, FromRunner, Hello},
    },
    security,
};

/// The answer to a stranger's only frame.
pub(super) async fn answer(core: &Core, frame: FromRunner) -> FromManager {
    let answer = match frame {
        FromRunner::Enroll {
            token, csr, hello, ..
        } => enroll(core, &token, &csr, &hello).await,
        FromRunner::JoinManager {
            token, incarnation, ..
        } => join(core, &token, incarnation).await,
        _ => Err(Refusal::for_good(
            "without a certificate of this cluster there is nothing to say but to join: show a join token",
        )),
    };
    answer.unwrap_or_else(FromManager::from)
}

async fn enroll(core: &Core, token: &str, csr: &str, hello: &Hello) -> Result<FromManager, Refusal> {
    let token = checked(core, token, JoinRole::Runner).await?;
    let fresh = ContainerId(rand::random());
    // Before the token is spent: a request that can't be signed must not cost a use.
    let chain = sign(core, csr, fresh)?;
    let command = Command::Container(ContainerCommand::Enroll {
        id: fresh,
        token,
        name: hello.name.clone(),
        engine_container: hello.engine_container.clone(),
    });
    // The key lets the proposer offer it again after a leader's fall without a second use.
    let key = request_key(token, format!("enroll-{:032x}", rand::random::<u128>()), fresh.0);
    let Outcome::Enrolled(container) = propose(core, key, command).await? else {
        return Err(Refusal::for_now("the cluster gave an answer of another kind"));
    };
    let chain = if container == fresh {
        chain
    } else {
        sign(core, csr, container)?
    };
    tracing::info!(%container, name = %hello.name, "a runner has joined");
    Ok(FromManager::Certificate { container, chain })
}

async fn join(core: &Core, token: &str, incarnation: u64) -> Result<FromManager, Refusal> {
    let token = checked(core, token, JoinRole::Manager).await?;
    let managers = core.consensus.status().managers;
    let managers: Vec<_> = managers.into_iter().map(|(id, m)| (id, m.info)).collect();
    if managers.is_empty() {
        return Err(Refusal::for_now("this manager does not know the others yet"));
    }
    // The same data directory gets the same id, however often it has to ask.
    let key = request_key(token, format!("join-{incarnation:016x}"), token.0);
    let command = Command::Cluster(ClusterCommand::AllocateManager { token, incarnation });
    let Outcome::ManagerAllocated(id) = propose(core, key, command).await? else {
        return Err(Refusal::for_now("the cluster gave an answer of another kind"));
    };
    tracing::info!(manager = id, "a manager may join");
    let ca_key = core.ca.key_pem();
    Ok(FromManager::Admitted { id, ca_key, managers })
}

/// The token's id, if its holder knows its secret and it is fit for `role` as far as is known here.
async fn checked(core: &Core, text: &str, role: JoinRole) -> Result<JoinTokenId, Refusal> {
    let state = core.consensus.state();
    if state.cluster_id().is_none() {
        return Err(Refusal::for_now("the cluster is not founded yet"));
    }
    let shown: security::JoinToken = text
        .parse()
        .map_err(|error| Refusal::for_good(format!("this is no join token: {error}")))?;
    if shown.ca() != core.ca.fingerprint() {
        return Err(Refusal::for_good("the join token is for another cluster"));
    }
    let id = JoinTokenId(shown.id());
    let bad = |why: &str| Refusal::for_good(format!("join token {id} {why}: ask for a new one"));
    let known = match state.join_token(id) {
        Some(known) => known.clone(),
        // It may be younger than what is known here.
        None => {
            let newest = core.consensus.read().await;
            let newest =
                newest.map_err(|error| Refusal::for_now(format!("can't look the token up: {error}")))?;
            let known = newest.join_token(id).cloned();
            known.ok_or_else(|| bad("is not valid"))?
        }
    };
    if !shown.verify(&known.hash) {
        return Err(bad("is not valid"));
    }
    if known.role != role {
        return Err(bad("is for another role"));
    }
    // Both are final, so what is known here is enough.
    if known.expires_at.is_some_and(|at| at <= state.now()) {
        return Err(bad("has expired"));
    }
    if known.uses_left == Some(0) {
        return Err(bad("is used up"));
    }
    Ok(id)
}

fn request_key(token: JoinTokenId, key: String, fingerprint: u64) -> RequestKey {
    RequestKey {
        principal: TokenId(token.0),
        key,
        fingerprint,
    }
}

async fn propose(core: &Core, key: RequestKey, command: Command) -> Result<Outcome, Refusal> {
    match core.consensus.propose(Some(key), command).await {
        Ok(reply) => reply.result.map_err(|rejection| match rejection {
            Rejection::Refused(why) => Refusal::for_good(why),
            other => Refusal::for_now(other.to_string()),
        }),
        Err(error) => Err(unanswered(&error)),
    }
}

/// What a runner is told when the log gave no answer.
pub(super) fn unanswered(error: &ProposeError) -> Refusal {
    tracing::debug!(%error, "a runner or manager was put off");
    Refusal::for_now("the managers have no working quorum at the moment")
}

/// A certificate for a runner.
pub(super) fn sign(core: &Core, csr: &str, id: ContainerId) -> Result<String, Refusal> {
    core.ca
        .sign_runner(csr, &id.to_string())
        .map_err(|error| Refusal::for_good(error.to_string()))
}
