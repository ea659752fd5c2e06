//! `/api/v1/engines`: Docker Engines whose containers are watched.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::{
    App, cached,
    problem::Problem,
    resource::{self, Named, Resource},
    routes::Routes,
    types::{Changed, Created, EngineRequest, EngineView, List},
};
use crate::{
    command::{Command, EngineCommand, Outcome},
    model::{Engine, EngineId, Name, Revision},
    state,
};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/engines", list)
        .post("/api/v1/engines", add)
        .get("/api/v1/engines/{name}", get)
        .delete("/api/v1/engines/{name}", remove)
}

impl Resource for Engine {
    type Id = EngineId;
    type Key = EngineId;
    type View = EngineView;

    fn id(number: u64) -> EngineId {
        EngineId(number)
    }

    fn made(outcome: &Outcome) -> Option<EngineId> {
        match outcome {
            Outcome::EngineAdded(id) => Some(*id),
            _ => None,
        }
    }

    fn all(state: &state::State, after: Option<EngineId>) -> impl Iterator<Item = &Arc<Self>> {
        // There are few engines, so those before are passed over one by one.
        let all = state.engines();
        all.filter(move |engine| after.is_none_or(|after| engine.id > after))
    }

    fn key(&self) -> EngineId {
        self.id
    }

    fn view(&self, _: &state::State) -> EngineView {
        EngineView::from(self)
    }
}

impl Named for Engine {
    const KIND: &'static str = "engine";
    const AT: &'static str = "/api/v1/engines/";

    fn find(state: &state::State, name: &Name) -> Option<EngineId> {
        state.find_engine(name).map(|engine| engine.id)
    }

    fn of(state: &state::State, id: EngineId) -> Option<&Arc<Self>> {
        state.engine(id)
    }

    fn version(&self) -> Revision {
        self.version
    }
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
    cached::list::<Engine>(&app, request).await
}

/// Adds an engine: from now on its containers with the label `quorate.enable=true` are found.
#[utoipa::path(post, path = "/api/v1/engines", tag = "engines",
    params(("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer")),
    request_body = EngineRequest,
    responses((status = 201, body = Created), (status = 409, description = "The name or address is taken")))]
pub(super) async fn add(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    resource::create::<Engine, EngineRequest>(&app, request, |asked, id| {
        let name = asked.name.clone();
        let command = EngineCommand::Add {
            id,
            name: asked.name,
            url: asked.url,
        };
        Ok((name, Command::Engine(command)))
    })
    .await
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
    cached::get::<Engine>(&app, request).await
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
    resource::change::<Engine>(&app, request, StatusCode::OK, |id, condition| {
        Command::Engine(EngineCommand::Remove { id, condition })
    })
    .await
}
