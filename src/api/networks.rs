//! `/api/v1/engines/{name}/networks`: the networks of an engine, and which containers are on them.
//!
//! Any manager answers, by asking the engine itself; nothing here is in the log. What a container is connected to
//! comes back through the engine's events, a moment later.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    App,
    call::{self, Call},
    names::absent,
    params::READ,
    problem::{Code, Problem},
    routes::Routes,
    types::{List, NetworkChanged, NetworkConnect, NetworkDisconnect, NetworkRequest, NetworkView},
    view::View,
};
use crate::{
    engine::{Endpoint, EngineCallError, NewNetwork},
    model::{Container, Engine, Name, NetworkName},
    security::Action,
};

const ENGINES: &str = "/api/v1/engines/";

/// The longest name besides its own that a container gets on a network, and how many of them.
const ALIASES: (usize, usize) = (63, 16);

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/engines/{name}/networks", list)
        .post("/api/v1/engines/{name}/networks", create)
        .delete("/api/v1/engines/{name}/networks/{network}", remove)
        .post("/api/v1/engines/{name}/networks/{network}/connect", connect)
        .post("/api/v1/engines/{name}/networks/{network}/disconnect", disconnect)
}

impl From<EngineCallError> for Problem {
    fn from(error: EngineCallError) -> Self {
        let code = match &error {
            EngineCallError::Unreachable(_) => Code::EngineUnreachable,
            EngineCallError::NotFound(_) => Code::NotFound,
            EngineCallError::Exists(_) => Code::AlreadyExists,
            EngineCallError::Refused(_) => Code::Busy,
            EngineCallError::Invalid(_) => Code::InvalidRequest,
            EngineCallError::Failed(_) => Code::EngineFailed,
            EngineCallError::Unknown(_) => Code::OutcomeUnknown,
            EngineCallError::Overloaded => Code::Overloaded,
        };
        Self::new(code, error.to_string())
    }
}

/// A request about an engine's networks, with the state that its names are looked up in.
struct Asked {
    call: Call,
    view: View,
    engine: Arc<Engine>,
}

impl Asked {
    async fn of(app: &App, request: Request, action: Action, params: &[&str]) -> Result<Self, Problem> {
        let call = app.admit(request, action).await?;
        let name: Name = call.name_in(ENGINES)?;
        let view = app.view(&call.params(params)?).await?;
        let engine = view.state.find_engine(&name).cloned();
        let engine = engine.ok_or_else(|| absent("engine", &name))?;
        Ok(Self { call, view, engine })
    }

    /// For a change, which an idempotency key could not keep what it promises for.
    async fn change(app: &App, request: Request) -> Result<Self, Problem> {
        let asked = Self::of(app, request, Action::Write, &[]).await?;
        asked.call.no_key_for(
            "changes of an engine's networks are not in the log, which is what remembers keys: leave \
             `Idempotency-Key` out, and list the networks before you try again",
        )?;
        Ok(asked)
    }

    fn endpoint(&self, app: &App) -> Endpoint {
        app.engines().to(&self.engine)
    }

    /// The network in the path.
    fn network(&self) -> Result<NetworkName, Problem> {
        let path = self.call.parts.uri.path();
        let engine = path.strip_prefix(ENGINES).and_then(|rest| rest.split('/').next());
        let before = format!("{ENGINES}{}/networks/", engine.unwrap_or_default());
        self.call.name_in(&before)
    }

    async fn body<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        Ok(self.call.json().await?.0)
    }

    /// The engine's own id of one of our containers, which must be on this engine.
    fn container(&self, name: &Name) -> Result<(Name, String), Problem> {
        let state = &self.view.state;
        let container: &Container = state
            .find_container(name)
            .ok_or_else(|| absent("container", name))?;
        let elsewhere = |place: String| {
            let (container, engine) = (&container.name, &self.engine.name);
            let words = format!("container `{container}` is not on engine `{engine}`: {place}");
            Problem::new(Code::Busy, words)
        };
        match &container.engine {
            Some(place) if place.engine == self.engine.id => {
                Ok((container.name.clone(), place.container.clone()))
            }
            Some(place) => {
                let other = state.engine(place.engine);
                let other = other.map_or_else(|| place.engine.to_string(), |other| other.name.to_string());
                Err(elsewhere(format!("it is on `{other}`")))
            }
            None => Err(elsewhere("no engine that is watched has it".into())),
        }
    }

    fn answer<T: Serialize>(&self, status: StatusCode, value: &T) -> Response {
        call::json(status, self.view.state.revision(), value)
    }

    fn changed(&self, what: &'static str, network: String, container: Option<Name>) -> Response {
        let (engine, token) = (&self.engine.name, &self.call.caller.token);
        tracing::info!(%token, %engine, network, container = container.as_deref(), what, "a network was changed");
        let engine = engine.clone();
        let status = if what == "created" {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        self.answer(
            status,
            &NetworkChanged {
                engine,
                network,
                container,
            },
        )
    }
}

/// Lists an engine's networks by name, with the containers of the registry that are connected to them.
#[utoipa::path(get, path = "/api/v1/engines/{name}/networks", tag = "engines",
    params(
        ("name" = String, Path, description = "the engine's name or id"),
        ("consistency" = Option<String>, Query, description = "of the containers: `linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
    ),
    responses(
        (status = 200, body = List<NetworkView>),
        (status = 404, description = "There is no such engine"),
        (status = 502, description = "The engine is not reached from this manager, or it failed"),
    ))]
pub(super) async fn list(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let asked = Asked::of(&app, request, Action::Read, READ).await?;
    let networks = app.engines().networks(asked.endpoint(&app)).await?;
    let on = |network: &str| {
        let here = asked.view.state.containers(None).filter(|container| {
            let place = container.engine.as_ref();
            place.is_some_and(|place| place.engine == asked.engine.id) && container.networks.contains(network)
        });
        here.map(|container| container.name.clone()).collect()
    };
    let items = networks.into_iter().map(|network| NetworkView {
        containers: on(&network.name),
        id: network.id,
        name: network.name,
        driver: network.driver,
        scope: network.scope,
        internal: network.internal,
        labels: network.labels,
    });
    let list = List {
        items: items.collect(),
        next: None,
        revision: asked.view.state.revision(),
    };
    Ok(asked.view.json(&list))
}

/// Makes a network on an engine.
#[utoipa::path(post, path = "/api/v1/engines/{name}/networks", tag = "engines",
    params(("name" = String, Path, description = "the engine's name or id")),
    request_body = NetworkRequest,
    responses(
        (status = 201, body = NetworkChanged),
        (status = 404, description = "There is no such engine"),
        (status = 409, description = "It has a network of this name, or refuses"),
        (status = 502, description = "The engine is not reached from this manager, or it failed"),
        (status = 504, description = "The engine's answer did not come, as when it looks for a driver that it has not: list the networks"),
    ))]
pub(super) async fn create(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut asked = Asked::change(&app, request).await?;
    let wanted: NetworkRequest = asked.body().await?;
    let name = wanted.name.to_string();
    let new = NewNetwork {
        name: wanted.name,
        driver: wanted.driver,
        internal: wanted.internal,
        labels: wanted.labels,
    };
    app.engines().create_network(asked.endpoint(&app), new).await?;
    Ok(asked.changed("created", name, None))
}

/// Removes a network that no running container is connected to.
#[utoipa::path(delete, path = "/api/v1/engines/{name}/networks/{network}", tag = "engines",
    params(
        ("name" = String, Path, description = "the engine's name or id"),
        ("network" = String, Path, description = "name, or the engine's id of it"),
    ),
    responses(
        (status = 200, body = NetworkChanged),
        (status = 404, description = "There is no such engine or network"),
        (status = 409, description = "The engine refuses: containers are connected to it, or it is one of its own"),
        (status = 502, description = "The engine is not reached from this manager, or it failed"),
        (status = 504, description = "The engine's answer did not come: list the networks"),
    ))]
pub(super) async fn remove(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let asked = Asked::change(&app, request).await?;
    let network = asked.network()?;
    let name = network.to_string();
    app.engines()
        .remove_network(asked.endpoint(&app), network)
        .await?;
    Ok(asked.changed("removed", name, None))
}

/// Connects a container to a network of its engine: from now on the containers there reach it by its name.
#[utoipa::path(post, path = "/api/v1/engines/{name}/networks/{network}/connect", tag = "engines",
    params(
        ("name" = String, Path, description = "the engine's name or id"),
        ("network" = String, Path, description = "name, or the engine's id of it"),
    ),
    request_body = NetworkConnect,
    responses(
        (status = 200, body = NetworkChanged),
        (status = 404, description = "There is no such engine, network or container"),
        (status = 409, description = "The container is on another engine, or connected already, or the engine refuses"),
        (status = 502, description = "The engine is not reached from this manager, or it failed"),
        (status = 504, description = "The engine's answer did not come: look at the container's networks"),
    ))]
pub(super) async fn connect(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut asked = Asked::change(&app, request).await?;
    let network = asked.network()?;
    let wanted: NetworkConnect = asked.body().await?;
    let (longest, most) = ALIASES;
    let fits = |alias: &String| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        (1..=longest).contains(&alias.len()) && alias.bytes().all(plain)
    };
    if wanted.aliases.len() > most || !wanted.aliases.iter().all(fits) {
        let rule = format!(
            "`aliases` are at most {most} names of 1 to {longest} characters of A-Z, a-z, 0-9, `.`, `_` and `-`"
        );
        return Err(Problem::new(Code::InvalidField, rule));
    }
    let (container, theirs) = asked.container(&wanted.container)?;
    let (name, at) = (network.to_string(), asked.endpoint(&app));
    app.engines()
        .connect_network(at, network, theirs, wanted.aliases)
        .await?;
    Ok(asked.changed("connected", name, Some(container)))
}

/// Disconnects a container from a network of its engine. A runner that reaches the managers through this network
/// alone is cut off by it.
#[utoipa::path(post, path = "/api/v1/engines/{name}/networks/{network}/disconnect", tag = "engines",
    params(
        ("name" = String, Path, description = "the engine's name or id"),
        ("network" = String, Path, description = "name, or the engine's id of it"),
    ),
    request_body = NetworkDisconnect,
    responses(
        (status = 200, body = NetworkChanged),
        (status = 404, description = "There is no such engine, network or container"),
        (status = 409, description = "The container is on another engine, or the engine refuses"),
        (status = 502, description = "The engine is not reached from this manager, or it failed"),
        (status = 504, description = "The engine's answer did not come: look at the container's networks"),
    ))]
pub(super) async fn disconnect(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut asked = Asked::change(&app, request).await?;
    let network = asked.network()?;
    let wanted: NetworkDisconnect = asked.body().await?;
    let (container, theirs) = asked.container(&wanted.container)?;
    let (name, at) = (network.to_string(), asked.endpoint(&app));
    app.engines()
        .disconnect_network(at, network, theirs, wanted.force)
        .await?;
    Ok(asked.changed("disconnected", name, Some(container)))
}
