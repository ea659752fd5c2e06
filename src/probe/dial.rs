//! The manager's side of a talk.

use std::{error::Error, io, net::SocketAddr, sync::Arc};

use rustls::ClientConfig;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    CONNECT, MAX_MANAGERS, PROTOCOL, ProbeError, TALK,
    answer::nonce,
    connect::{Unconnected, connect},
    message::{Ask, Nonce, Reply, Say, Tell, read, write},
    open_engine,
    proof::{Proof, Talk},
};
use crate::{
    model::{Name, OPEN_ENGINE_PORT, SecretHash},
    security::{self, Fingerprint, SecurityError},
};

/// What is at a place.
#[derive(Debug)]
pub enum Seen {
    /// Nothing that a scan looks for.
    Nothing,
    /// Nobody knows: this machine could not dial.
    NotLooked {
        /// What it lacks.
        why: String,
    },
    /// A runner that proved to hold a join token, and follows the invitation or said why not.
    Proven {
        /// What it calls itself.
        name: Name,
        /// Whether it follows.
        invited: Result<(), ProbeError>,
    },
    /// A runner without a token.
    Candidate {
        /// What it calls itself.
        name: Name,
        /// Its key.
        key: Fingerprint,
    },
    /// A runner whose token is none of this cluster.
    Foreign {
        /// What it calls itself.
        name: Name,
    },
    /// It speaks the protocol and breaks it, or speaks another version.
    Odd(ProbeError),
    /// A Docker Engine that is open to anybody.
    OpenEngine {
        /// What it says its version is; plain characters, and few.
        version: String,
    },
}

/// Dials runners that have not joined.
#[derive(Debug, Clone)]
pub struct Prober {
    tls: Arc<ClientConfig>,
}

/// A talk with a runner that said who it is.
#[derive(Debug)]
pub struct Opened {
    stream: TlsStream<TcpStream>,
    binding: [u8; 32],
    ours: Nonce,
    theirs: Nonce,
    deadline: Instant,
    /// What it calls itself.
    pub name: Name,
    /// Its key.
    pub key: Fingerprint,
    /// The public half of the token it holds.
    pub token: Option<u64>,
}

impl Prober {
    /// One that can dial.
    ///
    /// # Errors
    /// `Tls`.
    pub fn new() -> Result<Self, SecurityError> {
        Ok(Self {
            tls: security::probe_client()?,
        })
    }

    /// Looks at a place, and invites the runner it finds there to `managers` if it holds a join token whose
    /// hash `known` has. Takes [`CONNECT`] and [`TALK`] at most, and as long again for an open engine.
    pub async fn visit(
        &self,
        place: SocketAddr,
        known: impl Fn(u64) -> Option<SecretHash>,
        managers: Vec<String>,
    ) -> Seen {
        // Where engines are expected nobody speaks TLS.
        if place.port() == OPEN_ENGINE_PORT {
            return engine(place).await;
        }
        let opened = match self.open(place).await {
            Ok(opened) => opened,
            Err(Unopened::Absent(_)) => return Seen::Nothing,
            Err(Unopened::Unasked(error)) => return not_looked(&error),
            Err(Unopened::Other(ProbeError::Foreign)) => return engine(place).await,
            Err(Unopened::Other(ProbeError::Security(error))) => return not_looked(&error),
            Err(Unopened::Other(ProbeError::Io(_) | ProbeError::Slow)) => return Seen::Nothing,
            Err(Unopened::Other(odd)) => return Seen::Odd(odd),
        };
        let (name, key) = (opened.name.clone(), opened.key);
        let Some(token) = opened.token else {
            return Seen::Candidate { name, key };
        };
        let Some(hash) = known(token) else {
            return Seen::Foreign { name };
        };
        match opened.prove(token, &hash).await {
            Ok(proven) => Seen::Proven {
                name,
                invited: proven.invite(managers, None).await,
            },
            Err(ProbeError::Io(_) | ProbeError::Slow) => Seen::Nothing,
            Err(ProbeError::Unproven | ProbeError::Refused(_)) => Seen::Foreign { name },
            Err(odd) => Seen::Odd(odd),
        }
    }

    /// Dials the runner with this key again, for an invitation with a token.
    ///
    /// # Errors
    /// [`ProbeError`]; `OtherKey` and `HasToken` when it is not the candidate that was found.
    pub async fn again(&self, place: SocketAddr, key: &str) -> Result<Opened, ProbeError> {
        let opened = self.open(place).await.map_err(|unopened| match unopened {
            Unopened::Absent(error) | Unopened::Other(error) => error,
            Unopened::Unasked(error) => error.into(),
        })?;
        if opened.key.to_string() != key {
            return Err(ProbeError::OtherKey);
        }
        if opened.token.is_some() {
            return Err(ProbeError::HasToken);
        }
        Ok(opened)
    }

    async fn open(&self, place: SocketAddr) -> Result<Opened, Unopened> {
        let stream = connect(place).await.map_err(|error| match error {
            Unconnected::Silent => Unopened::Absent(ProbeError::Slow),
            Unconnected::Refused(error) => Unopened::Absent(error.into()),
            Unconnected::Unasked(error) => Unopened::Unasked(error),
        })?;
        let deadline = Instant::now() + TALK;
        timeout_at(deadline, self.greet(stream, deadline))
            .await
            .unwrap_or(Err(ProbeError::Slow))
            .map_err(Unopened::Other)
    }

    async fn greet(&self, stream: TcpStream, deadline: Instant) -> Result<Opened, ProbeError> {
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(self.tls.clone());
        // Whatever fails here did not speak our TLS; it may speak something else.
        let connected = connector.connect(security::manager_name(), stream).await;
        let mut stream = connected.map_err(|_| ProbeError::Foreign)?;
        let key = security::probed_key(stream.get_ref().1).ok_or(ProbeError::Foreign)?;
        let binding = security::channel_binding(stream.get_ref().1)?;
        let ours = nonce()?;
        let ask = Ask {
            protocol: PROTOCOL,
            nonce: ours,
        };
        write(&mut stream, &ask).await?;
        match read(&mut stream).await? {
            Tell::Version(theirs) => Err(ProbeError::Version { theirs }),
            Tell::Runner { name, token, nonce } => Ok(Opened {
                stream,
                binding,
                ours,
                theirs: nonce,
                deadline,
                name,
                key,
                token,
            }),
        }
    }
}

/// Why there is no talk.
enum Unopened {
    /// No connection was made.
    Absent(ProbeError),
    /// This machine could not try.
    Unasked(io::Error),
    /// One was, and came to nothing.
    Other(ProbeError),
}

async fn engine(place: SocketAddr) -> Seen {
    match open_engine::version(place).await {
        Ok(Some(version)) => Seen::OpenEngine { version },
        Ok(None) => Seen::Nothing,
        Err(error) => not_looked(&error),
    }
}

/// In this machine's words: nothing of it comes from the other side.
fn not_looked(error: &dyn Error) -> Seen {
    Seen::NotLooked {
        why: error.to_string(),
    }
}

impl Opened {
    /// Both sides prove that they know the token.
    async fn prove(mut self, token: u64, hash: &SecretHash) -> Result<Self, ProbeError> {
        let talk = Talk {
            binding: &self.binding,
            key: &self.key.to_string(),
            name: &self.name,
            token,
            manager: &self.ours,
            runner: &self.theirs,
        };
        let proof = Proof::new(hash, &talk);
        let stream = &mut self.stream;
        let exchange = async {
            write(stream, &Say::Prove(proof.manager())).await?;
            read(stream).await
        };
        match timeout_at(self.deadline, exchange)
            .await
            .map_err(|_| ProbeError::Slow)??
        {
            Reply::Proved(shown) if proof.is_runner(&shown) => Ok(self),
            Reply::Proved(_) => Err(ProbeError::Unproven),
            Reply::Refused(refusal) => Err(ProbeError::Refused(refusal.reason())),
            Reply::Taken => Err(ProbeError::Unexpected("it follows before it was invited")),
        }
    }

    /// Tells it where to join, and with which token if it has none.
    ///
    /// # Errors
    /// [`ProbeError`].
    pub async fn invite(
        mut self,
        mut managers: Vec<String>,
        token: Option<String>,
    ) -> Result<(), ProbeError> {
        managers.truncate(MAX_MANAGERS);
        let invite = Say::Invite { managers, token };
        let stream = &mut self.stream;
        let exchange = async {
            write(stream, &invite).await?;
            read(stream).await
        };
        // A join token was made in between, which takes its time.
        let deadline = self.deadline.max(Instant::now() + CONNECT);
        match timeout_at(deadline, exchange)
            .await
            .map_err(|_| ProbeError::Slow)??
        {
            Reply::Taken => Ok(()),
            Reply::Refused(refusal) => Err(ProbeError::Refused(refusal.reason())),
            Reply::Proved(_) => Err(ProbeError::Unexpected("a proof where an answer belongs")),
        }
    }
}
