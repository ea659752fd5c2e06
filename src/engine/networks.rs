//! An engine's networks, for people who ask: list, create, remove, connect and disconnect.
//!
//! Unlike everything else of an engine these are calls with an effect, made by whichever manager was asked,
//! and nothing of them is in the log: the engine holds the truth, and what changes for containers comes
//! back through its events. An answer that never came leaves the outcome unknown, and is told so.

use std::{collections::BTreeMap, future::Future, time::Duration};

use bollard::{
    models::{EndpointSettings, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest},
    query_parameters::ListNetworksOptions,
};
use tokio::time::timeout;

use super::{
    Endpoint, EngineAccess,
    connection::{CallError, Connection, limited},
};
use crate::model::{Labels, NetworkName};

/// The longest that reaching an engine may take; with the call itself it is below what an API request may take.
const REACH: Duration = Duration::from_secs(3);

/// A network of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineNetwork {
    /// The engine's own id of it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `bridge`, `overlay`, …
    pub driver: String,
    /// `local`, or `swarm` for one that spans machines.
    pub scope: String,
    /// Whether it leads nowhere outside.
    pub internal: bool,
    /// Its labels.
    pub labels: Labels,
}

/// A network to make.
#[derive(Debug, Clone)]
pub struct NewNetwork {
    /// Its name.
    pub name: NetworkName,
    /// What makes it; the engine's own choice when not given.
    pub driver: Option<String>,
    /// Whether it leads nowhere outside.
    pub internal: bool,
    /// Its labels.
    pub labels: Labels,
}

/// Why an engine did not do what it was asked to. Only after `Unknown` may it have done so.
#[derive(Debug, thiserror::Error)]
pub enum EngineCallError {
    /// It was not reached.
    #[error("the engine can't be reached: {0}")]
    Unreachable(String),
    /// It knows no such thing.
    #[error("the engine answers: {0}")]
    NotFound(String),
    /// It has that already.
    #[error("the engine answers: {0}")]
    Exists(String),
    /// It refuses, as things are.
    #[error("the engine refuses: {0}")]
    Refused(String),
    /// What it was asked for makes no sense to it.
    #[error("the engine does not take it: {0}")]
    Invalid(String),
    /// It tried and failed, or answered nonsense to a question.
    #[error("the engine failed: {0}")]
    Failed(String),
    /// It was asked, and its answer did not come.
    #[error("what became of it is not known: {0}; list the networks before you try again")]
    Unknown(String),
    /// This manager waits for as many engines as it may.
    #[error("this manager waits for as many answers of engines as it may: try again soon")]
    Overloaded,
}

impl EngineCallError {
    /// A call that only asks.
    fn of_question(error: CallError) -> Self {
        match told(&error) {
            Some((status, words)) => Self::of_status(status, words),
            None if matches!(error, CallError::NotSent(_) | CallError::TimedOut) => {
                Self::Unreachable(error.to_string())
            }
            None => Self::Failed(error.to_string()),
        }
    }

    /// A call that changes something.
    fn of_change(error: CallError) -> Self {
        match told(&error) {
            // What stands between us and the engine says so when it got no answer itself.
            Some((502 | 504, words)) => Self::Unknown(words),
            Some((status, words)) => Self::of_status(status, words),
            None if matches!(error, CallError::NotSent(_)) => Self::Unreachable(error.to_string()),
            None => Self::Unknown(error.to_string()),
        }
    }

    fn of_status(status: u16, words: String) -> Self {
        match status {
            404 => Self::NotFound(words),
            // For an endpoint that is there already, engines before 25 answer 403.
            403 | 409 if words.contains("already exists") => Self::Exists(words),
            403 | 409 => Self::Refused(words),
            400..=499 => Self::Invalid(words),
            _ => Self::Failed(words),
        }
    }
}

/// What an engine answered, if it did.
fn told(error: &CallError) -> Option<(u16, String)> {
    let CallError::Failed(bollard::errors::Error::DockerResponseServerError { status_code, message }) = error
    else {
        return None;
    };
    let words = message.chars().filter(|c| !c.is_control()).take(300).collect();
    Some((*status_code, words))
}

impl EngineAccess {
    /// All networks of an engine, by name.
    ///
    /// # Errors
    /// As [`EngineCallError`], never `Unknown`.
    pub async fn networks(&self, endpoint: Endpoint) -> Result<Vec<EngineNetwork>, EngineCallError> {
        self.run(endpoint, async |connection| list(&connection).await)
            .await
    }

    /// Makes a network and returns the engine's id of it.
    ///
    /// # Errors
    /// As [`EngineCallError`].
    pub async fn create_network(
        &self,
        endpoint: Endpoint,
        new: NewNetwork,
    ) -> Result<String, EngineCallError> {
        self.run(endpoint, async move |connection| {
            // Engines before 25 would make a second one of the same name.
            let same = |network: &EngineNetwork| network.name == new.name.as_str();
            if list(&connection).await?.iter().any(same) {
                let words = format!("network with name {} already exists", new.name);
                return Err(EngineCallError::Exists(words));
            }
            let labels = new.labels.iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
            let request = NetworkCreateRequest {
                name: new.name.to_string(),
                driver: new.driver,
                internal: Some(new.internal),
                // So that containers of a swarm's machines can be connected by hand, as those of a bridge can.
                attachable: Some(true),
                labels: Some(labels.collect()),
                ..Default::default()
            };
            let made = limited(connection.docker.create_network(request)).await;
            Ok(made.map_err(EngineCallError::of_change)?.id)
        })
        .await
    }

    /// Removes a network that no running container is connected to.
    ///
    /// # Errors
    /// As [`EngineCallError`].
    pub async fn remove_network(
        &self,
        endpoint: Endpoint,
        network: NetworkName,
    ) -> Result<(), EngineCallError> {
        self.run(endpoint, async move |connection| {
            let removed = limited(connection.docker.remove_network(network.as_str())).await;
            removed.map_err(EngineCallError::of_change)
        })
        .await
    }

    /// Connects a container, by the engine's id of it, to a network, where it is found by the aliases besides.
    ///
    /// # Errors
    /// As [`EngineCallError`].
    pub async fn connect_network(
        &self,
        endpoint: Endpoint,
        network: NetworkName,
        container: String,
        aliases: Vec<String>,
    ) -> Result<(), EngineCallError> {
        let request = NetworkConnectRequest {
            container: Some(container),
            endpoint_config: Some(EndpointSettings {
                aliases: (!aliases.is_empty()).then_some(aliases),
                ..Default::default()
            }),
        };
        self.run(endpoint, async move |connection| {
            let done = limited(connection.docker.connect_network(network.as_str(), request)).await;
            done.map_err(EngineCallError::of_change)
        })
        .await
    }

    /// Disconnects a container, by the engine's id of it, from a network.
    ///
    /// # Errors
    /// As [`EngineCallError`].
    pub async fn disconnect_network(
        &self,
        endpoint: Endpoint,
        network: NetworkName,
        container: String,
        force: bool,
    ) -> Result<(), EngineCallError> {
        let request = NetworkDisconnectRequest {
            container: Some(container),
            force: Some(force),
        };
        self.run(endpoint, async move |connection| {
            let done = limited(connection.docker.disconnect_network(network.as_str(), request)).await;
            done.map_err(EngineCallError::of_change)
        })
        .await
    }

    /// Runs a call on a fresh connection, to its end even if whoever asked goes away.
    async fn run<T, F>(
        &self,
        endpoint: Endpoint,
        call: impl FnOnce(Connection) -> F + Send + 'static,
    ) -> Result<T, EngineCallError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EngineCallError>> + Send + 'static,
    {
        let place = self.calls.clone().try_acquire_owned();
        let place = place.map_err(|_| EngineCallError::Overloaded)?;
        let running = tokio::spawn(async move {
            let _place = place;
            let opened = timeout(REACH, Connection::open(&endpoint)).await;
            // Nothing but its version was asked for so far.
            let unreachable = |error: CallError| EngineCallError::Unreachable(error.to_string());
            let connection = opened
                .map_err(|_| {
                    EngineCallError::Unreachable(format!("it did not say its version within {REACH:?}"))
                })?
                .map_err(unreachable)?;
            call(connection).await
        });
        running
            .await
            .unwrap_or_else(|error| Err(EngineCallError::Unknown(error.to_string())))
    }
}

async fn list(connection: &Connection) -> Result<Vec<EngineNetwork>, EngineCallError> {
    let listed = limited(connection.docker.list_networks(None::<ListNetworksOptions>)).await;
    let listed = listed.map_err(EngineCallError::of_question)?;
    let text = |text: Option<String>| text.unwrap_or_default();
    let mut networks: Vec<_> = listed
        .into_iter()
        .map(|network| EngineNetwork {
            id: text(network.id),
            name: text(network.name),
            driver: text(network.driver),
            scope: text(network.scope),
            internal: network.internal.unwrap_or_default(),
            labels: Labels::lenient(
                network
                    .labels
                    .unwrap_or_default()
                    .into_iter()
                    .collect::<BTreeMap<_, _>>(),
            ),
        })
        .collect();
    networks.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(networks)
}
