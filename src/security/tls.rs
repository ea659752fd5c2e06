//! TLS configurations: one function for each kind of connection.
//!
//! | connection | server | client |
//! |---|---|---|
//! | manager to manager | [`peer_server`]: a manager's certificate or nothing | [`peer_client`] |
//! | runner to manager | [`session_server`]: a certificate or none | [`session_client`], [`pinned_client`] to join |
//! | anyone to the API | [`api_server`]: tokens, not certificates | the CA certificate is all it takes |

use std::{io, sync::Arc};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, Error,
    RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};

use super::{Fingerprint, Leaf, MANAGER_NAME, PeerIdentity, PeerRole, SecurityError, Trust};

/// Inside the cluster both sides are Quorate.
const INSIDE: &[&SupportedProtocolVersion] = &[&TLS13];
/// API clients may be older.
const OUTSIDE: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// The name to connect with inside the cluster: [`MANAGER_NAME`].
pub fn manager_name() -> ServerName<'static> {
    // A constant DNS name, checked by every test that connects.
    ServerName::try_from(MANAGER_NAME).expect("a DNS name")
}

/// Whether a handshake failed over the dates of the other side's certificate, as this machine's clock has it.
pub fn out_of_date(error: &io::Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let Some(Error::InvalidCertificate(why)) = cause else {
        return false;
    };
    matches!(
        why,
        Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
    )
}

/// The peer port: only managers of this cluster complete the handshake.
///
/// # Errors
/// `Tls` when the leaf or the trust are not usable.
pub fn peer_server(leaf: &Leaf, trust: &Trust) -> Result<Arc<ServerConfig>, SecurityError> {
    let inner = client_verifier(trust, false)?;
    strict_server(leaf, Arc::new(ManagersOnly { inner }))
}

/// To another manager's peer port. The certificate of the other side says which manager it is:
/// see [`PeerIdentity::manager_id`].
///
/// # Errors
/// `Tls` when the leaf or the trust are not usable.
pub fn peer_client(leaf: &Leaf, trust: &Trust) -> Result<Arc<ClientConfig>, SecurityError> {
    session_client(trust, Some(leaf))
}

/// The session port: a client without a certificate may connect (to enrol), one with a certificate
/// of another CA, or an expired one, may not.
///
/// # Errors
/// `Tls` when the leaf or the trust are not usable.
pub fn session_server(leaf: &Leaf, trust: &Trust) -> Result<Arc<ServerConfig>, SecurityError> {
    strict_server(leaf, client_verifier(trust, true)?)
}

/// To a session port of a known cluster, as a runner with its leaf or without one.
///
/// # Errors
/// `Tls` when the leaf or the trust are not usable.
pub fn session_client(trust: &Trust, leaf: Option<&Leaf>) -> Result<Arc<ClientConfig>, SecurityError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(INSIDE)?
        .with_root_certificates(trust.roots());
    let mut config = match leaf {
        Some(leaf) => builder.with_client_auth_cert(leaf.chain(), leaf.key())?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// To the session port of a cluster known only by a join token: the server must show a manager's
/// certificate and the CA certificate with this fingerprint that signed it.
///
/// # Errors
/// `Tls`.
pub fn pinned_client(ca: Fingerprint) -> Result<Arc<ClientConfig>, SecurityError> {
    let provider = provider();
    let verifier = Unintroduced {
        takes: Takes::ManagersOf(ca),
        provider: Arc::clone(&provider),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(INSIDE)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The CA certificate that the server of a pinned connection has shown: what whoever joins trusts
/// from then on.
///
/// # Errors
/// `Pem` when there is none with this fingerprint, which a completed [`pinned_client`] handshake rules out.
pub fn pinned_ca(connection: &CommonState, ca: Fingerprint) -> Result<Trust, SecurityError> {
    let chain = connection.peer_certificates().unwrap_or_default();
    let found = chain
        .iter()
        .find(|certificate| Fingerprint::of(certificate) == ca);
    let missing = || SecurityError::pem("the server's chain", "the pinned CA certificate is not in it");
    Trust::from_der(found.ok_or_else(missing)?.clone().into_owned())
}

/// The API: TLS 1.2 or 1.3, HTTP/2 or HTTP/1.1, no client certificates.
///
/// # Errors
/// `Tls` when the leaf is not usable.
pub fn api_server(leaf: &Leaf) -> Result<Arc<ServerConfig>, SecurityError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(OUTSIDE)?
        .with_no_client_auth()
        .with_single_cert(leaf.chain(), leaf.key())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A server that looks at every client certificate, each time: nothing is resumed.
fn strict_server(
    leaf: &Leaf,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<ServerConfig>, SecurityError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(INSIDE)?
        .with_client_cert_verifier(clients)
        .with_single_cert(leaf.chain(), leaf.key())?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn client_verifier(trust: &Trust, optional: bool) -> Result<Arc<dyn ClientCertVerifier>, SecurityError> {
    let builder = WebPkiClientVerifier::builder_with_provider(trust.roots(), provider());
    let builder = if optional {
        builder.allow_unauthenticated()
    } else {
        builder
    };
    builder
        .build()
        .map_err(|error| SecurityError::Tls(Error::General(error.to_string())))
}

/// Takes what `inner` takes, if it is a manager's.
#[derive(Debug)]
struct ManagersOnly {
    inner: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for ManagersOnly {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        match PeerIdentity::from_chain(std::slice::from_ref(end_entity)) {
            Ok(PeerIdentity {
                role: PeerRole::Manager,
                ..
            }) => Ok(verified),
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A server whose CA certificate is not here. TLS still proves that it has the key of what it shows.
#[derive(Debug)]
pub(super) struct Unintroduced {
    pub takes: Takes,
    pub provider: Arc<CryptoProvider>,
}

/// Which certificate is taken from it.
#[derive(Debug)]
pub(super) enum Takes {
    /// Any.
    Anybodys,
    /// A manager's, together with that of its CA, which has this fingerprint.
    ManagersOf(Fingerprint),
}

impl ServerCertVerifier for Unintroduced {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        // The address that was dialled means nothing; every manager has the one name.
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Takes::ManagersOf(ca) = self.takes else {
            return Ok(ServerCertVerified::assertion());
        };
        let pinned = intermediates
            .iter()
            .find(|certificate| Fingerprint::of(certificate) == ca);
        let pinned = pinned.ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, &manager_name(), ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
