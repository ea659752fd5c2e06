//! Throw-away certificates for etcd: one authority, one leaf that every member shows to clients and to its peers.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// Where the PEM files are.
#[derive(Debug, Clone)]
pub struct Certificates {
    pub authority: PathBuf,
    pub leaf: PathBuf,
    pub key: PathBuf,
}

impl Certificates {
    /// Makes P-256 certificates for loopback and writes them under `dir`.
    ///
    /// # Errors
    /// Making or writing them fails.
    pub fn write(dir: &Path) -> Result<Self> {
        let (authority, leaf, key) = make().context("certificates cannot be made")?;
        let files = Self {
            authority: dir.join("ca.pem"),
            leaf: dir.join("leaf.pem"),
            key: dir.join("leaf.key"),
        };
        for (path, text) in [
            (&files.authority, authority),
            (&files.leaf, leaf),
            (&files.key, key),
        ] {
            std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        Ok(files)
    }
}

fn make() -> Result<(String, String, String), rcgen::Error> {
    let authority_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority
        .distinguished_name
        .push(DnType::CommonName, "bench authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let leaf_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut leaf = CertificateParams::new(vec!["localhost".to_owned()])?;
    leaf.distinguished_name.push(DnType::CommonName, "bench member");
    leaf.subject_alt_names
        .push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Both: a member is a server to clients and a client to its peers.
    leaf.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let leaf_pem = leaf.signed_by(&leaf_key, &issuer)?.pem();
    Ok((authority_pem, leaf_pem, leaf_key.serialize_pem()))
}
