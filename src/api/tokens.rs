//! `/api/v1/tokens`: API tokens. Only administrators see or change them.

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
    problem::Problem,
    routes::Routes,
    secret::end_of,
    types::{Changed, List, NewToken, TokenRequest, TokenView},
};
use crate::{
    command::{ClusterCommand, Command, Outcome},
    model::{Name, Token, TokenId},
    security::Action,
    state,
};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/tokens", list)
        .post("/api/v1/tokens", create)
        .delete("/api/v1/tokens/{id}", revoke)
}

/// Lists API tokens by id, without their secrets.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens",
    params(
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
        ("limit" = Option<usize>, Query, description = "1 to 1000, 100 by default"),
        ("continue" = Option<String>, Query, description = "from the page before"),
    ),
    responses((status = 200, body = List<TokenView>)))]
pub(super) async fn list(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Admin).await?;
    let params = call.params(LIST)?;
    let paging = Paging::of(&params)?;
    let after = paging.after::<TokenId>()?;
    let view = app.view(&params).await?;
    let tokens = view
        .state
        .tokens()
        .filter(|token| after.is_none_or(|after| token.id > after));
    let key = |token: &Token| token.id.to_string();
    Ok(view.list(&paging, tokens, |_| None, key, |token| TokenView::from(token)))
}

/// Makes an API token. The answer is the only place where its text is shown.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens",
    params(("Idempotency-Key" = Option<String>, Header, description = "a repeat gets the same token")),
    request_body = TokenRequest,
    responses((status = 201, body = NewToken), (status = 409, description = "The name is taken")))]
pub(super) async fn create(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Admin).await?;
    call.params(&[])?;
    precondition::none(call.headers())?;
    let (asked, body) = call.json::<TokenRequest>().await?;
    let key = call.key(&body)?;
    let id = TokenId(fresh_id());
    let command = Command::Cluster(ClusterCommand::CreateToken(Token {
        id,
        name: asked.name,
        role: asked.role,
        hash: app.api_token(id).hash(),
        expires_at: end_of(asked.expires_in_seconds, clock())?,
        version: 0,
    }));
    let accepted = app.write(key, command, |_| None).await?;
    // A repeat gets the first request's token, not one of the id just made.
    let Outcome::TokenCreated(id) = accepted.outcome else {
        return Err(accepted.unexpected());
    };
    let answer = NewToken {
        id: id.to_string(),
        token: app.api_token(id).to_string(),
        version: accepted.revision,
    };
    Ok(accepted.object(StatusCode::CREATED, &answer))
}

/// Revokes an API token, by id or name. It is refused wherever the revocation has been applied.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens",
    params(
        ("id" = String, Path, description = "id or name"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer"),
    ),
    responses(
        (status = 200, body = Changed),
        (status = 404, description = "There is no such token"),
        (status = 409, description = "It is the last administrator's"),
    ))]
pub(super) async fn revoke(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Admin).await?;
    let name: Name = call.name_in("/api/v1/tokens/")?;
    call.params(&[])?;
    precondition::none(call.headers())?;
    let body = call.bytes(0).await?;
    let key = call.key(&body)?;
    let find = |state: &state::State| {
        let by_name = state
            .tokens()
            .find(|token| token.name == name)
            .map(|token| token.id);
        by_name.or_else(|| name.parse().ok().filter(|id| state.token(*id).is_some()))
    };
    let id = app
        .resolve("token", &name, key.is_some(), TokenId(0), find)
        .await?;
    let command = Command::Cluster(ClusterCommand::RevokeToken(id));
    let accepted = app
        .write(key, command, |_| None)
        .await
        .map_err(|problem| problem.naming("token", &name))?;
    let revision = accepted.revision;
    Ok(accepted.json(StatusCode::OK, &Changed { revision }))
}
