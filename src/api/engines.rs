//! `/api/v1/engines`: Docker Engines whose containers are watched.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde_json::Value;

use super::{
    App,
    names::fresh_id,
    params::{LIST, Paging, READ},
    precondition,
    problem::{Code, Problem},
    routes::Routes,
    types::{Changed, Created, EngineRequest, EngineView, List},
};
use crate::{
    command::{Command, EngineCommand, Outcome},
    model::{Engine, EngineId, Name, Revision},
    security::Action,
    state,
};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/engines", list)
        .post("/api/v1/engines", add)
        .get("/api/v1/engines/{name}", get)
        .delete("/api/v1/engines/{name}", remove)
}

/// Lists engines by id.
#[utoipa::path(get, path = "/api/v1/engines", tag = "engines",
    params(
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
        ("limit" = Option<usize>, Query, description = "1 to 1000, 100 by default"),
        ("continue" = Option<String>, Query, description = "from the page before"),
    ),
    responses((status = 200, body = List<EngineView>)))]
pub(super) async fn list(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Read).await?;
    let params = call.params(LIST)?;
    let paging = Paging::of(&params)?;
    let after = paging.after::<EngineId>()?;
    let view = app.view(&params).await?;
    // There are few engines, so those before are passed over one by one.
    let engines = view
        .state
        .engines()
        .filter(|engine| after.is_none_or(|after| engine.id > after));
    let key = |engine: &Engine| engine.id.to_string();
    Ok(view.list(&paging, engines, |_| None, key, |engine| EngineView::from(engine)))
}

/// Adds an engine: from now on its containers with the label `quorate.enable=true` are found.
#[utoipa::path(post, path = "/api/v1/engines", tag = "engines",
    params(("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer")),
    request_body = EngineRequest,
    responses((status = 201, body = Created), (status = 409, description = "The name or address is taken")))]
pub(super) async fn add(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Write).await?;
    call.params(&[])?;
    precondition::none(call.headers())?;
    let (asked, body) = call.json::<EngineRequest>().await?;
    let key = call.key(&body)?;
    let name = asked.name.clone();
    let command = Command::Engine(EngineCommand::Add {
        id: EngineId(fresh_id()),
        name: asked.name,
        url: asked.url,
    });
    let accepted = app.write(key, command, |_| None).await?;
    let Outcome::EngineAdded(id) = accepted.outcome else {
        return Err(accepted.unexpected());
    };
    let (id, version) = (id.to_string(), accepted.revision);
    Ok(accepted.object(StatusCode::CREATED, &Created { id, name, version }))
}

/// Reads an engine by name or id.
#[utoipa::path(get, path = "/api/v1/engines/{name}", tag = "engines",
    params(
        ("name" = String, Path, description = "name or id"),
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
        ("If-None-Match" = Option<String>, Header, description = "304 when the version is among these"),
    ),
    responses((status = 200, body = EngineView), (status = 304, description = "The version is the one of `If-None-Match`"), (status = 404, description = "There is no such engine")))]
pub(super) async fn get(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Read).await?;
    let name: Name = call.name_in("/api/v1/engines/")?;
    let unless = precondition::for_read(call.headers())?;
    let view = app.view(&call.params(READ)?).await?;
    match view.state.find_engine(&name) {
        Some(engine) => Ok(view.object(&unless, engine.version, &EngineView::from(engine.as_ref()))),
        None => Err(Problem::new(
            Code::NotFound,
            format!("there is no engine `{name}`"),
        )),
    }
}

/// Stops watching an engine; its containers stay registered, its candidates are forgotten.
#[utoipa::path(delete, path = "/api/v1/engines/{name}", tag = "engines",
    params(
        ("name" = String, Path, description = "name or id"),
        ("If-Match" = Option<String>, Header, description = "`*`, or ETags: the version expected"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer"),
    ),
    responses(
        (status = 200, body = Changed),
        (status = 404, description = "There is no such engine"),
        (status = 412, description = "Not at the expected version; `current` has it"),
    ))]
pub(super) async fn remove(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Write).await?;
    let name: Name = call.name_in("/api/v1/engines/")?;
    call.params(&[])?;
    let condition = precondition::for_change(call.headers())?;
    let body = call.bytes(0).await?;
    let key = call.key(&body)?;
    let find = |state: &state::State| state.find_engine(&name).map(|engine| engine.id);
    let id = app
        .resolve("engine", &name, key.is_some(), EngineId(0), find)
        .await?;
    let command = Command::Engine(EngineCommand::Remove { id, condition });
    let accepted = app
        .write(key, command, |state| current(state, id))
        .await
        .map_err(|problem| problem.naming("engine", &name))?;
    let revision = accepted.revision;
    Ok(accepted.json(StatusCode::OK, &Changed { revision }))
}

fn current(state: &state::State, id: EngineId) -> Option<(Revision, Value)> {
    let engine = state.engine(id)?;
    let json = serde_json::to_value(EngineView::from(engine.as_ref())).ok()?;
    Some((engine.version, json))
}
