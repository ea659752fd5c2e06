//! Who is at the other end of a connection, by its certificate.

use std::time::{Duration, SystemTime};

use rustls::CommonState;
use rustls::pki_types::CertificateDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::{MANAGER_ORG, RUNNER_ORG, SecurityError};

/// What a certificate of the cluster is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerRole {
    /// A replica of the control plane; its name is `manager-<id>`.
    Manager,
    /// A runner; its name is the id of its container.
    Runner,
}

/// The holder of a certificate. Trustworthy only where the certificate was verified, as every
/// configuration of this module does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    pub role: PeerRole,
    /// The common name.
    pub name: String,
    /// When the certificate ends.
    pub not_after: SystemTime,
}

impl PeerIdentity {
    /// The other side of a TLS connection whose handshake is complete, or `None` where it showed
    /// no certificate. Both halves of `tokio_rustls` streams lead here by `get_ref().1`.
    ///
    /// # Errors
    /// `Pem` when the certificate is neither a manager's nor a runner's.
    pub fn of(connection: &CommonState) -> Result<Option<Self>, SecurityError> {
        connection
            .peer_certificates()
            .filter(|chain| !chain.is_empty())
            .map(Self::from_chain)
            .transpose()
    }

    /// The id of the manager this is, if it is one.
    pub fn manager_id(&self) -> Option<u64> {
        let id = self.name.strip_prefix("manager-")?;
        (self.role == PeerRole::Manager).then(|| id.parse().ok())?
    }

    /// The holder of the first certificate of a chain.
    pub(super) fn from_chain(chain: &[CertificateDer<'_>]) -> Result<Self, SecurityError> {
        let unusable = |reason: String| SecurityError::pem("a certificate", reason);
        let first = chain
            .first()
            .ok_or_else(|| unusable("the chain is empty".into()))?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(first).map_err(|error| unusable(error.to_string()))?;
        let role = match only(parsed.subject(), X509Name::iter_organization) {
            Some(MANAGER_ORG) => PeerRole::Manager,
            Some(RUNNER_ORG) => PeerRole::Runner,
            _ => return Err(unusable("it is neither a manager's nor a runner's".into())),
        };
        let name = only(parsed.subject(), X509Name::iter_common_name)
            .ok_or_else(|| unusable("it has no common name".into()))?;
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Ok(PeerIdentity {
            role,
            name: name.to_owned(),
            not_after,
        })
    }
}

/// An attribute's value where it stands exactly once: two of them would leave open which counts.
fn only<'a, I>(name: &'a X509Name<'a>, values: impl FnOnce(&'a X509Name<'a>) -> I) -> Option<&'a str>
where
    I: Iterator<Item = &'a AttributeTypeAndValue<'a>>,
{
    let mut values = values(name);
    match (values.next(), values.next()) {
        (Some(value), None) => value.as_str().ok(),
        _ => None,
    }
}
