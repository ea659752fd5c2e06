//! `/api/v1/containers/{name}/approve`: lets a candidate in that a scan found.
//!
//! First the candidate is dialled, and nothing is changed unless it answers with the key that is approved. Then
//! a join token is made that is good for this record alone, once and for some minutes. Then the candidate is
//! told it, over the connection whose key was looked at. When that last step fails the approval can be
//! repeated; the token of the earlier one is void then.

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
    request_body = Option<ApproveRequest>,
    responses(
        (status = 200, body = Approved),
        (status = 404, description = "There is no such container"),
        (status = 409, description = "It is no candidate of a scan, has another key, or does not answer"),
        (status = 412, description = "Not at the expected version; `current` has it"),
    ))]
pub(super) async fn approve(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Write).await?;
    let name: Name = call.name_in(Container::AT)?;
    call.params(&[])?;
    let condition = precondition::for_change(call.headers())?;
    let (asked, body) = call.json_or_default::<ApproveRequest>().await?;
    let key = call.key(&body)?;
    let find = |state: &state::State| state.find_container(&name).map(|known| known.id);
    // A repeat may speak of a name that is no more; only apply knows the answer to the first.
    let (kind, nobody) = (Container::KIND, ContainerId(0));
    let id = app.resolve(kind, &name, key.is_some(), nobody, find).await?;
    let known = app.consensus().state().container(id).cloned();
    let candidate = known.filter(|known| known.state == ContainerState::Candidate);
    let theirs = candidate
        .as_ref()
        .and_then(|candidate| candidate.fingerprint.clone());
    let fingerprint = asked.fingerprint.or(theirs.clone()).unwrap_or_default();
    let opened = match &candidate {
        Some(candidate) if theirs.as_ref() == Some(&fingerprint) => {
            Some(dial(&app, candidate, &fingerprint).await?)
        }
        // Refused by apply, unless it repeats what was done.
        _ => None,
    };
    let command = ContainerCommand::Approve {
        id,
        fingerprint: fingerprint.clone(),
        token: one_time_token(&app),
        condition,
    };
    let current = |state: &state::State| resource::current::<Container>(state, id);
    let accepted = app.write(key, Command::Container(command), current).await;
    let accepted = accepted.map_err(|problem| problem.naming(kind, &name))?;
    let Outcome::JoinTokenCreated(token) = accepted.outcome else {
        return Err(accepted.unexpected());
    };
    // The approval stands from here on, so what fails now is told as part of the answer.
    let trouble = match opened {
        Some(opened) => {
            let token = app.join_token(token).to_string();
            let managers = app.consensus().session_addresses();
            opened.invite(managers, Some(token)).await.err()
        }
        None if accepted.replayed => None,
        None => Some(ProbeError::OtherKey),
    };
    tracing::info!(token = %call.caller.token, container = %id, %name, %fingerprint, ?trouble, "a candidate was approved");
    let approved = Approved {
        id,
        name,
        fingerprint: Some(fingerprint),
        trouble: trouble.map(|error| error.to_string()),
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

async fn dial(app: &App, candidate: &Container, fingerprint: &str) -> Result<Opened, Problem> {
    let place = candidate
        .address
        .as_deref()
        .unwrap_or_default()
        .parse::<SocketAddr>();
    let place = place.map_err(|_| {
        Problem::new(
            Code::Busy,
            format!("candidate `{}` has no address: scan again", candidate.name),
        )
    })?;
    let opened = app.prober().again(place, fingerprint).await;
    opened.map_err(|error| unreached(&candidate.name, &error))
}

fn unreached(name: &Name, error: &ProbeError) -> Problem {
    let detail = format!("candidate `{name}`: {error}; nothing was changed");
    Problem::new(Code::Busy, detail)
}
