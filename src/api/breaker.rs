//! `/api/v1/cluster/breaker`: whether silence means anything just now, and an operator's word that it does.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::{
    App,
    params::READ,
    precondition,
    problem::Problem,
    routes::Routes,
    types::{BreakerView, Changed},
};
use crate::{
    command::{ClusterCommand, Command},
    model::ContainerState,
    security::Action,
    state,
};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/cluster/breaker", get)
        .post("/api/v1/cluster/breaker/lift", lift)
}

fn shown(state: &state::State) -> BreakerView {
    let suspects = state
        .containers(None)
        .filter(|container| container.state == ContainerState::Suspect);
    BreakerView::new(state.breaker(), suspects.count())
}

/// Shows the breaker. It opens when many containers fall silent together: they are then cut off rather than dead,
/// and none of them is lost by silence until they are back or it is lifted.
#[utoipa::path(get, path = "/api/v1/cluster/breaker", tag = "cluster",
    params(
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
        ("If-None-Match" = Option<String>, Header, description = "304 when the version is among these"),
    ),
    responses((status = 200, body = BreakerView), (status = 304, description = "The version is the one of `If-None-Match`")))]
pub(super) async fn get(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Read).await?;
    let unless = precondition::for_read(call.headers())?;
    let view = app.view(&call.params(READ)?).await?;
    let breaker = shown(&view.state);
    Ok(view.object(&unless, breaker.version, &breaker))
}

/// Lifts the breaker: those who are silent now are judged as usual, so that their agents move. They do not open it
/// again; others who fall silent later do.
#[utoipa::path(post, path = "/api/v1/cluster/breaker/lift", tag = "cluster",
    params(
        ("If-Match" = Option<String>, Header, description = "`*`, or ETags: the version expected"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer"),
    ),
    responses(
        (status = 200, body = Changed),
        (status = 409, description = "It is closed"),
        (status = 412, description = "Not at the expected version; `current` has it"),
    ))]
pub(super) async fn lift(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Write).await?;
    call.params(&[])?;
    let condition = precondition::for_change(call.headers())?;
    let body = call.bytes(0).await?;
    let origin = call.origin(&body)?;
    let command = Command::Cluster(ClusterCommand::LiftBreaker { condition });
    let current = |state: &state::State| {
        let breaker = shown(state);
        Some((breaker.version, serde_json::to_value(&breaker).ok()?))
    };
    let accepted = app.write(origin, command, current).await?;
    let revision = accepted.revision;
    tracing::warn!(token = %call.caller.token, revision, "the breaker was lifted by an operator");
    Ok(accepted.json(StatusCode::OK, &Changed { revision }))
}
