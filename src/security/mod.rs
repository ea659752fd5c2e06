//! The cluster's own CA, certificates and tokens.
//!
//! One CA per cluster signs everything: a manager's certificate carries the organisation
//! `quorate-manager`, a runner's `quorate-runner`, and only the organisation tells them apart.
//! Inside the cluster a manager is always called [`MANAGER_NAME`], whatever its address, so that a
//! manager may move without a new certificate.
//!
//! What holds:
//!
//! - A certificate request decides nothing but the key: name, organisation, uses and lifetime are
//!   set by the CA.
//! - Runner certificates are for clients only; a runner cannot pose as a manager.
//! - Secrets have a redacted `Debug`, are never part of an error, are kept as SHA-256 only, and are
//!   compared in constant time. Files with secrets are readable by their owner only.
//! - Connections that tell roles by certificate are TLS 1.3 and never resumed, so an expired
//!   certificate cannot live on in a session ticket.
//!
//! It leaves out: who may do what with which object (the API does that, with [`Action`]), where
//! hashes are kept (the replicated state), and when certificates are renewed (their holders).

mod bundle;
mod ca;
mod engine;
mod error;
pub mod files;
mod leaf;
mod peer;
mod role;
mod stranger;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod trust;

pub use bundle::{ADMIN_TOKEN_FILE, Bundle, JOIN_TOKEN_FILE};
pub use ca::{CA_CERT_FILE, CA_KEY_FILE, Ca, RUNNER_LIFETIME};
pub use engine::{EngineKeysError, engine_client};
pub use error::SecurityError;
pub use leaf::{KeyRequest, Leaf, MANAGER_CERT_FILE, MANAGER_KEY_FILE};
pub use peer::{PeerIdentity, PeerRole};
pub use role::Action;
pub use stranger::{channel_binding, probe_client, probe_key, probe_server, probed_key, speaks_probe};
pub use tls::{
    api_server, manager_name, out_of_date, peer_client, peer_server, pinned_ca, pinned_client,
    session_client, session_server,
};
pub use token::{ApiToken, JoinToken, TokenError, decode_id, encode_id};
pub use trust::{Fingerprint, Trust};

/// The name every manager's certificate carries and every connection inside the cluster asks for.
pub const MANAGER_NAME: &str = "manager.quorate.internal";

/// The organisation in a manager's certificate.
const MANAGER_ORG: &str = "quorate-manager";

/// The organisation in a runner's certificate.
const RUNNER_ORG: &str = "quorate-runner";

/// Makes ring the process's crypto provider. Needed before anything uses TLS; may be called again.
pub fn install_crypto() {
    // An error says that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
