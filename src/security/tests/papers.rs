//! Requests, certificates and the CA, as they are written down.

use super::*;

#[test]
fn a_request_decides_nothing_but_the_key() {
    let ca = ca();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::new(vec![MANAGER_NAME.to_owned()]).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, MANAGER_ORG);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "manager-1");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    let leaf = Leaf::from_pem(&ca.sign_runner(&csr, "c-7").unwrap(), &key.serialize_pem()).unwrap();
    let identity = leaf.identity().unwrap();
    assert_eq!((identity.role, identity.name.as_str()), (PeerRole::Runner, "c-7"));
    let chain = leaf.chain();
    let (_, parsed) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    assert!(!parsed.is_ca());
    assert!(parsed.subject_alternative_name().unwrap().is_none());
    let uses = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(uses.client_auth && !uses.server_auth && !uses.any);
}

#[test]
fn bad_requests_are_refused() {
    let ca = ca();
    let good = KeyRequest::generate().unwrap().csr_pem;
    for id in ["", "manager-1\n", "C-1", &"c".repeat(65), "c 1", "c/1"] {
        assert!(
            matches!(ca.sign_runner(&good, id), Err(SecurityError::Refused(_))),
            "{id:?}"
        );
    }
    // One bit of the signature, one of the middle, no request at all, and another kind of key.
    let lines: Vec<&str> = good.lines().collect();
    let flip = |line: usize| {
        let mut lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let swapped = if lines[line].as_bytes()[9] == b'A' {
            "B"
        } else {
            "A"
        };
        lines[line].replace_range(9..10, swapped);
        lines.join("\n")
    };
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let p384 = rcgen::CertificateParams::default()
        .serialize_request(&p384)
        .unwrap()
        .pem()
        .unwrap();
    for bad in [
        flip(lines.len() - 2),
        flip(2),
        String::new(),
        "rubbish".into(),
        ca.trust().pem().into(),
        p384,
    ] {
        assert!(
            matches!(ca.sign_runner(&bad, "c-1"), Err(SecurityError::Refused(_))),
            "{bad}"
        );
    }
}

#[test]
fn a_ca_reads_back_and_must_match_its_key() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ca = ca();
    ca.save(one.path()).unwrap();
    let again = Ca::load(one.path()).unwrap();
    assert_eq!(again.fingerprint(), ca.fingerprint());
    // What the re-read CA signs is trusted under the first one's certificate.
    let leaf = again.issue_manager(1, &[]).unwrap();
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
        ca.trust().roots(),
        Arc::new(rustls::crypto::ring::default_provider()),
    );
    let chain = leaf.chain();
    let now = rustls::pki_types::UnixTime::now();
    use rustls::client::danger::ServerCertVerifier as _;
    verifier
        .build()
        .unwrap()
        .verify_server_cert(&chain[0], &chain[1..], &manager_name(), &[], now)
        .unwrap();

    Ca::generate("two").unwrap().save(two.path()).unwrap();
    std::fs::copy(two.path().join(CA_KEY_FILE), one.path().join(CA_KEY_FILE)).unwrap();
    let error = Ca::load(one.path()).unwrap_err().to_string();
    assert!(
        error.contains(CA_KEY_FILE) && error.contains("not the key"),
        "{error}"
    );
    std::fs::remove_file(one.path().join(CA_CERT_FILE)).unwrap();
    let error = Ca::load(one.path()).unwrap_err();
    assert!(
        error.to_string().contains(CA_CERT_FILE) && error.source().is_some(),
        "{error}"
    );
}

#[test]
fn a_provider_may_be_installed_twice() {
    install_crypto();
    install_crypto();
    assert!(rustls::crypto::CryptoProvider::get_default().is_some());
}

#[test]
fn a_renewed_request_keeps_its_key() {
    let ca = ca();
    let first = KeyRequest::generate().unwrap();
    let again = KeyRequest::with_key(&first.key_pem).unwrap();
    let chain = ca.sign_runner(&again.csr_pem, "c-1").unwrap();
    assert!(Leaf::from_pem(&chain, &first.key_pem).is_ok());
    assert!(KeyRequest::with_key("rubbish").is_err());
}
