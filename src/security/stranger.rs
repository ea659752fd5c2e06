//! TLS between a scan and a runner that has not joined yet: neither knows the other.
//!
//! The runner shows a certificate that it made itself and keeps; the other side looks at nothing but its
//! [`Fingerprint`]. Such a connection keeps others from reading along and tells who dialled again that it is
//! the same key. Who is at its end is for those who speak over it to find out: [`channel_binding`] ties
//! their proof to this one connection, so that nobody in the middle can pass it on.

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, CommonState, ConnectionCommon, ServerConfig};

use super::files;
use super::tls::{Takes, Unintroduced};
use super::{Fingerprint, Leaf, MANAGER_NAME, SecurityError};

/// What both sides call the protocol inside, so that it is not taken for another one's TLS.
const ALPN: &[u8] = b"quorate-probe";

/// The label of [`channel_binding`], of the form that RFC 8446 section 7.5 leaves to applications.
const BINDING: &[u8] = b"EXPORTER-quorate-probe";

const CERT_FILE: &str = "probe.pem";
const KEY_FILE: &str = "probe.key";

/// The key by which a runner is known before it has joined, kept in `dir`: made when there is none.
///
/// # Errors
/// `Make`, `Write`; `Content` when what is there is not usable.
pub fn probe_key(dir: &Path) -> Result<Leaf, SecurityError> {
    let (cert, key) = (dir.join(CERT_FILE), dir.join(KEY_FILE));
    if cert.exists() {
        return Leaf::load(&cert, &key);
    }
    let make = || SecurityError::make("a key to be found by");
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make())?;
    let mut params = CertificateParams::new(vec![MANAGER_NAME.to_owned()]).map_err(make())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "quorate runner, not joined");
    let certificate = params.self_signed(&pair).map_err(make())?;
    let leaf = Leaf::from_pem(&certificate.pem(), &pair.serialize_pem())?;
    files::make_dir(dir)?;
    leaf.save(&cert, &key)?;
    Ok(leaf)
}

/// The runner's side.
///
/// # Errors
/// `Tls` when the leaf is not usable.
pub fn probe_server(leaf: &Leaf) -> Result<Arc<ServerConfig>, SecurityError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(leaf.chain(), leaf.key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The side that dials: takes any certificate whose key the other side has.
///
/// # Errors
/// `Tls`.
pub fn probe_client() -> Result<Arc<ClientConfig>, SecurityError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Unintroduced {
        takes: Takes::Anybodys,
        provider: Arc::clone(&provider),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The key that the other side of such a connection has shown, if it speaks the protocol at all.
pub fn probed_key(connection: &CommonState) -> Option<Fingerprint> {
    let chain = connection.peer_certificates()?;
    (connection.alpn_protocol() == Some(ALPN)).then(|| chain.first().map(Fingerprint::of))?
}

/// Whether the one who dialled speaks the protocol.
pub fn speaks_probe(connection: &CommonState) -> bool {
    connection.alpn_protocol() == Some(ALPN)
}

/// 32 bytes that both ends of this connection have and no other connection has (RFC 5705).
///
/// # Errors
/// `Tls` before the handshake is complete.
pub fn channel_binding<T>(connection: &ConnectionCommon<T>) -> Result<[u8; 32], SecurityError> {
    Ok(connection.export_keying_material([0; 32], BINDING, None)?)
}
