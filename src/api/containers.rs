//! `/api/v1/containers`: the registry of containers.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::{
    App, cached,
    echo::echo,
    params::LABELLED_LIST,
    problem::Problem,
    resource::{self, Named, Resource},
    routes::Routes,
    stats::stats,
    types::{Changed, ContainerRequest, ContainerView, CordonRequest, Created, List},
};
use crate::{
    command::{Command, ContainerCommand, Outcome},
    model::{Container, ContainerId, Labels, Name, Revision},
    state,
};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/containers", list)
        .post("/api/v1/containers", register)
        .get("/api/v1/containers/{name}", get)
        .delete("/api/v1/containers/{name}", remove)
        .post("/api/v1/containers/{name}/cordon", cordon)
        .post("/api/v1/containers/{name}/uncordon", uncordon)
        .get("/api/v1/containers/{name}/stats", stats)
        .post("/api/v1/containers/{name}/echo", echo)
}

impl Resource for Container {
    type Id = ContainerId;
    type Key = ContainerId;
    type View = ContainerView;

    const LIST: &'static [&'static str] = LABELLED_LIST;

    fn id(number: u64) -> ContainerId {
        ContainerId(number)
    }

    fn made(outcome: &Outcome) -> Option<ContainerId> {
        match outcome {
            Outcome::Enrolled(id) => Some(*id),
            _ => None,
        }
    }

    fn all(state: &state::State, after: Option<ContainerId>) -> impl Iterator<Item = &Arc<Self>> {
        state.containers(after)
    }

    fn key(&self) -> ContainerId {
        self.id
    }

    fn labels(&self) -> Option<&Labels> {
        Some(&self.labels)
    }

    fn view(&self, state: &state::State) -> ContainerView {
        let placed = state.placed(self.id);
        ContainerView::new(
            self,
            placed.map(|placed| placed.used).unwrap_or_default(),
            placed.map_or(0, |placed| placed.placements.len()),
        )
    }
}

impl Named for Container {
    const KIND: &'static str = "container";
    const AT: &'static str = "/api/v1/containers/";

    fn find(state: &state::State, name: &Name) -> Option<ContainerId> {
        state.find_container(name).map(|container| container.id)
    }

    fn of(state: &state::State, id: ContainerId) -> Option<&Arc<Self>> {
        state.container(id)
    }

    fn version(&self) -> Revision {
        self.version
    }
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
    cached::list::<Container>(&app, request).await
}

/// Registers a container before its runner comes; the runner then joins under the same name.
#[utoipa::path(post, path = "/api/v1/containers", tag = "containers",
    params(("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer")),
    request_body = ContainerRequest,
    responses((status = 201, body = Created), (status = 409, description = "The name is taken")))]
pub(super) async fn register(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    resource::create::<Container, ContainerRequest>(&app, request, |asked, id| {
        let name = asked.name.clone();
        let command = ContainerCommand::Register {
            id,
            name: asked.name,
            labels: asked.labels,
        };
        Ok((name, Command::Container(command)))
    })
    .await
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
    cached::get::<Container>(&app, request).await
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
    resource::change::<Container>(&app, request, StatusCode::OK, |id, condition| {
        Command::Container(ContainerCommand::Remove { id, condition })
    })
    .await
}

/// Keeps new agents out of a container; those that are there stay. It may be cordoned already: the new reason
/// then takes the place of the old one.
#[utoipa::path(post, path = "/api/v1/containers/{name}/cordon", tag = "containers",
    params(
        ("name" = String, Path, description = "name or id"),
        ("If-Match" = Option<String>, Header, description = "`*`, or ETags: the version expected"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer"),
    ),
    request_body = Option<CordonRequest>,
    responses(
        (status = 200, body = Changed),
        (status = 404, description = "There is no such container"),
        (status = 412, description = "Not at the expected version; `current` has it"),
    ))]
pub(super) async fn cordon(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    resource::change_to::<Container, CordonRequest>(&app, request, StatusCode::OK, |id, condition, asked| {
        Command::Container(ContainerCommand::Cordon {
            id,
            reason: asked.reason,
            condition,
        })
    })
    .await
}

/// Lets new agents into a container again.
#[utoipa::path(post, path = "/api/v1/containers/{name}/uncordon", tag = "containers",
    params(
        ("name" = String, Path, description = "name or id"),
        ("If-Match" = Option<String>, Header, description = "`*`, or ETags: the version expected"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer"),
    ),
    responses(
        (status = 200, body = Changed),
        (status = 404, description = "There is no such container"),
        (status = 412, description = "Not at the expected version; `current` has it"),
    ))]
pub(super) async fn uncordon(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    resource::change::<Container>(&app, request, StatusCode::OK, |id, condition| {
        Command::Container(ContainerCommand::Uncordon { id, condition })
    })
    .await
}
