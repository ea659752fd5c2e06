//! `/api/v1/cluster/join-tokens`: what lets runners and managers in. Only for administrators.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::{
    App,
    auth::clock,
    names::fresh_id,
    params::{LIST, Paging},
    precondition,
    problem::{Code, Problem},
    routes::Routes,
    secret::end_of,
    types::{Changed, JoinTokenRequest, JoinTokenView, List, NewToken},
};
use crate::{
    command::{ClusterCommand, Command, Outcome},
    model::{JoinToken, JoinTokenId},
    security::Action,
};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/cluster/join-tokens", list)
        .post("/api/v1/cluster/join-tokens", create)
        .delete("/api/v1/cluster/join-tokens/{id}", revoke)
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
    let call = app.admit(request, Action::Admin).await?;
    let params = call.params(LIST)?;
    let paging = Paging::of(&params)?;
    let after = paging.after::<JoinTokenId>()?;
    let view = app.view(&params).await?;
    let tokens = view
        .state
        .join_tokens()
        .filter(|token| after.is_none_or(|after| token.id > after));
    let key = |token: &JoinToken| token.id.to_string();
    Ok(view.list(&paging, tokens, |_| None, key, |token| JoinTokenView::from(token)))
}

/// Makes a join token. The answer is the only place where its text is shown.
#[utoipa::path(post, path = "/api/v1/cluster/join-tokens", tag = "cluster",
    params(("Idempotency-Key" = Option<String>, Header, description = "a repeat gets the same token")),
    request_body = JoinTokenRequest,
    responses((status = 201, body = NewToken)))]
pub(super) async fn create(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Admin).await?;
    call.params(&[])?;
    precondition::none(call.headers())?;
    let (asked, body) = call.json::<JoinTokenRequest>().await?;
    if asked.uses == Some(0) {
        return Err(Problem::new(
            Code::InvalidField,
            "`uses` is 0: use at least 1, or leave it out for no limit",
        ));
    }
    let key = call.key(&body)?;
    let id = JoinTokenId(fresh_id());
    let command = Command::Cluster(ClusterCommand::CreateJoinToken(JoinToken {
        id,
        role: asked.role,
        hash: app.join_token(id).hash(),
        expires_at: end_of(asked.expires_in_seconds, clock())?,
        uses_left: asked.uses,
        version: 0,
    }));
    let accepted = app.write(key, command, |_| None).await?;
    // A repeat gets the first request's token, not one of the id just made.
    let Outcome::JoinTokenCreated(id) = accepted.outcome else {
        return Err(accepted.unexpected());
    };
    let answer = NewToken {
        id: id.to_string(),
        token: app.join_token(id).to_string(),
        version: accepted.revision,
    };
    Ok(accepted.object(StatusCode::CREATED, &answer))
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
    let key = call.key(&body)?;
    let command = Command::Cluster(ClusterCommand::RevokeJoinToken(id));
    let accepted = app.write(key, command, |_| None).await?;
    let revision = accepted.revision;
    Ok(accepted.json(StatusCode::OK, &Changed { revision }))
}
