//! Calls to an engine, each with its time limit.

use std::{collections::HashMap, error::Error as _, future::Future, time::Duration};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    models::{ContainerInspectResponse, ContainerSummary, EventMessage},
    query_parameters::{EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder},
};
use futures::stream::{BoxStream, StreamExt as _};
use tokio::time::{Instant, timeout};

use super::found::{ENABLED, EVENTS};
use crate::model::EngineUrl;

/// The longest an engine may take to answer a call in full.
const CALL: Duration = Duration::from_secs(5);

/// An open stream of events says nothing for as long as nothing happens.
const STREAM: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why an engine could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("it did not answer within {CALL:?}")]
    TimedOut,
    #[error("{}", chain(.0))]
    Failed(bollard::errors::Error),
    #[error("its stream of events ended")]
    StreamEnded,
}

impl From<bollard::errors::Error> for CallError {
    fn from(error: bollard::errors::Error) -> Self {
        match error {
            // bollard's own limit, for the head of the answer only.
            bollard::errors::Error::RequestTimeoutError => Self::TimedOut,
            other => Self::Failed(other),
        }
    }
}

impl CallError {
    /// Whether the engine answered that there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        use bollard::errors::Error::DockerResponseServerError;
        matches!(
            self,
            Self::Failed(DockerResponseServerError { status_code: 404, .. })
        )
    }
}

/// The error with its causes; bollard's own words seldom name the cause.
fn chain(error: &bollard::errors::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    // An engine's answer may be anything of any length.
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

async fn limited<T>(call: impl Future<Output = Result<T, bollard::errors::Error>>) -> Result<T, CallError> {
    Ok(timeout(CALL, call).await.map_err(|_| CallError::TimedOut)??)
}

/// A connection to one engine, at an API version that both sides speak.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    docker: Docker,
}

impl Connection {
    pub(super) async fn open(url: &EngineUrl) -> Result<Self, CallError> {
        let seconds = CALL.as_secs();
        let docker = match url {
            EngineUrl::Unix(path) => {
                let path = path.to_string_lossy();
                Docker::connect_with_unix(&path, seconds, API_DEFAULT_VERSION)?
            }
            EngineUrl::Tcp(address) => Docker::connect_with_http(address, seconds, API_DEFAULT_VERSION)?,
        };
        let docker = limited(docker.negotiate_version()).await?;
        Ok(Self { docker })
    }

    /// The events of labelled containers from now on.
    pub(super) fn events(&self) -> BoxStream<'static, Result<EventMessage, CallError>> {
        let filters = HashMap::from([
            ("type", vec!["container"]),
            ("label", vec![ENABLED]),
            ("event", EVENTS.to_vec()),
        ]);
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        let docker = self.docker.clone().with_timeout(STREAM);
        docker
            .events(Some(options))
            .map(|event| event.map_err(CallError::from))
            .boxed()
    }

    /// All labelled containers, running or not.
    pub(super) async fn list(&self) -> Result<Vec<ContainerSummary>, CallError> {
        let filters = HashMap::from([("label", vec![ENABLED])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        limited(self.docker.list_containers(Some(options))).await
    }

    /// How long an engine takes to answer nothing at all.
    pub(super) async fn ping(&self) -> Result<Duration, CallError> {
        let began = Instant::now();
        limited(self.docker.ping()).await?;
        Ok(began.elapsed())
    }

    pub(super) async fn inspect(&self, container: &str) -> Result<ContainerInspectResponse, CallError> {
        limited(
            self.docker
                .inspect_container(container, None::<InspectContainerOptions>),
        )
        .await
    }
}
