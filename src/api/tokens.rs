//! `/api/v1/tokens`: API tokens. Only administrators see or change them.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};

use super::{
    App,
    auth::clock,
    precondition,
    problem::Problem,
    resource::{self, Named, Resource},
    routes::Routes,
    secret::{end_of, shown_once},
    types::{Changed, List, NewToken, TokenRequest, TokenView},
};
use crate::{
    command::{ClusterCommand, Command, Condition, Outcome},
    model::{Name, Revision, Token, TokenId},
    security::Action,
    state,
};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/tokens", list)
        .post("/api/v1/tokens", create)
        .delete("/api/v1/tokens/{id}", revoke)
}

impl Resource for Token {
    type Id = TokenId;
    type Key = TokenId;
    type View = TokenView;

    const READ: Action = Action::Admin;
    const WRITE: Action = Action::Admin;

    fn id(number: u64) -> TokenId {
        TokenId(number)
    }

    fn made(outcome: &Outcome) -> Option<TokenId> {
        match outcome {
            Outcome::TokenCreated(id) => Some(*id),
            _ => None,
        }
    }

    fn all(state: &state::State, after: Option<TokenId>) -> impl Iterator<Item = &Arc<Self>> {
        let all = state.tokens();
        all.filter(move |token| after.is_none_or(|after| token.id > after))
    }

    fn key(&self) -> TokenId {
        self.id
    }

    fn view(&self, _: &state::State) -> TokenView {
        TokenView::from(self)
    }
}

impl Named for Token {
    const KIND: &'static str = "token";
    const AT: &'static str = "/api/v1/tokens/";

    fn find(state: &state::State, name: &Name) -> Option<TokenId> {
        let by_name = state
            .tokens()
            .find(|token| token.name == *name)
            .map(|token| token.id);
        by_name.or_else(|| name.parse().ok().filter(|id| state.token(*id).is_some()))
    }

    fn of(state: &state::State, id: TokenId) -> Option<&Arc<Self>> {
        state.token(id)
    }

    fn version(&self) -> Revision {
        self.version
    }

    /// There is nothing about a token that changes.
    fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
        precondition::none(headers).map(|()| Condition::Any)
    }
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
    resource::list::<Token>(&app, request).await
}

/// Makes an API token. The answer is the only place where its text is shown.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens",
    params(("Idempotency-Key" = Option<String>, Header, description = "a repeat gets the same token")),
    request_body = TokenRequest,
    responses((status = 201, body = NewToken), (status = 409, description = "The name is taken")))]
pub(super) async fn create(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let asked = resource::make::<Token, TokenRequest, ()>(&app, request, |asked, id| {
        let token = Token {
            id,
            name: asked.name,
            role: asked.role,
            hash: app.api_token(id).hash(),
            expires_at: end_of(asked.expires_in_seconds, clock())?,
            version: 0,
        };
        Ok(((), Command::Cluster(ClusterCommand::CreateToken(token))))
    });
    let (accepted, id, ()) = asked.await?;
    let token = app.api_token(id).to_string();
    Ok(shown_once(&accepted, id.to_string(), token))
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
    resource::change::<Token>(&app, request, StatusCode::OK, |id, _| {
        Command::Cluster(ClusterCommand::RevokeToken(id))
    })
    .await
}
