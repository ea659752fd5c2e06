//! The certificate authority of a cluster.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;

use super::files::{self, Access};
use super::trust;
use super::{Fingerprint, Leaf, MANAGER_NAME, MANAGER_ORG, RUNNER_ORG, SecurityError, Trust};

/// The CA certificate in a directory.
pub const CA_CERT_FILE: &str = "ca.pem";
/// The CA key in a directory.
pub const CA_KEY_FILE: &str = "ca.key";

/// How long a runner's certificate lasts.
pub const RUNNER_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How long a manager's certificate lasts.
const MANAGER_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long the CA lasts.
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Certificates are valid from a little before they are made: clocks differ.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// The CA certificate with its key. P-256.
pub struct Ca {
    trust: Trust,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// Makes a new CA, valid for ten years. `cluster` is shown in its name and means nothing.
    ///
    /// # Errors
    /// `Make`.
    pub fn generate(cluster: &str) -> Result<Self, SecurityError> {
        let make = || SecurityError::make("a CA");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make())?;
        let mut params = blank(&lifetime(SystemTime::now(), CA_LIFETIME));
        params
            .distinguished_name
            .push(DnType::CommonName, format!("Quorate CA {cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(make())?;
        Ok(Ca {
            trust: Trust::from_pem(&certificate.pem())?,
            issuer: Issuer::new(params, key),
        })
    }

    /// Reads `ca.pem` and `ca.key` of `dir`.
    ///
    /// # Errors
    /// `Read` or `Content`, naming the file; also when the two do not belong together.
    pub fn load(dir: &Path) -> Result<Self, SecurityError> {
        let key_path = dir.join(CA_KEY_FILE);
        let trust = Trust::load(&dir.join(CA_CERT_FILE))?;
        Self::from_parts(trust, &files::read(&key_path)?).map_err(|error| error.at(&key_path))
    }

    /// Joins a CA certificate with its key in PEM form, as a joining manager gets them.
    ///
    /// # Errors
    /// `Pem` when the key is not a key, or not the certificate's.
    pub fn from_parts(trust: Trust, key_pem: &str) -> Result<Self, SecurityError> {
        let unusable = |reason: String| SecurityError::pem("a CA key", reason);
        let key = KeyPair::from_pem(key_pem).map_err(|error| unusable(error.to_string()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(trust.certificate())
            .map_err(|error| unusable(error.to_string()))?;
        if parsed.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(unusable("it is not the key of the CA certificate".into()));
        }
        let issuer = Issuer::from_ca_cert_der(trust.certificate(), key)
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Ca { trust, issuer })
    }

    /// Writes `ca.pem` and `ca.key` to `dir`, which is made if need be.
    ///
    /// # Errors
    /// `Write`.
    pub fn save(&self, dir: &Path) -> Result<(), SecurityError> {
        files::make_dir(dir)?;
        // The key first: a certificate in place means that the pair is complete.
        files::write(&dir.join(CA_KEY_FILE), self.key_pem().as_bytes(), Access::Secret)?;
        files::write(
            &dir.join(CA_CERT_FILE),
            self.trust.pem().as_bytes(),
            Access::Public,
        )
    }

    /// The key in PEM form: the greatest secret of a cluster. For [`Ca::from_parts`] on a manager
    /// that joins, over a connection between managers only.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The certificate alone.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// What join tokens pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.trust.fingerprint()
    }

    /// Makes a manager's key and certificate, valid for a year: for its API under the names and
    /// addresses in `hosts`, `localhost` and the loopback addresses, inside the cluster under
    /// [`MANAGER_NAME`], and as a client.
    ///
    /// # Errors
    /// `Refused` when a host is neither an IP address nor a DNS name, `Make`.
    pub fn issue_manager(&self, id: u64, hosts: &[String]) -> Result<Leaf, SecurityError> {
        self.issue_manager_at(id, hosts, SystemTime::now())
    }

    pub(crate) fn issue_manager_at(
        &self,
        id: u64,
        hosts: &[String],
        now: SystemTime,
    ) -> Result<Leaf, SecurityError> {
        let key =
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(SecurityError::make("a manager's key"))?;
        let mut params = blank(&lifetime(now, MANAGER_LIFETIME));
        params
            .distinguished_name
            .push(DnType::OrganizationName, MANAGER_ORG);
        params
            .distinguished_name
            .push(DnType::CommonName, manager_common_name(id));
        params.subject_alt_names = manager_names(hosts)
            .iter()
            .map(|host| alt_name(host))
            .collect::<Result<_, _>>()?;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = self.sign(params, &key)?;
        Leaf::new(
            vec![certificate, self.trust.certificate().clone()],
            key.serialize_pem(),
        )
    }

    /// Signs a runner's key for 24 hours and returns the chain in PEM form, the CA last. Of the
    /// request only the key counts, which its signature shows the sender to hold.
    ///
    /// # Errors
    /// `Refused` when the request is malformed, not signed by its own key, or not for a P-256 key,
    /// and when `container_id` is not an id. `Make`.
    pub fn sign_runner(&self, csr_pem: &str, container_id: &str) -> Result<String, SecurityError> {
        self.sign_runner_at(csr_pem, container_id, SystemTime::now())
    }

    pub(super) fn sign_runner_at(
        &self,
        csr_pem: &str,
        id: &str,
        now: SystemTime,
    ) -> Result<String, SecurityError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if id.is_empty() || id.len() > 64 || !id.bytes().all(plain) {
            return Err(SecurityError::Refused("that is not a container id".into()));
        }
        let request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(|error| {
            SecurityError::Refused(format!("the certificate request is not usable: {error}"))
        })?;
        if PublicKeyData::algorithm(&request.public_key) != &PKCS_ECDSA_P256_SHA256 {
            return Err(SecurityError::Refused(
                "the certificate request is not for a P-256 key".into(),
            ));
        }
        let mut params = blank(&lifetime(now, RUNNER_LIFETIME));
        params
            .distinguished_name
            .push(DnType::OrganizationName, RUNNER_ORG);
        params.distinguished_name.push(DnType::CommonName, id);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = trust::pem_of(&self.sign(params, &request.public_key)?);
        Ok(format!("{leaf}{}", self.trust.pem()))
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<CertificateDer<'static>, SecurityError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let certificate = params
            .signed_by(key, &self.issuer)
            .map_err(SecurityError::make("a certificate"))?;
        Ok(certificate.der().clone())
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// The common name in a manager's certificate.
pub(super) fn manager_common_name(id: u64) -> String {
    format!("manager-{id}")
}

/// All names of a manager's certificate: sorted, each once, addresses in their one written form.
pub(super) fn manager_names(hosts: &[String]) -> Vec<String> {
    let fixed = [MANAGER_NAME, "localhost", "127.0.0.1", "::1"];
    let mut names: Vec<String> = fixed
        .into_iter()
        .chain(hosts.iter().map(String::as_str))
        .map(|host| host.trim_start_matches('[').trim_end_matches(']'))
        .map(|host| {
            host.parse::<IpAddr>()
                .map_or_else(|_| host.to_ascii_lowercase(), |address| address.to_string())
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn alt_name(host: &str) -> Result<SanType, SecurityError> {
    let refused = || SecurityError::Refused(format!("`{host}` is neither an IP address nor a DNS name"));
    match rustls::pki_types::ServerName::try_from(host).map_err(|_| refused())? {
        rustls::pki_types::ServerName::IpAddress(address) => Ok(SanType::IpAddress(IpAddr::from(address))),
        _ => Ok(SanType::DnsName(host.try_into().map_err(|_| refused())?)),
    }
}

fn lifetime(now: SystemTime, length: Duration) -> Range<SystemTime> {
    now - SKEW..now + length
}

/// A certificate with a lifetime, a random serial number, and nothing else.
fn blank(lifetime: &Range<SystemTime>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = lifetime.start.into();
    params.not_after = lifetime.end.into();
    // Positive, never zero, and with 119 random bits: RFC 5280 section 4.1.2.2.
    let mut serial: [u8; 16] = rand::random();
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}
