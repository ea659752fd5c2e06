//! `/api/v1/containers/{name}/approve`: lets a candidate in that a scan found.
//!
//! What is approved is a key that somebody has looked at, never a name: that is the candidate's own choice.
//!
//! First the candidate is dialled, and nothing is changed unless it answers with that key. Then a join token is
//! made that is good for this record alone, once and for some minutes. Then the candidate is told it, over the
//! connection whose key was looked at. When that last step fails the approval can be repeated; the token of the
//! earlier one is void then.
//!
//! A request with an idempotency key may repeat one that was carried out already, and the candidate may be gone
//! since: only apply knows. So such a request is decided there whether or not it answers, and that it does not
//! is told as part of the answer. A token that nobody was told never leaves the managers.

use std::{net::SocketAddr, time::Duration};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::{
    App,
    auth::clock,
    names::fresh_id,
    precondition,
    problem::{Code, Problem},
    resource::{self, Named},
    routes::Routes,
    types::{ApproveRequest, Approved},
};
use crate::{
    command::{Command, ContainerCommand, Outcome},
    model::{Container, ContainerId, ContainerState, JoinRole, JoinToken, JoinTokenId, Name},
    probe::{Opened, ProbeError},
    security::Action,
    state,
};

/// How long the token is good: the candidate uses it at once.
const TOKEN_LIFE: Duration = Duration::from_secs(600);

pub(super) fn routes(routes: Routes) -> Routes {
    routes.post("/api/v1/containers/{name}/approve", approve)
}

/// Approves a candidate that a scan found: it is dialled, has to show the key that is approved, and is given a
/// one-time join token and the managers' addresses. It joins at once and is then the same container.
#[utoipa::path(post, path = "/api/v1/containers/{name}/approve", tag = "containers",
    params(
        ("name" = String, Path, description = "name or id"),
        ("If-Match" = Option<String>, Header, description = "`*`, or ETags: the version expected"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer"),
    ),
    request_body = ApproveRequest,
    responses(
        (status = 200, body = Approved),
        (status = 400, description = "The key is missing, or none"),
        (status = 404, description = "There is no such container"),
        (status = 409, description = "It is no candidate of a scan, has another key, or, without \
            `Idempotency-Key`, does not answer; with one, `trouble` of the answer says so"),
        (status = 412, description = "Not at the expected version; `current` has it"),
    ))]
pub(super) async fn approve(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Write).await?;
    let name: Name = call.name_in(Container::AT)?;
    call.params(&[])?;
    let condition = precondition::for_change(call.headers())?;
    let (asked, body) = call.json::<ApproveRequest>().await?;
    let fingerprint = looked_at(&asked.fingerprint)?;
    let origin = call.origin(&body)?;
    let find = |state: &state::State| state.find_container(&name).map(|known| known.id);
    // A repeat may speak of a name that is no more; only apply knows the answer to the first.
    let (kind, nobody) = (Container::KIND, ContainerId(0));
    let id = app
        .resolve(kind, &name, origin.key.is_some(), nobody, find)
        .await?;
    let known = app.consensus().state().container(id).cloned();
    let candidate = known.filter(|known| known.state == ContainerState::Candidate);
    let meant = candidate.filter(|candidate| candidate.fingerprint.as_ref() == Some(&fingerprint));
    let dialled = match &meant {
        Some(candidate) => Some(dial(&app, candidate, &fingerprint).await),
        // Refused by apply, unless it repeats what was done.
        None => None,
    };
    let opened = before_apply(dialled, origin.key.is_some()).map_err(|why| {
        Problem::new(
            Code::Busy,
            format!("candidate `{name}`: {why}; nothing was changed"),
        )
    })?;
    let command = ContainerCommand::Approve {
        id,
        fingerprint: fingerprint.clone(),
        token: one_time_token(&app),
        condition,
    };
    let current = |state: &state::State| resource::current::<Container>(state, id);
    let accepted = app.write(origin, Command::Container(command), current).await;
    let accepted = accepted.map_err(|problem| problem.naming(kind, &name))?;
    let Outcome::JoinTokenCreated(token) = accepted.outcome else {
        return Err(accepted.unexpected());
    };
    // The approval stands from here on, so what fails now is told as part of the answer.
    let trouble = match opened {
        Some(Ok(opened)) => {
            let token = app.join_token(token).to_string();
            let managers = app.consensus().session_addresses();
            let told = opened.invite(managers, Some(token)).await;
            told.err().map(|error| error.to_string())
        }
        Some(Err(why)) => Some(why),
        None if accepted.replayed => None,
        None => Some(ProbeError::OtherKey.to_string()),
    };
    tracing::info!(token = %call.caller.token, container = %id, %name, %fingerprint, ?trouble, "a candidate was approved");
    let approved = Approved {
        id,
        name,
        fingerprint,
        trouble,
        revision: accepted.revision,
    };
    Ok(accepted.json(StatusCode::OK, &approved))
}

/// A join token for one runner; see `secret` for where its secret comes from.
fn one_time_token(app: &App) -> JoinToken {
    let id = JoinTokenId(fresh_id());
    JoinToken {
        id,
        role: JoinRole::Runner,
        hash: app.join_token(id).hash(),
        expires_at: Some(clock().after(TOKEN_LIFE)),
        uses_left: Some(1),
        version: 0,
    }
}

/// The connection to the candidate, or why there is none.
async fn dial(app: &App, candidate: &Container, fingerprint: &str) -> Result<Opened, String> {
    let place = candidate.address.as_deref().unwrap_or_default();
    let place: SocketAddr = place
        .parse()
        .map_err(|_| "it has no address: scan again".to_owned())?;
    let opened = app.prober().again(place, fingerprint).await;
    opened.map_err(|error| error.to_string())
}

/// A candidate that does not answer ends the request, unless that has a key: then it may be answered already.
fn before_apply<T>(
    dialled: Option<Result<T, String>>,
    keyed: bool,
) -> Result<Option<Result<T, String>>, String> {
    match dialled {
        Some(Err(why)) if !keyed => Err(why),
        other => Ok(other),
    }
}

/// The key as records have it.
fn looked_at(fingerprint: &str) -> Result<String, Problem> {
    if fingerprint.len() == 64 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(fingerprint.to_ascii_lowercase());
    }
    Err(Problem::new(
        Code::InvalidField,
        "`fingerprint` is the candidate's key, 64 hexadecimal digits, as its runner's log shows it: compare the \
         two before you approve it",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_whole_key_is_approved() {
        let key = "0123456789abcdef".repeat(4);
        assert_eq!(looked_at(&key.to_uppercase()).unwrap(), key);
        let (long, other) = (format!("{key}0"), key.replace('0', "g"));
        for bad in ["", "00", "web", &key[1..], long.as_str(), other.as_str()] {
            assert_eq!(looked_at(bad).unwrap_err().code(), Code::InvalidField, "{bad}");
        }
    }

    /// A request without a key approved whoever sat under the name.
    #[test]
    fn a_request_names_the_key() {
        for bad in ["{}", r#"{"fingerprint": null}"#, r#"{"name": "web"}"#] {
            assert!(serde_json::from_str::<ApproveRequest>(bad).is_err(), "{bad}");
        }
    }

    /// The repeat of an approval whose answer was lost was told that nothing had been changed.
    #[test]
    fn only_a_request_that_repeats_nothing_ends_with_the_dial() {
        let failed = || Some(Err::<(), _>("refused".to_owned()));
        assert_eq!(before_apply(failed(), false), Err("refused".to_owned()));
        assert_eq!(before_apply(failed(), true), Ok(failed()));
        for keyed in [false, true] {
            assert_eq!(before_apply(Some(Ok(())), keyed), Ok(Some(Ok(()))));
            assert_eq!(before_apply::<()>(None, keyed), Ok(None));
        }
    }
}
