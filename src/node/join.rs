//! Joining a cluster as a further manager, by a join token over the session port.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tracing::warn;

use super::identity::IdentityError;
use crate::{
    config::BootstrapConfig,
    model::{
        ManagerId, PeerInfo,
        session::{FromManager, FromRunner, MAX_FRAME_BYTES, PROTOCOL},
    },
    security::{self, Ca, SecurityError, files},
    wire::{self, WireError},
};

/// How long one manager may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

const KNOWN: &str = "managers.json";

/// Why a manager was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The token's file.
    #[error(
        "{path} holds no join token: make one with `quorate cluster join-token create --role manager` and write it there"
    )]
    Token {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The cluster said no.
    #[error("the cluster refused: {0}")]
    Refused(String),
    /// Nobody answered.
    #[error("none of {addresses} answered; the last said: {last}")]
    Nobody {
        /// Who was asked.
        addresses: String,
        /// What the last one said.
        last: String,
    },
    /// Keys and certificates.
    #[error("the cluster's keys can't be used")]
    Security(#[from] SecurityError),
}

/// What the cluster gave.
pub(super) struct Admitted {
    pub id: ManagerId,
    pub ca: Ca,
    pub managers: Vec<(ManagerId, PeerInfo)>,
}

/// Asks the configured managers in turn.
pub(super) async fn ask(config: &BootstrapConfig, incarnation: u64) -> Result<Admitted, JoinError> {
    let path = config.join_token_file.clone().unwrap_or_default();
    let token = fs::read_to_string(&path).and_then(|text| {
        text.trim()
            .parse::<security::JoinToken>()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    let token = token.map_err(|source| JoinError::Token { path, source })?;
    let mut last = "nothing".to_owned();
    for address in &config.join {
        match timeout(
            ANSWER,
            ask_one((address.host(), address.port()), &token, incarnation),
        )
        .await
        {
            Ok(Ok(admitted)) => return Ok(admitted),
            Ok(Err(Failure::Final(error))) => return Err(error),
            Ok(Err(Failure::Next(why))) => {
                warn!(manager = %address, %why, "this manager did not admit us; asking the next");
                last = why;
            }
            Err(_) => last = format!("no answer within {ANSWER:?}"),
        }
    }
    let addresses = config
        .join
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    Err(JoinError::Nobody { addresses, last })
}

enum Failure {
    Final(JoinError),
    Next(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Next(error.to_string())
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::Next(error.to_string())
    }
}

impl From<SecurityError> for Failure {
    fn from(error: SecurityError) -> Self {
        Self::Final(error.into())
    }
}

async fn ask_one(
    address: (&str, u16),
    token: &security::JoinToken,
    incarnation: u64,
) -> Result<Admitted, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let connector = TlsConnector::from(security::pinned_client(token.ca())?);
    let mut stream = connector.connect(security::manager_name(), stream).await?;
    let trust = security::pinned_ca(stream.get_ref().1, token.ca())?;
    let request = FromRunner::JoinManager {
        protocol: PROTOCOL,
        token: token.to_string(),
        incarnation,
    };
    wire::write_frame(&mut stream, &request, MAX_FRAME_BYTES).await?;
    match wire::read_frame(&mut stream, MAX_FRAME_BYTES).await? {
        Some(FromManager::Admitted { id, ca_key, managers }) => {
            let ca = Ca::from_parts(trust, &ca_key)?;
            Ok(Admitted { id, ca, managers })
        }
        Some(FromManager::Refused { reason, retry: true }) => Err(Failure::Next(reason)),
        Some(FromManager::Refused { reason, retry: false }) => {
            Err(Failure::Final(JoinError::Refused(reason)))
        }
        Some(_) => Err(Failure::Next("it gave an answer of another kind".into())),
        None => Err(Failure::Next("it closed the connection".into())),
    }
}

/// The managers known at the time of joining, for a start that was cut short before the log had them.
pub(super) fn read_known(dir: &Path) -> Result<Vec<(ManagerId, PeerInfo)>, IdentityError> {
    let path = dir.join(KNOWN);
    let refused = |source| IdentityError::File {
        path: path.clone(),
        source,
    };
    let bytes = fs::read(&path).map_err(refused)?;
    serde_json::from_slice(&bytes).map_err(|error| refused(error.into()))
}

pub(super) fn write_known(dir: &Path, managers: &[(ManagerId, PeerInfo)]) -> Result<(), IdentityError> {
    let path = dir.join(KNOWN);
    let json = serde_json::to_vec_pretty(managers).map_err(|error| IdentityError::File {
        path: path.clone(),
        source: error.into(),
    })?;
    Ok(files::write(&path, &json, files::Access::Public)?)
}
