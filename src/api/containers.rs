//! `/api/v1/containers`: the registry of containers.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde_json::Value;

use super::{
    App,
    names::fresh_id,
    params::{LABELLED_LIST, Paging, READ},
    precondition,
    problem::{Code, Problem},
    routes::Routes,
    types::{Changed, ContainerRequest, ContainerView, Created, List},
};
use crate::{
    command::{Command, ContainerCommand, Outcome},
    model::{Container, ContainerId, Name, Revision},
    security::Action,
    state,
};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/containers", list)
        .post("/api/v1/containers", register)
        .get("/api/v1/containers/{name}", get)
        .delete("/api/v1/containers/{name}", remove)
}

fn shown(state: &state::State, container: &Container) -> ContainerView {
    let placed = state.placed(container.id);
    ContainerView::new(
        container,
        placed.map(|placed| placed.used).unwrap_or_default(),
        placed.map_or(0, |placed| placed.agents.len()),
    )
}

/// Lists containers by id.
#[utoipa::path(get, path = "/api/v1/containers", tag = "containers",
    params(
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
        ("limit" = Option<usize>, Query, description = "1 to 1000, 100 by default"),
        ("continue" = Option<String>, Query, description = "from the page before"),
        ("selector" = Option<String>, Query, description = "labels, such as `zone=a,gpu`"),
    ),
    responses((status = 200, body = List<ContainerView>)))]
pub(super) async fn list(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Read).await?;
    let params = call.params(LABELLED_LIST)?;
    let paging = Paging::of(&params)?;
    let after = paging.after::<ContainerId>()?;
    let view = app.view(&params).await?;
    Ok(view.list(
        &paging,
        view.state.containers(after),
        |container| Some(&container.labels),
        |container| container.id.to_string(),
        |container| shown(&view.state, container),
    ))
}

/// Registers a container before its runner comes; the runner then joins under the same name.
#[utoipa::path(post, path = "/api/v1/containers", tag = "containers",
    params(("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer")),
    request_body = ContainerRequest,
    responses((status = 201, body = Created), (status = 409, description = "The name is taken")))]
pub(super) async fn register(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Write).await?;
    call.params(&[])?;
    precondition::none(call.headers())?;
    let (asked, body) = call.json::<ContainerRequest>().await?;
    let key = call.key(&body)?;
    let name = asked.name.clone();
    let command = Command::Container(ContainerCommand::Register {
        id: ContainerId(fresh_id()),
        name: asked.name,
        labels: asked.labels,
    });
    let accepted = app.write(key, command, |_| None).await?;
    let Outcome::Enrolled(id) = accepted.outcome else {
        return Err(accepted.unexpected());
    };
    let (id, version) = (id.to_string(), accepted.revision);
    Ok(accepted.object(StatusCode::CREATED, &Created { id, name, version }))
}

/// Reads a container by name or id.
#[utoipa::path(get, path = "/api/v1/containers/{name}", tag = "containers",
    params(
        ("name" = String, Path, description = "name or id"),
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
        ("If-None-Match" = Option<String>, Header, description = "304 when the version is among these"),
    ),
    responses((status = 200, body = ContainerView), (status = 304, description = "The version is the one of `If-None-Match`"), (status = 404, description = "There is no such container")))]
pub(super) async fn get(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Read).await?;
    let name: Name = call.name_in("/api/v1/containers/")?;
    let unless = precondition::for_read(call.headers())?;
    let view = app.view(&call.params(READ)?).await?;
    match view.state.find_container(&name) {
        Some(container) => Ok(view.object(&unless, container.version, &shown(&view.state, container))),
        None => Err(Problem::new(
            Code::NotFound,
            format!("there is no container `{name}`"),
        )),
    }
}

/// Forgets a container that has no agents.
#[utoipa::path(delete, path = "/api/v1/containers/{name}", tag = "containers",
    params(
        ("name" = String, Path, description = "name or id"),
        ("If-Match" = Option<String>, Header, description = "`*`, or ETags: the version expected"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer"),
    ),
    responses(
        (status = 200, body = Changed),
        (status = 404, description = "There is no such container"),
        (status = 409, description = "It still has agents"),
        (status = 412, description = "Not at the expected version; `current` has it"),
    ))]
pub(super) async fn remove(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Write).await?;
    let name: Name = call.name_in("/api/v1/containers/")?;
    call.params(&[])?;
    let condition = precondition::for_change(call.headers())?;
    let body = call.bytes(0).await?;
    let key = call.key(&body)?;
    let find = |state: &state::State| state.find_container(&name).map(|container| container.id);
    let id = app
        .resolve("container", &name, key.is_some(), ContainerId(0), find)
        .await?;
    let command = Command::Container(ContainerCommand::Remove { id, condition });
    let accepted = app
        .write(key, command, |state| current(state, id))
        .await
        .map_err(|problem| problem.naming("container", &name))?;
    let revision = accepted.revision;
    Ok(accepted.json(StatusCode::OK, &Changed { revision }))
}

fn current(state: &state::State, id: ContainerId) -> Option<(Revision, Value)> {
    let container = state.container(id)?;
    let json = serde_json::to_value(shown(state, container)).ok()?;
    Some((container.version, json))
}
