//! What a cluster is known by: its CA certificate, and the fingerprint of that.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::{BASE64, HEXLOWER};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use super::{SecurityError, files};

/// SHA-256 of a CA certificate in DER form; shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Fingerprint(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A text is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a CA fingerprint is 64 characters of 0-9 and a-f")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| FingerprintError)?;
        bytes.try_into().map(Fingerprint).map_err(|_| FingerprintError)
    }
}

/// The CA certificate of a cluster, without its key: all that is needed to trust its managers.
#[derive(Clone)]
pub struct Trust {
    certificate: CertificateDer<'static>,
    pem: String,
    roots: Arc<RootCertStore>,
}

impl Trust {
    /// Takes a CA certificate in PEM form.
    ///
    /// # Errors
    /// `Pem` when the text is not exactly one certificate that may sign others.
    pub fn from_pem(pem: &str) -> Result<Self, SecurityError> {
        let unusable = |reason: String| SecurityError::pem("a CA certificate", reason);
        let mut certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
        let certificate = match (certificates.next(), certificates.next()) {
            (Some(Ok(certificate)), None) => certificate,
            (None, _) => return Err(unusable("it holds no certificate".into())),
            (Some(Err(error)), _) => return Err(unusable(error.to_string())),
            (Some(Ok(_)), Some(_)) => return Err(unusable("it holds more than one certificate".into())),
        };
        Self::build(certificate, pem.to_owned())
    }

    /// Takes a CA certificate in DER form.
    ///
    /// # Errors
    /// `Pem` when it is not a certificate that may sign others.
    pub fn from_der(certificate: CertificateDer<'static>) -> Result<Self, SecurityError> {
        let pem = pem_of(&certificate);
        Self::build(certificate, pem)
    }

    /// Reads a CA certificate from a PEM file.
    ///
    /// # Errors
    /// `Read` or `Content`, both naming the file.
    pub fn load(path: &Path) -> Result<Self, SecurityError> {
        Self::from_pem(&files::read(path)?).map_err(|error| error.at(path))
    }

    fn build(certificate: CertificateDer<'static>, pem: String) -> Result<Self, SecurityError> {
        let unusable = |reason: String| SecurityError::pem("a CA certificate", reason);
        let (rest, parsed) =
            x509_parser::parse_x509_certificate(&certificate).map_err(|error| unusable(error.to_string()))?;
        if !rest.is_empty() {
            return Err(unusable("bytes follow the certificate".into()));
        }
        if !parsed.is_ca() {
            return Err(unusable("it may not sign other certificates".into()));
        }
        let mut roots = RootCertStore::empty();
        roots
            .add(certificate.clone())
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Trust {
            certificate,
            pem,
            roots: Arc::new(roots),
        })
    }

    /// The certificate in PEM form.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate in DER form.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What join tokens pin.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// The certificate as the only root.
    pub fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }
}

/// A certificate in PEM form.
pub(super) fn pem_of(certificate: &CertificateDer<'_>) -> String {
    let text = BASE64.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so every index is a character's border.
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trust").field(&self.fingerprint()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::{Ca, KeyRequest};

    #[test]
    fn only_a_single_ca_certificate_is_taken() {
        let ca = Ca::generate("one").unwrap();
        let pem = ca.trust().pem();
        assert_eq!(Trust::from_pem(pem).unwrap().fingerprint(), ca.fingerprint());
        let from_der = Trust::from_der(ca.trust().certificate().clone()).unwrap();
        assert_eq!(
            Trust::from_pem(from_der.pem()).unwrap().certificate(),
            ca.trust().certificate()
        );

        let leaf = ca
            .sign_runner(&KeyRequest::generate().unwrap().csr_pem, "c-1")
            .unwrap();
        let leaf = leaf
            .split_inclusive("-----END CERTIFICATE-----\n")
            .next()
            .unwrap();
        for (text, reason) in [
            ("", "no certificate"),
            (&format!("{pem}{pem}"), "more than one"),
            (leaf, "may not sign"),
            (&pem.replace("MII", "AAA"), ""),
        ] {
            let error = Trust::from_pem(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_fingerprint_reads_back_and_bad_ones_are_refused() {
        let print = Ca::generate("one").unwrap().fingerprint();
        let text = print.to_string();
        assert_eq!(text.parse(), Ok(print));
        for bad in [
            "",
            &text[1..],
            &text.to_uppercase(),
            &format!("{text}0"),
            &format!("g{}", &text[1..]),
        ] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(FingerprintError), "{bad}");
        }
    }
}
