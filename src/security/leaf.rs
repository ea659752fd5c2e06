//! A certificate with its chain and key: who a manager or a runner is.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;

use super::ca::{manager_common_name, manager_names};
use super::files::{self, Access};
use super::trust::pem_of;
use super::{Ca, PeerIdentity, SecurityError};

/// A manager's certificate chain in a directory.
pub const MANAGER_CERT_FILE: &str = "manager.pem";
/// A manager's key in a directory.
pub const MANAGER_KEY_FILE: &str = "manager.key";

/// A manager's certificate is made anew at start when it lasts less long than this.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// A certificate, the chain up to and with the CA, and the key.
pub struct Leaf {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    key_pem: String,
}

impl Leaf {
    pub(super) fn new(chain: Vec<CertificateDer<'static>>, key_pem: String) -> Result<Self, SecurityError> {
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|error| SecurityError::pem("a key", error))?;
        let leaf = Leaf { chain, key, key_pem };
        leaf.check_key()?;
        Ok(leaf)
    }

    /// Takes a chain, own certificate first and CA last, and its key, both in PEM form.
    ///
    /// # Errors
    /// `Pem` when either does not parse or the key is not the first certificate's.
    pub fn from_pem(chain_pem: &str, key_pem: &str) -> Result<Self, SecurityError> {
        let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| SecurityError::pem("a certificate chain", error))?;
        if chain.is_empty() {
            return Err(SecurityError::pem(
                "a certificate chain",
                "it holds no certificate",
            ));
        }
        Self::new(chain, key_pem.to_owned())
    }

    /// Reads a chain and a key from PEM files.
    ///
    /// # Errors
    /// `Read` or `Content`, naming the file.
    pub fn load(chain_path: &Path, key_path: &Path) -> Result<Self, SecurityError> {
        Self::from_pem(&files::read(chain_path)?, &files::read(key_path)?)
            .map_err(|error| error.at(chain_path))
    }

    /// Writes the chain and the key to PEM files.
    ///
    /// # Errors
    /// `Write`.
    pub fn save(&self, chain_path: &Path, key_path: &Path) -> Result<(), SecurityError> {
        files::write(key_path, self.key_pem.as_bytes(), Access::Secret)?;
        files::write(chain_path, self.chain_pem().as_bytes(), Access::Public)
    }

    /// The manager's own leaf in `dir`, made anew when there is none, it cannot be read, it is
    /// another manager's or CA's, its names differ from `hosts`, or it has fewer than 30 days left.
    ///
    /// # Errors
    /// As for [`Ca::issue_manager`]; `Write`.
    pub fn for_manager(ca: &Ca, dir: &Path, id: u64, hosts: &[String]) -> Result<Self, SecurityError> {
        Self::for_manager_at(ca, dir, id, hosts, SystemTime::now())
    }

    fn for_manager_at(
        ca: &Ca,
        dir: &Path,
        id: u64,
        hosts: &[String],
        now: SystemTime,
    ) -> Result<Self, SecurityError> {
        let (chain_path, key_path) = (dir.join(MANAGER_CERT_FILE), dir.join(MANAGER_KEY_FILE));
        let why = match Self::load(&chain_path, &key_path) {
            Ok(leaf) => match leaf.unfit(ca, id, hosts, now) {
                None => return Ok(leaf),
                Some(why) => why.to_owned(),
            },
            Err(_) if !chain_path.exists() => "there is none".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::info!(manager = id, %why, "making a new certificate for this manager");
        let leaf = ca.issue_manager_at(id, hosts, now)?;
        files::make_dir(dir)?;
        leaf.save(&chain_path, &key_path)?;
        Ok(leaf)
    }

    /// Why this leaf does not serve a manager.
    fn unfit(&self, ca: &Ca, id: u64, hosts: &[String], now: SystemTime) -> Option<&'static str> {
        if self.chain.get(1) != Some(ca.trust().certificate()) {
            return Some("it is signed by another CA");
        }
        let Ok(identity) = self.identity() else {
            return Some("it is not a certificate of this cluster");
        };
        if identity.name != manager_common_name(id) {
            return Some("it is another manager's");
        }
        if identity.not_after < now + RENEW_BEFORE {
            return Some("it ends soon");
        }
        (self.names() != Some(manager_names(hosts))).then_some("the names have changed")
    }

    /// The names and addresses in the certificate, sorted.
    fn names(&self) -> Option<Vec<String>> {
        let (_, parsed) = x509_parser::parse_x509_certificate(self.chain.first()?).ok()?;
        let mut names = Vec::new();
        for name in &parsed.subject_alternative_name().ok()??.value.general_names {
            names.push(match name {
                GeneralName::DNSName(name) => (*name).to_owned(),
                GeneralName::IPAddress(bytes) => match bytes.len() {
                    4 => std::net::Ipv4Addr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string(),
                    _ => std::net::Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string(),
                },
                _ => return None,
            });
        }
        names.sort_unstable();
        Some(names)
    }

    /// Who the certificate says its holder is, and until when.
    ///
    /// # Errors
    /// `Pem` when it is neither a manager's nor a runner's.
    pub fn identity(&self) -> Result<PeerIdentity, SecurityError> {
        PeerIdentity::from_chain(&self.chain)
    }

    /// The chain in PEM form: own certificate first, CA last.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(pem_of).collect()
    }

    /// The fingerprint of its own certificate.
    pub fn fingerprint(&self) -> Option<super::Fingerprint> {
        self.chain.first().map(super::Fingerprint::of)
    }

    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }

    fn check_key(&self) -> Result<(), SecurityError> {
        let unusable = |error: rustls::Error| SecurityError::pem("a key", error);
        let key = rustls::crypto::ring::sign::any_supported_type(&self.key).map_err(unusable)?;
        CertifiedKey::new(self.chain.clone(), key)
            .keys_match()
            .map_err(unusable)
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("identity", &self.identity().ok())
            .finish_non_exhaustive()
    }
}

/// A runner's key, and the request to certify it. The key never leaves the runner.
pub struct KeyRequest {
    /// The private key; to be kept with the certificate that comes back.
    pub key_pem: String,
    /// What is sent.
    pub csr_pem: String,
}

impl KeyRequest {
    /// Makes a new P-256 key and a request for it.
    ///
    /// # Errors
    /// `Make`.
    pub fn generate() -> Result<Self, SecurityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(SecurityError::make("a key"))?;
        Self::sign(&key)
    }

    /// Makes a request for a key that exists, to renew its certificate.
    ///
    /// # Errors
    /// `Pem` when that is no key, `Make`.
    pub fn with_key(key_pem: &str) -> Result<Self, SecurityError> {
        let key = KeyPair::from_pem(key_pem).map_err(|error| SecurityError::pem("a key", error))?;
        Self::sign(&key)
    }

    fn sign(key: &KeyPair) -> Result<Self, SecurityError> {
        let make = || SecurityError::make("a certificate request");
        let mut params = CertificateParams::default();
        // Whatever a request asks for is ignored; it asks for nothing.
        params.distinguished_name = rcgen::DistinguishedName::new();
        let csr_pem = params
            .serialize_request(key)
            .and_then(|request| request.pem())
            .map_err(make())?;
        Ok(KeyRequest {
            key_pem: key.serialize_pem(),
            csr_pem,
        })
    }
}

impl fmt::Debug for KeyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRequest").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn a_managers_leaf_is_kept_while_it_fits() {
        let ca = Ca::generate("one").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let names = hosts(&["10.0.0.1", "M1.example.org", "[fd00::1]", "localhost"]);
        let get = |ca: &Ca, id, names: &[String], now| {
            Leaf::for_manager_at(ca, dir.path(), id, names, now)
                .unwrap()
                .chain_pem()
        };
        let first = get(&ca, 1, &names, now);
        let shuffled: Vec<String> = names.iter().rev().cloned().collect();
        assert_eq!(get(&ca, 1, &shuffled, now + 334 * DAY), first, "nothing changed");

        let mut last = first;
        let mut expect_new = |what: &str, next: String| {
            assert_ne!(next, last, "{what}");
            last = next;
        };
        expect_new("fewer than 30 days", get(&ca, 1, &names, now + 336 * DAY));
        expect_new("a name more", get(&ca, 1, &hosts(&["10.0.0.2"]), now));
        expect_new("another id", get(&ca, 2, &hosts(&["10.0.0.2"]), now));
        let other = Ca::generate("two").unwrap();
        expect_new("another CA", get(&other, 2, &hosts(&["10.0.0.2"]), now));
        std::fs::write(dir.path().join(MANAGER_KEY_FILE), "rubbish").unwrap();
        expect_new("a broken key file", get(&other, 2, &hosts(&["10.0.0.2"]), now));
    }

    #[test]
    fn a_host_that_is_no_name_is_refused() {
        let ca = Ca::generate("one").unwrap();
        let error = ca
            .issue_manager(1, &hosts(&["not a host"]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("`not a host`"), "{error}");
    }

    #[test]
    fn a_key_that_is_not_the_certificates_is_refused() {
        let ca = Ca::generate("one").unwrap();
        let mine = KeyRequest::generate().unwrap();
        let chain = ca.sign_runner(&mine.csr_pem, "c-1").unwrap();
        assert!(Leaf::from_pem(&chain, &mine.key_pem).is_ok());
        assert!(Leaf::from_pem(&chain, &KeyRequest::generate().unwrap().key_pem).is_err());
        assert!(Leaf::from_pem("", &mine.key_pem).is_err());
    }

    #[test]
    fn debug_shows_no_key() {
        let request = KeyRequest::generate().unwrap();
        let ca = Ca::generate("one").unwrap();
        let leaf = ca.issue_manager(1, &[]).unwrap();
        let key = &leaf.key_pem[40..60];
        assert!(!format!("{leaf:?}").contains(key));
        assert!(!format!("{request:?}").contains(&request.key_pem[40..60]));
        assert!(!format!("{ca:?}").contains(&ca.key_pem()[40..60]));
    }
}
