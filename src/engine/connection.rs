//! Calls to an engine, each with its time limit.

use std::{collections::HashMap, error::Error as _, future::Future, time::Duration};

use bollard::{
    API_DEFAULT_VERSION, BollardRequest, ClientVersion, Docker,
    models::{ContainerInspectResponse, ContainerSummary, EventMessage},
    query_parameters::{EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder},
};
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::time::{Instant, timeout};

use super::{
    Endpoint,
    found::{ENABLED, EVENTS, NETWORK_EVENTS},
    transport::{Meter, NotSent, Way},
};

/// The longest an engine may take to answer a call in full.
const CALL: Duration = Duration::from_secs(5);

/// An open stream of events says nothing for as long as nothing happens.
const STREAM: Duration = Duration::from_secs(365 * 24 * 3600);

/// How much an engine may send without an event in it.
const EVENT: u64 = 8 << 20;

/// Why an engine could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error(transparent)]
    NotSent(NotSent),
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
            bollard::errors::Error::IOError { err } => match err.downcast::<NotSent>() {
                Ok(unsent) => Self::NotSent(unsent),
                Err(err) => Self::Failed(err.into()),
            },
            other => Self::Failed(other),
        }
    }
}

impl CallError {
    /// Whether the engine answered that there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether what was asked for may have been done all the same.
    pub(super) fn is_unknown(&self) -> bool {
        match self.status() {
            // What stands between us and the engine says so when it got no answer itself.
            Some(status) => matches!(status, 502 | 504),
            None => !matches!(self, Self::NotSent(_)),
        }
    }

    /// What the engine answered, if it did.
    fn status(&self) -> Option<u16> {
        match self {
            Self::Failed(bollard::errors::Error::DockerResponseServerError { status_code, .. }) => {
                Some(*status_code)
            }
            _ => None,
        }
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

pub(super) async fn limited<T>(
    call: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, CallError> {
    Ok(timeout(CALL, call).await.map_err(|_| CallError::TimedOut)??)
}

/// A connection to one engine, at an API version that both sides speak.
#[derive(Clone)]
pub(super) struct Connection {
    way: Way,
    pub(super) docker: Docker,
}

fn docker(
    way: &Way,
    meter: Option<&Meter>,
    limit: Duration,
    version: &ClientVersion,
) -> Result<Docker, CallError> {
    let (way, meter) = (way.clone(), meter.cloned());
    let send = move |request: BollardRequest| way.clone().send(meter.clone(), request);
    // The address only makes addresses whole; `Way` knows where requests go.
    let docker =
        Docker::connect_with_custom_transport(send, Some("http://engine"), limit.as_secs(), version)?;
    Ok(docker)
}

impl Connection {
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, CallError> {
        let way = Way::to(endpoint).await.map_err(CallError::NotSent)?;
        let docker = docker(&way, None, CALL, API_DEFAULT_VERSION)?;
        let docker = limited(docker.negotiate_version()).await?;
        Ok(Self { way, docker })
    }

    /// The events of labelled containers, and of any containers on networks, from now on.
    pub(super) fn events(&self) -> BoxStream<'static, Result<EventMessage, CallError>> {
        let containers = [
            ("type", vec!["container"]),
            ("label", vec![ENABLED]),
            ("event", EVENTS.to_vec()),
        ];
        // Another stream, because a network's events do not carry the container's labels.
        let networks = [("type", vec!["network"]), ("event", NETWORK_EVENTS.to_vec())];
        let both = (self.stream(HashMap::from(containers))).and_then(|containers| {
            let networks = self.stream(HashMap::from(networks))?;
            Ok(Self::either(containers, networks))
        });
        both.unwrap_or_else(|error| stream::iter([Err(error)]).boxed())
    }

    fn stream(
        &self,
        filters: HashMap<&str, Vec<&str>>,
    ) -> Result<BoxStream<'static, Result<EventMessage, CallError>>, CallError> {
        let meter = Meter::new(EVENT);
        let docker = docker(&self.way, Some(&meter), STREAM, &self.docker.client_version())?;
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        let events = docker.events(Some(options)).map(move |event| {
            meter.refill();
            event.map_err(CallError::from)
        });
        Ok(events.boxed())
    }

    /// What either stream says, until one of them ends.
    fn either(
        a: BoxStream<'static, Result<EventMessage, CallError>>,
        b: BoxStream<'static, Result<EventMessage, CallError>>,
    ) -> BoxStream<'static, Result<EventMessage, CallError>> {
        let ended = || stream::iter([Err(CallError::StreamEnded)]);
        stream::select(a.chain(ended()), b.chain(ended())).boxed()
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

    /// Whether this container is the only one, running or not, that has a volume. An engine that does not
    /// even name this one has not understood.
    pub(super) async fn has_alone(&self, container: &str, volume: &str) -> Result<bool, CallError> {
        let filters = HashMap::from([("volume", vec![volume])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let having = limited(self.docker.list_containers(Some(options))).await?;
        let ids: Vec<_> = having.iter().map(|one| one.id.as_deref()).collect();
        Ok(ids == [Some(container)])
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
