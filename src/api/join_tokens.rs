//! `/api/v1/cluster/join-tokens`: what lets runners and managers in. Only for administrators.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::{
    App,
    auth::clock,
    precondition,
    problem::{Code, Problem},
    resource::{self, Resource},
    routes::Routes,
    secret::{end_of, shown_once},
    types::{Changed, JoinTokenRequest, JoinTokenView, List, NewToken},
};
use crate::{
    command::{ClusterCommand, Command, Outcome},
    model::{JoinToken, JoinTokenId},
    security::Action,
    state,
};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/cluster/join-tokens", list)
        .post("/api/v1/cluster/join-tokens", create)
        .delete("/api/v1/cluster/join-tokens/{id}", revoke)
}

impl Resource for JoinToken {
    type Id = JoinTokenId;
    type Key = JoinTokenId;
    type View = JoinTokenView;

    const READ: Action = Action::Admin;
    const WRITE: Action = Action::Admin;

    fn id(number: u64) -> JoinTokenId {
        JoinTokenId(number)
    }

    fn made(outcome: &Outcome) -> Option<JoinTokenId> {
        match outcome {
            Outcome::JoinTokenCreated(id) => Some(*id),
            _ => None,
        }
    }

    fn all(state: &state::State, after: Option<JoinTokenId>) -> impl Iterator<Item = &Arc<Self>> {
        let all = state.join_tokens();
        all.filter(move |token| after.is_none_or(|after| token.id > after))
    }

    fn key(&self) -> JoinTokenId {
        self.id
    }

    fn view(&self, _: &state::State) -> JoinTokenView {
        JoinTokenView::from(self)
    }
}

/// Lists join tokens by id, without their secrets.
#[utoipa::path(get, path = "/api/v1/cluster/join-tokens", tag = "cluster",
    params(
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
        ("limit" = Option<usize>, Query, description = "1 to 1000, 100 by default"),
        ("continue" = Option<String>, Query, description = "from the page before"),
    ),
    responses((status = 200, body = List<JoinTokenView>)))]
pub(super) async fn list(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    resource::list::<JoinToken>(&app, request).await
}

/// Makes a join token. The answer is the only place where its text is shown.
#[utoipa::path(post, path = "/api/v1/cluster/join-tokens", tag = "cluster",
    params(("Idempotency-Key" = Option<String>, Header, description = "a repeat gets the same token")),
    request_body = JoinTokenRequest,
    responses((status = 201, body = NewToken)))]
pub(super) async fn create(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let asked = resource::make::<JoinToken, JoinTokenRequest, ()>(&app, request, |asked, id| {
        if asked.uses == Some(0) {
            return Err(Problem::new(
                Code::InvalidField,
                "`uses` is 0: use at least 1, or leave it out for no limit",
            ));
        }
        let token = JoinToken {
            id,
            role: asked.role,
            hash: app.join_token(id).hash(),
            expires_at: end_of(asked.expires_in_seconds, clock())?,
            uses_left: asked.uses,
            version: 0,
        };
        Ok(((), Command::Cluster(ClusterCommand::CreateJoinToken(token))))
    });
    let (accepted, id, ()) = asked.await?;
    let token = app.join_token(id).to_string();
    Ok(shown_once(&accepted, id.to_string(), token))
}

/// Revokes a join token. What has joined with it stays.
#[utoipa::path(delete, path = "/api/v1/cluster/join-tokens/{id}", tag = "cluster",
    params(
        ("id" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer"),
    ),
    responses((status = 200, body = Changed), (status = 404, description = "There is no such token")))]
pub(super) async fn revoke(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Admin).await?;
    let id: JoinTokenId = call.name_in("/api/v1/cluster/join-tokens/")?;
    call.params(&[])?;
    precondition::none(call.headers())?;
    let body = call.bytes(0).await?;
    let origin = call.origin(&body)?;
    let command = Command::Cluster(ClusterCommand::RevokeJoinToken(id));
    let accepted = app.write(origin, command, |_| None).await?;
    let revision = accepted.revision;
    Ok(accepted.json(StatusCode::OK, &Changed { revision }))
}
