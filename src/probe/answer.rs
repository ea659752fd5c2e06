//! The runner's side of a talk.

use rand::{TryRngCore, rngs::OsRng};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{
    MAX_ADDRESS_BYTES, MAX_MANAGERS, PROTOCOL, ProbeError,
    message::{Ask, Nonce, Refusal, Reply, Say, Tell, read, write},
    proof::{Proof, Talk},
};
use crate::{
    model::Name,
    security::{self, Fingerprint, JoinToken},
};

/// Who listens.
#[derive(Debug, Clone)]
pub struct Host {
    /// What it calls itself.
    pub name: Name,
    /// Its own key, as the other side sees it.
    pub key: Fingerprint,
    /// The join token it holds.
    pub token: Option<JoinToken>,
    /// Without one: the CA of the cluster it may be let into; any, where there is none.
    pub ca: Option<Fingerprint>,
}

/// Where to join, and with what.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// Session addresses of managers.
    pub managers: Vec<String>,
    /// The join token: the runner's own, or one that was handed to it.
    pub token: JoinToken,
}

/// Fresh randomness of the system.
pub(super) fn nonce() -> Result<Nonce, ProbeError> {
    let mut nonce = [0; 32];
    OsRng
        .try_fill_bytes(&mut nonce)
        .map_err(|_| ProbeError::Io(std::io::Error::other("the system has no randomness to give")))?;
    Ok(nonce)
}

/// Answers one that dialled, up to an invitation that `take` takes or does not. The caller bounds the time.
///
/// # Errors
/// [`ProbeError`]; the connection is then to be closed. Also when it only looked and went.
pub async fn answer(
    stream: &mut TlsStream<TcpStream>,
    host: &Host,
    take: impl FnOnce(Invitation) -> bool,
) -> Result<(), ProbeError> {
    let connection = stream.get_ref().1;
    if !security::speaks_probe(connection) {
        return Err(ProbeError::Foreign);
    }
    let binding = security::channel_binding(connection)?;
    let ask: Ask = read(stream).await?;
    if ask.protocol != PROTOCOL {
        write(stream, &Tell::Version(PROTOCOL)).await?;
        return Err(ProbeError::Version { theirs: ask.protocol });
    }
    let ours = nonce()?;
    let tell = Tell::Runner {
        name: host.name.clone(),
        token: host.token.as_ref().map(JoinToken::id),
        nonce: ours,
    };
    write(stream, &tell).await?;
    let invited = match &host.token {
        Some(token) => {
            let talk = Talk {
                binding: &binding,
                key: &host.key.to_string(),
                name: &host.name,
                token: token.id(),
                manager: &ask.nonce,
                runner: &ours,
            };
            proven(stream, &Proof::new(&token.hash(), &talk)).await?;
            read(stream).await?
        }
        None => read(stream).await?,
    };
    let decided = fit(host, invited).and_then(|invitation| {
        // Whoever waits for it may be busy with another one.
        take(invitation).then_some(()).ok_or(Refusal::Busy)
    });
    match decided {
        Ok(()) => write(stream, &Reply::Taken).await,
        Err(refusal) => refuse(stream, refusal).await,
    }
}

/// Nothing goes on before the manager has proved that it knows the token.
async fn proven(stream: &mut TlsStream<TcpStream>, proof: &Proof) -> Result<(), ProbeError> {
    match read(stream).await? {
        Say::Prove(shown) if proof.is_manager(&shown) => write(stream, &Reply::Proved(proof.runner())).await,
        Say::Prove(_) => {
            write(stream, &Reply::Refused(Refusal::Unproven)).await?;
            Err(ProbeError::Unproven)
        }
        Say::Invite { .. } => refuse(stream, Refusal::Token).await,
    }
}

async fn refuse(stream: &mut TlsStream<TcpStream>, refusal: Refusal) -> Result<(), ProbeError> {
    write(stream, &Reply::Refused(refusal)).await?;
    Err(ProbeError::Unexpected(match refusal {
        Refusal::Unproven | Refusal::Token => {
            "an invitation without a proof, or without the token that it needs"
        }
        Refusal::OtherCa => "an invitation into a cluster whose CA is not the one of `probe.ca`",
        Refusal::Busy => "an invitation while another one is followed",
        Refusal::Addresses => "an invitation without usable addresses",
    }))
}

/// The invitation, if this runner may follow it.
fn fit(host: &Host, invited: Say) -> Result<Invitation, Refusal> {
    let Say::Invite { managers, token } = invited else {
        return Err(Refusal::Token);
    };
    let plain = |address: &String| {
        address.len() <= MAX_ADDRESS_BYTES && address.bytes().all(|b| b.is_ascii_graphic())
    };
    if managers.is_empty() || managers.len() > MAX_MANAGERS || !managers.iter().all(plain) {
        return Err(Refusal::Addresses);
    }
    let token = match (&host.token, token) {
        (Some(own), None) => own.clone(),
        (None, Some(handed)) => handed.parse::<JoinToken>().map_err(|_| Refusal::Token)?,
        _ => return Err(Refusal::Token),
    };
    if host.ca.is_some_and(|ca| ca != token.ca()) {
        return Err(Refusal::OtherCa);
    }
    Ok(Invitation { managers, token })
}
