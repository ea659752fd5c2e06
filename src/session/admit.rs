//! Strangers with a join token: runners that want a certificate, managers that want to join.
//!
//! The token is looked at here first, so that only who holds its secret writes to the log; apply
//! decides again, in log order, and spends a use.
//!
//! An enrolment that is asked again, with the same token for the same key, is answered again and spends
//! nothing: the answer may have been lost on its way, and the token is used up by then, or gone with the
//! record that it was for. What is refused is a final answer too, so nobody is told so while it is not known.

use std::net::IpAddr;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::{Core, Refusal};
use crate::{
    command::{ClusterCommand, Command, ContainerCommand, Outcome, Principal, Rejection, Reply, RequestKey},
    consensus::ProposeError,
    model::{
        ContainerId, JoinRole, JoinTokenId, TokenId,
        session::{FromManager, FromRunner, Hello},
    },
    security,
};

/// The answer to a stranger's only frame; `None` when nobody knows it, so that it asks again.
pub(super) async fn answer(core: &Core, from: IpAddr, frame: FromRunner) -> Option<FromManager> {
    let answer = match frame {
        FromRunner::Enroll {
            token, csr, hello, ..
        } => enroll(core, from, &token, &csr, &hello).await,
        FromRunner::JoinManager {
            token, incarnation, ..
        } => join(core, from, &token, incarnation).await.map(Some),
        _ => Err(Refusal::for_good(
            "without a certificate of this cluster there is nothing to say but to join: show a join token",
        )),
    };
    answer.unwrap_or_else(|refusal| Some(refusal.into()))
}

async fn enroll(
    core: &Core,
    from: IpAddr,
    token: &str,
    csr: &str,
    hello: &Hello,
) -> Result<Option<FromManager>, Refusal> {
    let shown = shown(core, token)?;
    let key = enrolment(&shown, csr);
    let token = match checked(core, &shown, JoinRole::Runner).await {
        Ok(token) => token,
        Err(refusal) if refusal.retry => return Ok(undecided(hello, &refusal.reason)),
        Err(refusal) => {
            let container = enrolled_before(core, &key).await.ok_or(refusal)?;
            let chain = sign(core, csr, container)?;
            tracing::info!(%container, name = %hello.name, "a runner that has joined is answered again");
            return Ok(Some(FromManager::Certificate { container, chain }));
        }
    };
    let fresh = ContainerId(rand::random());
    // Before the token is spent: a request that can't be signed must not cost a use.
    let chain = sign(core, csr, fresh)?;
    let command = Command::Container(ContainerCommand::Enroll {
        id: fresh,
        token,
        name: hello.name.clone(),
        engine_container: hello.engine_container.clone(),
    });
    let by = Principal::Newcomer { token, from };
    let reply = match core.consensus.propose(by, Some(key), command).await {
        Ok(reply) => reply,
        // Also where this try had no effect: an earlier one may have had.
        Err(error) => return Ok(undecided(hello, &error)),
    };
    let Outcome::Enrolled(container) = outcome(reply)? else {
        return Err(Refusal::for_now("the cluster gave an answer of another kind"));
    };
    let chain = if container == fresh {
        chain
    } else {
        sign(core, csr, container)?
    };
    tracing::info!(%container, name = %hello.name, "a runner has joined");
    Ok(Some(FromManager::Certificate { container, chain }))
}

/// Nothing is said to a runner of which nobody knows whether it has joined.
fn undecided(hello: &Hello, why: &dyn std::fmt::Display) -> Option<FromManager> {
    tracing::warn!(name = %hello.name, %why, "whether a runner has joined is not known; it will ask again");
    None
}

/// Whom an earlier enrolment with this key has let in, if the record is still there. Writes nothing.
async fn enrolled_before(core: &Core, key: &RequestKey) -> Option<ContainerId> {
    let newest = core.consensus.read().await;
    let state = newest.unwrap_or_else(|_| core.consensus.state());
    match state.answered(key)?.result {
        Ok(Outcome::Enrolled(container)) => state.container(container).map(|known| known.id),
        _ => None,
    }
}

/// The key under which the log knows an enrolment: the same for the same token and request, through whichever
/// manager, and of no use to who reads it. Whoever finds the answer by it knew the token's secret, and can use
/// the certificate only with the key that the request is for.
fn enrolment(token: &security::JoinToken, csr: &str) -> RequestKey {
    let hash = Sha256::new()
        .chain_update(b"quorate enrolment 1\0")
        .chain_update(token.hash())
        .chain_update(csr)
        .finalize();
    let key = format!("enroll-{}", HEXLOWER.encode(&hash));
    // All that matters is in the key.
    request_key(JoinTokenId(token.id()), key, 0)
}

async fn join(core: &Core, from: IpAddr, token: &str, incarnation: u64) -> Result<FromManager, Refusal> {
    let token = checked(core, &shown(core, token)?, JoinRole::Manager).await?;
    let managers = core.consensus.status().managers;
    let managers: Vec<_> = managers.into_iter().map(|(id, m)| (id, m.info)).collect();
    if managers.is_empty() {
        return Err(Refusal::for_now("this manager does not know the others yet"));
    }
    // The same data directory gets the same id, however often it has to ask.
    let key = request_key(token, format!("join-{incarnation:016x}"), token.0);
    let command = Command::Cluster(ClusterCommand::AllocateManager { token, incarnation });
    let by = Principal::Newcomer { token, from };
    let Outcome::ManagerAllocated(id) = propose(core, by, key, command).await? else {
        return Err(Refusal::for_now("the cluster gave an answer of another kind"));
    };
    tracing::info!(manager = id, "a manager may join");
    let ca_key = core.ca.key_pem();
    Ok(FromManager::Admitted { id, ca_key, managers })
}

/// The token, if it is one of this cluster by its looks.
fn shown(core: &Core, text: &str) -> Result<security::JoinToken, Refusal> {
    if core.consensus.state().cluster_id().is_none() {
        return Err(Refusal::for_now("the cluster is not founded yet"));
    }
    let shown: security::JoinToken = text
        .parse()
        .map_err(|error| Refusal::for_good(format!("this is no join token: {error}")))?;
    if shown.ca() != core.ca.fingerprint() {
        return Err(Refusal::for_good("the join token is for another cluster"));
    }
    Ok(shown)
}

/// The token's id, if its holder knows its secret and it is fit for `role` as far as is known here.
async fn checked(core: &Core, shown: &security::JoinToken, role: JoinRole) -> Result<JoinTokenId, Refusal> {
    let state = core.consensus.state();
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

async fn propose(core: &Core, by: Principal, key: RequestKey, command: Command) -> Result<Outcome, Refusal> {
    match core.consensus.propose(by, Some(key), command).await {
        Ok(reply) => outcome(reply),
        Err(error) => Err(unanswered(&error)),
    }
}

fn outcome(reply: Reply) -> Result<Outcome, Refusal> {
    reply.result.map_err(|rejection| match rejection {
        Rejection::Refused(why) => Refusal::for_good(why),
        other => Refusal::for_now(other.to_string()),
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::{Fingerprint, JoinToken};

    #[test]
    fn an_enrolment_s_key_is_its_own_and_tells_nothing_of_the_token() {
        let ca = Fingerprint::of(&[1].as_slice().into());
        let token = |secret| JoinToken::from_secret(7, [secret; 32], ca);
        let key = enrolment(&token(3), "a request");
        assert_eq!(key, enrolment(&token(3), "a request"));
        assert_ne!(key.key, enrolment(&token(4), "a request").key);
        assert_ne!(key.key, enrolment(&token(3), "another request").key);
        // As long as keys may be.
        assert!(key.key.len() <= 128 && key.principal == TokenId(7));
        for secret in [[3; 32], token(3).hash()] {
            assert!(!key.key.contains(&HEXLOWER.encode(&secret)));
        }
        assert!(!token(3).to_string().contains(&key.key["enroll-".len()..]));
    }
}
