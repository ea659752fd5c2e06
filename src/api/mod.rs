//! The HTTP API, on any manager: `/api/v1`, one file a resource. The only user of axum.
//!
//! Requests become commands, and answers are built from their replies; reads are answered from a
//! state that is as fresh as was asked for. HTTP statuses exist only here. Each handler lets its
//! caller in first (`App::admit`) and reads the body after that.
//!
//! The way of a request: `server` (TLS, bounds) → `routes` → `call` (token, path, query, body) →
//! `write` or `view` → an answer, or a `problem`.

mod agents;
mod approve;
mod auth;
mod body;
mod breaker;
mod cached;
mod call;
mod cluster;
mod configs;
mod containers;
mod discovery;
mod echo;
mod engines;
mod events;
mod figures;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod headers;
mod join_tokens;
mod names;
mod networks;
mod openapi;
mod ops;
mod orders;
mod params;
mod peer_queries;
mod precondition;
mod problem;
mod rate;
mod resource;
mod routes;
mod secret;
mod server;
mod shapes;
mod stats;
mod tokens;
mod topology;
pub mod types;
mod verified;
mod view;
mod watch;
mod write;

use std::{fmt, sync::Arc};

use axum::{Router, http::Uri};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use self::{
    auth::Confirm, figures::Reads, problem::Problem, rate::Rates, routes::Routes, verified::Verified,
};
pub use self::{
    peer_queries::PeerQueries,
    problem::Code,
    server::{Limits, Transport, serve},
    shapes::ApiShapes,
};
use crate::{
    cache::Reader,
    consensus::Consensus,
    engine::EngineAccess,
    probe::Prober,
    security::{Ca, Fingerprint},
    session::Streams,
};

/// Writes all figures in the text form of Prometheus.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the API needs of the rest of the manager.
#[derive(Clone)]
pub struct Deps {
    /// Commands and reads.
    pub consensus: Consensus,
    /// The cluster's CA: join tokens name it, and new tokens are derived from its key.
    pub ca: Arc<Ca>,
    /// Dials candidates that are approved.
    pub prober: Prober,
    /// How engines are reached, for what is asked of them.
    pub engines: EngineAccess,
    /// The body of `/metrics`.
    pub metrics: RenderMetrics,
    /// Asks managers for what is not in the state.
    pub peer_queries: Arc<dyn PeerQueries>,
    /// The way into containers.
    pub streams: Arc<Streams>,
    /// Redis, if there is one.
    pub cache: Option<Reader>,
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps")
            .field("consensus", &self.consensus)
            .finish_non_exhaustive()
    }
}

/// What all handlers share. Cheap to clone.
#[derive(Clone)]
struct App(Arc<Shared>);

struct Shared {
    consensus: Consensus,
    cache: Option<Reader>,
    /// For tokens that are unknown here.
    confirm: Confirm,
    /// For those who ask how the cluster is; strangers with bad tokens must not be in their way.
    probe: Confirm,
    verified: Verified,
    rates: Rates,
    ca: Fingerprint,
    seed: [u8; 32],
    reads: Reads,
    prober: Prober,
    engines: EngineAccess,
    metrics: RenderMetrics,
    peer_queries: Arc<dyn PeerQueries>,
    streams: Arc<Streams>,
    openapi: Bytes,
    limits: Limits,
    watches: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("consensus", &self.0.consensus)
            .finish_non_exhaustive()
    }
}

impl App {
    fn new(deps: Deps, limits: Limits, stopping: CancellationToken) -> Self {
        let mut seed = Sha256::new();
        seed.update(b"quorate: tokens made by the API\n");
        seed.update(deps.ca.key_pem());
        Self(Arc::new(Shared {
            consensus: deps.consensus,
            cache: deps.cache,
            confirm: Confirm::default(),
            probe: Confirm::default(),
            verified: Verified::default(),
            rates: Rates::new(limits.rate),
            ca: deps.ca.fingerprint(),
            seed: seed.finalize().into(),
            reads: Reads::new(),
            prober: deps.prober,
            engines: deps.engines,
            metrics: deps.metrics,
            peer_queries: deps.peer_queries,
            streams: deps.streams,
            openapi: openapi::document().into(),
            limits,
            watches: Arc::new(Semaphore::new(watch::MAX_WATCHES)),
            stopping,
        }))
    }

    fn consensus(&self) -> &Consensus {
        &self.0.consensus
    }

    fn cache(&self) -> Option<&Reader> {
        self.0.cache.as_ref()
    }

    fn confirm(&self) -> &Confirm {
        &self.0.confirm
    }

    fn probe(&self) -> &Confirm {
        &self.0.probe
    }

    fn reads(&self) -> &Reads {
        &self.0.reads
    }

    /// A place among the watches of this manager, if one is free.
    fn watch_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.watches).try_acquire_owned().ok()
    }

    fn prober(&self) -> &Prober {
        &self.0.prober
    }

    fn verified(&self) -> &Verified {
        &self.0.verified
    }

    fn rates(&self) -> &Rates {
        &self.0.rates
    }

    fn limits(&self) -> &Limits {
        &self.0.limits
    }

    fn ca(&self) -> Fingerprint {
        self.0.ca
    }

    fn seed(&self) -> &[u8; 32] {
        &self.0.seed
    }

    fn engines(&self) -> &EngineAccess {
        &self.0.engines
    }

    fn render_metrics(&self) -> String {
        (self.0.metrics)()
    }

    fn peer_queries(&self) -> &dyn PeerQueries {
        &*self.0.peer_queries
    }

    fn streams(&self) -> &Streams {
        &self.0.streams
    }

    fn openapi(&self) -> Bytes {
        self.0.openapi.clone()
    }

    /// Ends when this manager begins to stop.
    async fn stopping(&self) {
        self.0.stopping.cancelled().await;
    }
}

/// Every route.
fn routes() -> Routes {
    let routes = cluster::routes(Routes::default());
    let routes = breaker::routes(routes);
    let routes = join_tokens::routes(routes);
    let routes = tokens::routes(routes);
    let routes = configs::routes(routes);
    let routes = containers::routes(routes);
    let routes = approve::routes(routes);
    let routes = discovery::routes(routes);
    let routes = agents::routes(routes);
    let routes = engines::routes(routes);
    let routes = networks::routes(routes);
    let routes = events::routes(routes);
    ops::routes(routes)
}

fn router(app: App) -> Router {
    routes()
        .into_router()
        .fallback(async |uri: Uri| {
            let path: String = uri.path().chars().take(120).collect();
            Problem::new(
                Code::NoSuchPath,
                format!("there is no `{path}`: see /api/v1/openapi.json"),
            )
        })
        .method_not_allowed_fallback(async || {
            Problem::new(Code::MethodNotAllowed, "this path has other methods: see `Allow`")
        })
        .with_state(app)
}
