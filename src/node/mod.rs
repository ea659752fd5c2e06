//! One manager process, put together: identity, stores, listeners, loops; and its orderly end.
//!
//! Nothing is decided here. A manager starts by finding out who it is ([`identity`]), binds its three
//! ports before it opens its stores (so that a taken port costs nothing), starts consensus, and then
//! what stands on it: peers, sessions, control loops, API. On a stop it hands leadership over first,
//! so that nobody has to wait for an election.

mod adoption;
mod identity;
mod join;
mod peer_port;
mod peer_queries;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use self::{identity::Identity, peer_port::TlsDial, peer_queries::Local};
use crate::{
    api,
    cache::{self, Cache},
    config::{Address, ManagerConfig, PortConfig, RedisConfig, advertised},
    consensus::{Clock, Consensus, Fatal, Options, RaftSettings, StartError, Stores},
    control::{self, LivenessTable},
    engine::EngineAccess,
    model::PeerInfo,
    peers::{Me, Peers},
    plan::{Mass, Windows},
    probe::Prober,
    security::{self, Leaf, SecurityError},
    session::{self, SessionServer, Streams},
};

pub use self::{identity::IdentityError, join::JoinError};

/// How long handing over leadership may hold up a stop.
const HAND_OVER: Duration = Duration::from_secs(2);

/// How long open requests may hold up a stop.
const DRAIN: Duration = Duration::from_secs(3);

/// Why a manager did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Who it is could not be found out.
    #[error("this manager's identity can't be used")]
    Identity(#[from] IdentityError),
    /// A port is not to be had.
    #[error("can't listen on {address} for {what}: set `{key}` to a free address")]
    Listen {
        /// Which address.
        address: String,
        /// What for.
        what: &'static str,
        /// The configuration's key.
        key: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Certificates.
    #[error("this manager's certificates can't be used")]
    Security(#[from] SecurityError),
    /// Consensus.
    #[error("the replicated log does not start")]
    Consensus(#[from] StartError),
    /// Redis.
    #[error("the read cache can't be used as configured")]
    Cache(#[from] cache::SettingsError),
    /// What is to be brought into containers.
    #[error(
        "{} can't be brought into containers: set `adoption.binary` to a program that can, or `adoption.enabled` to false",
        path.display()
    )]
    Adoption {
        /// The program.
        path: PathBuf,
        /// Why not.
        #[source]
        source: control::adopt::ProgramError,
    },
    /// The session server.
    #[error("the session server does not start")]
    Sessions(#[source] io::Error),
}

/// Runs a manager until `shutdown`.
///
/// # Errors
/// [`NodeError`] when it could not start. What ends a running manager goes to `fatal`.
pub async fn run(
    config: ManagerConfig,
    metrics: api::RenderMetrics,
    fatal: Fatal,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    let (api_listener, api) = listen(
        &config.api.listen,
        config.api.advertise.as_ref(),
        "the API",
        "api.listen",
    )
    .await?;
    let (peer_listener, peer) = listen_port(&config.peers, "other managers", "peers.listen").await?;
    let (session_listener, session) = listen_port(&config.sessions, "runners", "sessions.listen").await?;
    let me = PeerInfo {
        peer: peer.to_string(),
        api: api.to_string(),
        session: session.to_string(),
    };

    let adopted = adoption::program(&config.adoption)?;
    let mut identity = Identity::find(&config).await?;
    let hosts = [api.host(), peer.host(), session.host()].map(str::to_owned);
    let leaf = Leaf::for_manager(&identity.ca, &identity.tls_dir(), identity.id, &hosts)?;
    let trust = identity.ca.trust().clone();
    let peer_tls = security::peer_server(&leaf, &trust)?;
    let dial = Arc::new(TlsDial::new(security::peer_client(&leaf, &trust)?));

    let windows = Windows {
        suspect: config.liveness.suspect,
        lost: config.liveness.lost,
        fence: config.liveness.fence,
        mass: Mass {
            share: config.liveness.breaker_share,
            least: config.liveness.breaker_least,
            within: config.liveness.breaker_within,
        },
    };
    let liveness = Arc::new(LivenessTable::default());
    let counting = liveness.clone();
    let me_there = Me {
        id: identity.id,
        incarnation: identity.incarnation,
    };
    let peers = Peers::new(dial, me_there);
    let local = Local::start(peers.clone());
    let options = Options {
        info: me.clone(),
        stores: Stores::open(&config.data_dir, fatal.clone()).await?,
        clock: Clock::start(),
        raft: RaftSettings {
            heartbeat: config.raft.heartbeat,
            election_min: config.raft.election_min,
            election_max: config.raft.election_max,
            snapshot_every: config.raft.snapshot_every,
            keep_logs: config.raft.keep_logs,
        },
        first: identity.first(&me),
        bootstrap: identity.bootstrap(),
        peers: peers.clone(),
        fatal,
    };
    let (consensus, running) = Consensus::start(options).await?;
    identity.begun()?;

    let tasks = TaskTracker::new();
    // Peers are served until the very end: a stopping leader needs them to hand over.
    let peers_end = CancellationToken::new();
    tasks.spawn(peer_port::accept(
        peer_listener,
        peer_tls,
        peers.clone(),
        peers_end.clone(),
    ));
    tasks.spawn(identity::announce(
        identity.secrets.take(),
        consensus.clone(),
        shutdown.clone(),
    ));

    let discovery = &config.discovery;
    // Checked when the configuration was read.
    let looked_at = discovery.plan().unwrap_or_default();
    let prober = Prober::new()?;
    let engines = EngineAccess::new(config.engines.certificates.clone());
    let adopter = adopted.map(|program| {
        let adopter = adoption::adopter(&config.adoption, program, &consensus, &identity.ca);
        Arc::new(adopter)
    });
    let controller = control::Controller::start(
        consensus.clone(),
        control::Deps {
            table: liveness,
            windows,
            engines: engines.clone(),
            trips: local.engines.clone(),
            scanning: control::Scanning::new(prober.clone(), looked_at, discovery.interval, discovery.rate),
            adopter,
        },
        shutdown.child_token(),
    );
    let streams = Streams::start(local.roster.clone(), peers.clone());
    let sessions = SessionServer::start(
        session_listener,
        session::Deps {
            consensus: consensus.clone(),
            peers,
            count: Arc::new(move |digest| counting.count(digest)),
            ca: identity.ca.clone(),
            tls: security::session_server(&leaf, &trust)?,
            fence_after: config.liveness.self_stop,
            samples: local.samples.clone(),
            roster: local.roster.clone(),
        },
        shutdown.child_token(),
    );
    let transport = if config.api.plain {
        api::Transport::Plain
    } else {
        api::Transport::Tls(security::api_server(&leaf)?)
    };
    let limits = api::Limits {
        // A body that arrives in its time must not be taken for silence.
        idle: api::Limits::default().idle.max(config.api.request_timeout),
        connections: config.api.max_connections as usize,
        rate: config.api.max_rate,
        body: usize::try_from(config.api.max_body.0).unwrap_or(usize::MAX),
        request: config.api.request_timeout,
        ..api::Limits::default()
    };
    let cache = start_cache(&config.redis, &consensus, &shutdown)?;
    let shown = local.samples.clone();
    let deps = api::Deps {
        consensus: consensus.clone(),
        ca: identity.ca.clone(),
        prober,
        engines,
        metrics: Arc::new(move || metrics() + &shown.render()),
        peer_queries: local,
        streams,
        cache: cache.as_ref().map(Cache::reader),
    };
    let serving = tasks.spawn(api::serve(
        api_listener,
        transport,
        limits,
        deps,
        shutdown.child_token(),
    ));
    info!(manager = identity.id, api = %me.api, peers = %me.peer, sessions = %me.session, "started");

    shutdown.cancelled().await;
    info!("stopping");
    hand_over(&consensus).await;
    if timeout(DRAIN, serving).await.is_err() {
        warn!("some requests were still open after {DRAIN:?}; they are cut off");
    }
    if timeout(DRAIN, sessions.stopped()).await.is_err() {
        warn!("some sessions did not end within {DRAIN:?}");
    }
    controller.stopped().await;
    if let Some(cache) = cache {
        cache.stopped().await;
    }
    running.stop().await;
    peers_end.cancel();
    tasks.close();
    if timeout(DRAIN, tasks.wait()).await.is_err() {
        warn!("some connections did not end within {DRAIN:?}");
    }
    info!("stopped");
    Ok(())
}

/// Redis, if there is to be one.
fn start_cache(
    config: &RedisConfig,
    consensus: &Consensus,
    shutdown: &CancellationToken,
) -> Result<Option<Cache>, NodeError> {
    let Some(url) = &config.url else {
        return Ok(None);
    };
    let settings = cache::Settings {
        url: url.expose().to_owned(),
        ca_file: config.ca_file.clone(),
        prefix: config.prefix.clone(),
        sweep: config.sweep,
        read_timeout: config.read_timeout,
    };
    let shapes = Arc::new(api::ApiShapes);
    Ok(Some(Cache::start(
        settings,
        consensus.clone(),
        shapes,
        shutdown.child_token(),
    )?))
}

async fn listen(
    address: &Address,
    advertise: Option<&Address>,
    what: &'static str,
    key: &'static str,
) -> Result<(TcpListener, Address), NodeError> {
    let refused = |source| NodeError::Listen {
        address: address.to_string(),
        what,
        key,
        source,
    };
    let listener = TcpListener::bind((address.host(), address.port()))
        .await
        .map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?.port();
    Ok((listener, advertised(address, advertise, bound)))
}

async fn listen_port(
    port: &PortConfig,
    what: &'static str,
    key: &'static str,
) -> Result<(TcpListener, Address), NodeError> {
    listen(&port.listen, port.advertise.as_ref(), what, key).await
}

/// Gives leadership away before the end, if this manager leads and somebody can take it.
async fn hand_over(consensus: &Consensus) {
    if consensus.status().leader != Some(consensus.id()) || consensus.status().managers.len() < 2 {
        return;
    }
    match timeout(HAND_OVER, consensus.transfer_leadership(None)).await {
        Ok(Ok(())) => info!("leadership is handed over"),
        Ok(Err(error)) => warn!(%error, "leadership was not handed over; the others will elect"),
        Err(_) => warn!("leadership was not handed over within {HAND_OVER:?}; the others will elect"),
    }
}
