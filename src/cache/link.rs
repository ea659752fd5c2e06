//! Connections to Redis. Every step has a time limit, and nothing that Redis says ends more than one.

use std::{path::PathBuf, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, TlsCertificates, aio::MultiplexedConnection,
};
use tokio::time::timeout;

/// How long a connection may take until Redis has answered on it.
const CONNECT: Duration = Duration::from_secs(2);

/// Where Redis is. Not to be shown: the URL may hold a password.
#[derive(Clone)]
pub struct Settings {
    /// `redis://` or `rediss://`, perhaps with a password.
    pub url: String,
    /// Whom to believe that it is Redis, for `rediss://`; by default whom the machine believes.
    pub ca_file: Option<PathBuf>,
    /// What all keys begin with.
    pub prefix: String,
    /// How often all that is in Redis is looked at, to mend what somebody else changed.
    pub sweep: Duration,
    /// How long a cached read waits for Redis.
    pub read_timeout: Duration,
}

/// Why Redis can't be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The URL.
    #[error("`redis.url` is not usable")]
    Url(#[source] RedisError),
    /// The CA's file.
    #[error("`redis.ca_file` {path} can't be read")]
    Ca {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Why Redis did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("Redis did not answer within {0:?}")]
    Slow(Duration),
    #[error("Redis can't be reached or refuses: {0}")]
    Redis(#[from] RedisError),
    #[error("Redis answered what was not asked for")]
    Garbage,
}

/// Makes connections.
#[derive(Clone)]
pub(super) struct Link {
    client: Client,
}

impl Link {
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let url = settings.url.as_str();
        let client = match &settings.ca_file {
            None => Client::open(url),
            Some(path) => {
                let pem = std::fs::read(path).map_err(|source| SettingsError::Ca {
                    path: path.clone(),
                    source,
                })?;
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(pem),
                };
                Client::build_with_tls(url, certificates)
            }
        };
        Ok(Self {
            client: client.map_err(SettingsError::Url)?,
        })
    }

    /// A connection on which Redis has answered; each later answer may take `limit`.
    pub async fn connect(&self, limit: Duration) -> Result<MultiplexedConnection, LinkError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(limit));
        let connected = async {
            let mut connection = self
                .client
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            redis::cmd("PING").query_async::<()>(&mut connection).await?;
            Ok::<_, RedisError>(connection)
        };
        match timeout(CONNECT, connected).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(told(error, CONNECT)),
            Err(_) => Err(LinkError::Slow(CONNECT)),
        }
    }
}

/// An error as it is told, where a time-out is one by its own name.
pub(super) fn told(error: RedisError, limit: Duration) -> LinkError {
    if error.is_timeout() {
        LinkError::Slow(limit)
    } else if error.kind() == ErrorKind::UnexpectedReturnType {
        LinkError::Garbage
    } else {
        LinkError::Redis(error)
    }
}

/// Which process of Redis is on the other end; `None` where it does not tell. One that started again may
/// have come back with what it had saved long ago.
pub(super) async fn run_id(connection: &mut MultiplexedConnection) -> Option<String> {
    let info: String = redis::cmd("INFO")
        .arg("server")
        .query_async(connection)
        .await
        .ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("run_id:"))?;
    Some(line.trim().to_owned())
}
