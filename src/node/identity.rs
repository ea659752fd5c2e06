//! Who this manager is: its id, its incarnation, its CA, and what it does with an empty log.
//!
//! `identity.json` is written before anything else and says so until the log exists. Later starts
//! trust it over the configuration. A data directory whose log is gone while its identity is not is
//! refused: the votes and acknowledgements that the log held are gone with it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::join::{self, JoinError};
use crate::{
    command::ClusterCommand,
    config::ManagerConfig,
    consensus::{Consensus, First},
    model::{JoinRole, JoinToken, JoinTokenId, ManagerId, Name, PeerInfo, Role, Token, TokenId},
    security::{self, ApiToken, Bundle, CA_CERT_FILE, Ca, SecurityError, encode_id, files},
};

const FILE: &str = "identity.json";

/// Why a manager does not know who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file.
    #[error("{path} can't be used")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The log is gone.
    #[error(
        "{0} has an identity and no log: the log was removed or lost; remove the whole directory and join as a new manager"
    )]
    LogGone(PathBuf),
    /// Keys, certificates, the bundle.
    #[error("the cluster's keys can't be used")]
    Security(#[from] SecurityError),
    /// Joining.
    #[error("this manager could not join")]
    Join(#[from] JoinError),
}

/// As it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    manager: ManagerId,
    incarnation: u64,
    /// Whether the log was made: from then on it must be there.
    begun: bool,
    /// Whether it joined a cluster that was there before: it never forms one of its own.
    #[serde(default)]
    joined: bool,
}

/// The first tokens of a cluster that this manager makes by itself, to be shown once.
pub(super) struct Secrets {
    admin: ApiToken,
    join: security::JoinToken,
}

/// Who this manager is.
pub(super) struct Identity {
    pub id: ManagerId,
    pub incarnation: u64,
    pub ca: Arc<Ca>,
    first: First,
    /// The tokens made here; `None` when they come from a bundle or there is a cluster already.
    pub secrets: Option<Secrets>,
    founding: Option<(Token, JoinToken, ManagerId)>,
    dir: PathBuf,
    begun: bool,
    joined: bool,
}

impl Identity {
    /// Reads the identity, or makes one as the configuration says.
    pub async fn find(config: &ManagerConfig) -> Result<Self, IdentityError> {
        let dir = config.data_dir.clone();
        files::make_dir(&dir)?;
        match read(&dir)? {
            Some(stored) => Self::known(config, dir, stored),
            None if config.bootstrap.join.is_empty() => Self::founder(config, dir),
            None => Self::joiner(config, dir).await,
        }
    }

    fn known(config: &ManagerConfig, dir: PathBuf, stored: Stored) -> Result<Self, IdentityError> {
        if stored.begun && !dir.join("raft").join("db").exists() {
            return Err(IdentityError::LogGone(dir));
        }
        let ca = Ca::load(&tls_dir(&dir))?;
        // As at the first start: what it began may not have come to its end. Consensus knows whether
        // there is anything left to do.
        let joined = stored.joined;
        let mut identity = Self::new(dir, stored, ca, form(config));
        if joined {
            identity.first = First::Join(join::read_known(&identity.dir)?);
        } else if let Err(error) = identity.prepare_founding(config) {
            if !identity.begun {
                return Err(error);
            }
            tracing::debug!(%error, "the bundle is gone; a cluster that was founded does not need it");
        }
        Ok(identity)
    }

    fn founder(config: &ManagerConfig, dir: PathBuf) -> Result<Self, IdentityError> {
        let ca = match &config.bootstrap.dir {
            Some(bundle) => Bundle::load(bundle)?.ca,
            // A start that ended between the CA and the identity left one that nobody trusts yet.
            None if tls_dir(&dir).join(CA_CERT_FILE).exists() => Ca::load(&tls_dir(&dir))?,
            None => Ca::generate(&encode_id(rand::random())[..6])?,
        };
        if !tls_dir(&dir).join(CA_CERT_FILE).exists() {
            ca.save(&tls_dir(&dir))?;
        }
        let stored = Stored {
            manager: config.bootstrap.id.unwrap_or(1),
            // Random, so that a manager that lost its data is not taken for itself.
            incarnation: if planted!(WipedManagerReadmitted) {
                1
            } else {
                rand::random()
            },
            begun: false,
            joined: false,
        };
        write(&dir, &stored)?;
        let mut identity = Self::new(dir, stored, ca, form(config));
        identity.prepare_founding(config)?;
        Ok(identity)
    }

    async fn joiner(config: &ManagerConfig, dir: PathBuf) -> Result<Self, IdentityError> {
        let incarnation = rand::random();
        let admitted = join::ask(&config.bootstrap, incarnation).await?;
        admitted.ca.save(&tls_dir(&dir))?;
        join::write_known(&dir, &admitted.managers)?;
        let stored = Stored {
            manager: admitted.id,
            incarnation,
            begun: false,
            joined: true,
        };
        write(&dir, &stored)?;
        Ok(Self::new(
            dir,
            stored,
            admitted.ca,
            First::Join(admitted.managers),
        ))
    }

    fn new(dir: PathBuf, stored: Stored, ca: Ca, first: First) -> Self {
        let Stored {
            manager,
            incarnation,
            begun,
            joined,
        } = stored;
        Self {
            id: manager,
            incarnation,
            ca: Arc::new(ca),
            first,
            secrets: None,
            founding: None,
            dir,
            begun,
            joined,
        }
    }

    /// The first command of a cluster that this manager may found.
    fn prepare_founding(&mut self, config: &ManagerConfig) -> Result<(), IdentityError> {
        let First::Form(peers) = &self.first else {
            return Ok(());
        };
        let next = peers.keys().max().map_or(2, |highest| highest + 1);
        let (admin, join) = match &config.bootstrap.dir {
            Some(bundle) => {
                let Bundle { admin, join, .. } = Bundle::load(bundle)?;
                (admin, join)
            }
            None => Secrets::make(&self.ca)?,
        };
        self.founding = Some((stored_admin(&admin), stored_join(&join), next));
        if config.bootstrap.dir.is_none() {
            self.secrets = Some(Secrets { admin, join });
        }
        Ok(())
    }

    /// The command itself; the cluster's id is random.
    pub fn bootstrap(&self) -> Option<ClusterCommand> {
        let (admin, join, next_manager) = self.founding.clone()?;
        Some(ClusterCommand::Bootstrap {
            cluster_id: encode_id(rand::random()),
            admin,
            join,
            next_manager,
        })
    }

    /// What to do with an empty log; a manager without configured peers forms a cluster of its own.
    pub fn first(&self, me: &PeerInfo) -> First {
        match &self.first {
            First::Form(peers) if peers.is_empty() => First::Form([(self.id, me.clone())].into()),
            first => first.clone(),
        }
    }

    /// Notes that the log exists.
    pub fn begun(&mut self) -> Result<(), IdentityError> {
        if !self.begun {
            self.begun = true;
            write(
                &self.dir,
                &Stored {
                    manager: self.id,
                    incarnation: self.incarnation,
                    begun: true,
                    joined: self.joined,
                },
            )?;
        }
        Ok(())
    }

    pub fn tls_dir(&self) -> PathBuf {
        tls_dir(&self.dir)
    }
}

impl Secrets {
    fn make(ca: &Ca) -> Result<(ApiToken, security::JoinToken), IdentityError> {
        let failed = |error: security::TokenError| IdentityError::File {
            path: "a new token".into(),
            source: io::Error::other(error),
        };
        let admin = ApiToken::generate().map_err(failed)?;
        let join = security::JoinToken::generate(ca.fingerprint()).map_err(failed)?;
        Ok((admin, join))
    }
}

/// Shows the tokens made here, once, after the cluster has taken them.
pub(super) async fn announce(secrets: Option<Secrets>, consensus: Consensus, end: CancellationToken) {
    let Some(secrets) = secrets else { return };
    let id = TokenId(secrets.admin.id());
    let mut applied = consensus.watch_applied();
    let taken = async {
        while consensus.state().cluster_id().is_none() {
            if applied.changed().await.is_err() {
                return;
            }
        }
        // Another manager may have founded it, with tokens of its own.
        if consensus.state().token(id).is_some() {
            println!("admin token (shown once): {}", secrets.admin);
            println!("join token for runners (shown once): {}", secrets.join);
        }
    };
    tokio::select! {
        () = taken => {}
        () = end.cancelled() => {}
    }
}

fn stored_admin(token: &ApiToken) -> Token {
    Token {
        id: TokenId(token.id()),
        name: name("admin"),
        role: Role::Admin,
        hash: token.hash(),
        expires_at: None,
        version: 0,
    }
}

fn stored_join(token: &security::JoinToken) -> JoinToken {
    JoinToken {
        id: JoinTokenId(token.id()),
        role: JoinRole::Runner,
        hash: token.hash(),
        expires_at: None,
        uses_left: None,
        version: 0,
    }
}

fn name(text: &'static str) -> Name {
    // A constant within the rule for names; every start uses it.
    text.parse().expect("a name")
}

/// The managers that form the cluster: those of the configuration, or this one alone.
fn form(config: &ManagerConfig) -> First {
    let peers: BTreeMap<_, _> = config
        .bootstrap
        .peers
        .iter()
        .map(|peer| {
            let info = PeerInfo {
                peer: peer.peer.to_string(),
                api: peer.api.to_string(),
                session: peer.session.to_string(),
            };
            (peer.id, info)
        })
        .collect();
    First::Form(peers)
}

fn tls_dir(dir: &Path) -> PathBuf {
    dir.join("tls")
}

fn read(dir: &Path) -> Result<Option<Stored>, IdentityError> {
    let path = dir.join(FILE);
    let refused = |source| IdentityError::File {
        path: path.clone(),
        source,
    };
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| refused(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(error)),
    }
}

fn write(dir: &Path, stored: &Stored) -> Result<(), IdentityError> {
    let path = dir.join(FILE);
    let json = serde_json::to_vec_pretty(stored).map_err(|error| IdentityError::File {
        path: path.clone(),
        source: error.into(),
    })?;
    Ok(files::write(&path, &json, files::Access::Secret)?)
}
