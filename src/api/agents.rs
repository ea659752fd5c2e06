//! `/api/v1/agents`: deploy, read, start, stop, delete.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::{
    App, cached,
    params::{LABELLED_LIST, Paging},
    problem::{Code, Problem},
    resource::{self, Named, Resource},
    routes::Routes,
    types::{AgentView, Changed, Created, Explained, List},
};
use crate::{
    command::{AgentCommand, Command, Outcome},
    model::{Agent, AgentId, AgentSpec, Constraints, Desired, Labels, Name, Revision},
    plan,
    security::Action,
    state,
};

/// The parameters of an explanation.
const EXPLAIN: &[&str] = &["consistency", "min_revision", "limit"];

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/agents", list)
        .post("/api/v1/agents", deploy)
        .get("/api/v1/agents/{name}", get)
        .delete("/api/v1/agents/{name}", delete)
        .get("/api/v1/agents/{name}/explain", explain)
        .post("/api/v1/agents/{name}/start", start)
        .post("/api/v1/agents/{name}/stop", stop)
}

impl Resource for Agent {
    type Id = AgentId;
    type Key = Name;
    type View = AgentView;

    const LIST: &'static [&'static str] = LABELLED_LIST;

    fn id(number: u64) -> AgentId {
        AgentId(number)
    }

    fn made(outcome: &Outcome) -> Option<AgentId> {
        match outcome {
            Outcome::AgentDeployed(id) => Some(*id),
            _ => None,
        }
    }

    fn all(state: &state::State, after: Option<Name>) -> impl Iterator<Item = &Arc<Self>> {
        state.agents(after.as_ref())
    }

    fn key(&self) -> Name {
        self.spec.name.clone()
    }

    fn labels(&self) -> Option<&Labels> {
        Some(&self.spec.labels)
    }

    fn view(&self, state: &state::State) -> AgentView {
        AgentView::new(self, state)
    }
}

impl Named for Agent {
    const KIND: &'static str = "agent";
    const AT: &'static str = "/api/v1/agents/";

    fn find(state: &state::State, name: &Name) -> Option<AgentId> {
        state.find_agent(name).map(|agent| agent.id)
    }

    fn of(state: &state::State, id: AgentId) -> Option<&Arc<Self>> {
        state.agent(id)
    }

    fn version(&self) -> Revision {
        self.version
    }
}

/// Lists agents by name.
#[utoipa::path(get, path = "/api/v1/agents", tag = "agents",
    params(
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
        ("limit" = Option<usize>, Query, description = "1 to 1000, 100 by default"),
        ("continue" = Option<String>, Query, description = "from the page before"),
        ("selector" = Option<String>, Query, description = "labels, such as `tier=web,!canary`"),
    ),
    responses((status = 200, body = List<AgentView>)))]
pub(super) async fn list(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    cached::list::<Agent>(&app, request).await
}

/// Deploys an agent. It is placed as soon as a container has room for it.
#[utoipa::path(post, path = "/api/v1/agents", tag = "agents",
    params(("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer")),
    request_body(content = Object, description = "The spec: `name` and `command`, and what else it needs"),
    responses(
        (status = 201, body = Created),
        (status = 409, description = "The name is taken"),
        (status = 422, description = "The spec can't be run"),
    ))]
pub(super) async fn deploy(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    resource::create::<Agent, AgentSpec>(&app, request, |spec, id| {
        spec.check()?;
        let name = spec.name.clone();
        Ok((
            name,
            Command::Agent(AgentCommand::Deploy {
                id,
                spec: Arc::new(spec),
            }),
        ))
    })
    .await
    .map_err(|problem| problem.recoded(Constraints::REFUSED, Code::InvalidSpec))
}

/// Reads an agent by name or id.
#[utoipa::path(get, path = "/api/v1/agents/{name}", tag = "agents",
    params(
        ("name" = String, Path, description = "name or id"),
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
        ("If-None-Match" = Option<String>, Header, description = "304 when the version is among these"),
    ),
    responses((status = 200, body = AgentView), (status = 304, description = "The version is the one of `If-None-Match`"), (status = 404, description = "There is no such agent")))]
pub(super) async fn get(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    cached::get::<Agent>(&app, request).await
}

/// Says of containers why each would or would not get the agent now: the one that has it first, then
/// those that could, the best first, then the others.
#[utoipa::path(get, path = "/api/v1/agents/{name}/explain", tag = "agents",
    params(
        ("name" = String, Path, description = "name or id"),
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
        ("limit" = Option<usize>, Query, description = "1 to 1000, 100 by default; there is no next page"),
    ),
    responses((status = 200, body = List<Explained>), (status = 404, description = "There is no such agent")))]
pub(super) async fn explain(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Read).await?;
    let name: Name = call.name_in(Agent::AT)?;
    let params = call.params(EXPLAIN)?;
    let limit = Paging::of(&params)?.limit;
    let view = app.view(&params).await?;
    let agent = resource::named::<Agent>(&view, &name)?;
    let verdicts = plan::explain(&view.state, agent);
    let items = verdicts.into_iter().take(limit).map(|(id, verdict)| Explained {
        container: id,
        container_name: view.state.container(id).map(|container| container.name.clone()),
        fits: verdict.fits(),
        verdict: verdict.to_string(),
        why: serde_json::json!(verdict),
    });
    Ok(view.json(&List {
        items: items.collect(),
        next: None,
        revision: view.state.revision(),
    }))
}

/// Starts a stopped or failed agent.
#[utoipa::path(post, path = "/api/v1/agents/{name}/start", tag = "agents",
    params(
        ("name" = String, Path, description = "name or id"),
        ("If-Match" = Option<String>, Header, description = "`*`, or ETags: the version expected"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer"),
    ),
    responses(
        (status = 202, body = Changed, description = "It will be placed and started"),
        (status = 404, description = "There is no such agent"),
        (status = 409, description = "It is still stopping, or being deleted"),
        (status = 412, description = "Not at the expected version; `current` has it"),
    ))]
pub(super) async fn start(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    set_desired(app, request, Desired::Running).await
}

/// Stops an agent; it stays known.
#[utoipa::path(post, path = "/api/v1/agents/{name}/stop", tag = "agents",
    params(
        ("name" = String, Path, description = "name or id"),
        ("If-Match" = Option<String>, Header, description = "`*`, or ETags: the version expected"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer"),
    ),
    responses(
        (status = 202, body = Changed, description = "It will be stopped"),
        (status = 404, description = "There is no such agent"),
        (status = 409, description = "It is being deleted"),
        (status = 412, description = "Not at the expected version; `current` has it"),
    ))]
pub(super) async fn stop(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    set_desired(app, request, Desired::Stopped).await
}

/// Deletes an agent: it is stopped, and forgotten once that is done.
#[utoipa::path(delete, path = "/api/v1/agents/{name}", tag = "agents",
    params(
        ("name" = String, Path, description = "name or id"),
        ("If-Match" = Option<String>, Header, description = "`*`, or ETags: the version expected"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer"),
    ),
    responses(
        (status = 202, body = Changed, description = "It will be stopped and forgotten"),
        (status = 404, description = "There is no such agent"),
        (status = 412, description = "Not at the expected version; `current` has it"),
    ))]
pub(super) async fn delete(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    set_desired(app, request, Desired::Removed).await
}

async fn set_desired(app: App, request: Request, desired: Desired) -> Result<Response, Problem> {
    resource::change::<Agent>(&app, request, StatusCode::ACCEPTED, |id, condition| {
        Command::Agent(AgentCommand::SetDesired {
            id,
            desired,
            condition,
        })
    })
    .await
}
