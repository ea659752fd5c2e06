//! The keys to a Docker Engine over TLS: three files under the names that Docker itself gives them.
//!
//! They are an engine's, not the cluster's: nothing here is signed by our CA, and none of it ever
//! enters the replicated state. Only the CA of the file is trusted, not the machine's.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};

use super::{SecurityError, files};

/// The engine's CA certificate.
const CA: &str = "ca.pem";
/// This side's certificate, signed by a CA that the engine trusts.
const CERT: &str = "cert.pem";
/// The key of that certificate.
const KEY: &str = "key.pem";

/// What is wrong with the keys of an engine, and which file to put where.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EngineKeysError(String);

/// TLS to an engine, with the `ca.pem`, `cert.pem` and `key.pem` of a directory. Reads them anew each time,
/// so that files that were added or renewed count without a restart.
///
/// # Errors
/// Which files are missing or not usable, all of them together.
pub fn engine_client(dir: &Path) -> Result<Arc<ClientConfig>, EngineKeysError> {
    let mut wrong = Vec::new();
    let ca = taken(&mut wrong, dir, CA, "the engine's CA certificate", certificates);
    let chain = taken(
        &mut wrong,
        dir,
        CERT,
        "a client certificate that the engine accepts",
        certificates,
    );
    let key = taken(&mut wrong, dir, KEY, "the key of that certificate", |pem| {
        PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())
    });
    let (Some(ca), Some(chain), Some(key)) = (ca, chain, key) else {
        return Err(EngineKeysError(wrong.join("; ")));
    };
    let mut roots = RootCertStore::empty();
    for certificate in ca {
        let unfit = |error| EngineKeysError(format!("{} is not usable: {error}", dir.join(CA).display()));
        roots.add(certificate).map_err(unfit)?;
    }
    let unfit = |error| {
        let (cert, key) = (dir.join(CERT), dir.join(KEY));
        EngineKeysError(format!(
            "{} and {} do not go together: {error}",
            cert.display(),
            key.display()
        ))
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unfit)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(unfit)?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    match all {
        Ok(all) if all.is_empty() => Err("it holds no certificate".into()),
        Ok(all) => Ok(all),
        Err(error) => Err(error.to_string()),
    }
}

/// What a file holds, or a note of what is wrong with it.
fn taken<T>(
    wrong: &mut Vec<String>,
    dir: &Path,
    name: &str,
    what: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let path = dir.join(name);
    let problem = match files::read(&path) {
        Ok(text) => match parse(&text) {
            Ok(value) => return Some(value),
            Err(error) => format!("is not usable ({error})"),
        },
        Err(SecurityError::Read { source, .. }) => format!("can't be read ({source})"),
        Err(error) => error.to_string(),
    };
    wrong.push(format!("{} {problem}: put {what} there, as PEM", path.display()));
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::{Ca, files::Access};

    fn put(dir: &Path, name: &str, text: &str) {
        files::write(&dir.join(name), text.as_bytes(), Access::Secret).unwrap();
    }

    #[test]
    fn each_file_that_is_missing_or_garbled_is_named_until_all_are_right() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let ca = Ca::generate("test").unwrap();
        let leaf = ca.issue_manager(1, &[]).unwrap();
        let kept = dir.join("kept");
        leaf.save(&dir.join("kept.pem"), &kept).unwrap();
        let words = || engine_client(dir).unwrap_err().to_string();
        for name in [CA, CERT, KEY] {
            let path = dir.join(name);
            assert!(
                words().contains(&format!("{} can't be read", path.display())),
                "{}",
                words()
            );
        }
        put(dir, CA, ca.trust().pem());
        put(
            dir,
            CERT,
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        );
        put(dir, KEY, "rubbish");
        let said = words();
        assert!(!said.contains("ca.pem"), "{said}");
        assert!(
            said.contains("cert.pem is not usable") && said.contains("key.pem is not usable"),
            "{said}"
        );

        put(dir, CERT, &leaf.chain_pem());
        put(
            dir,
            KEY,
            &crate::security::KeyRequest::generate().unwrap().key_pem,
        );
        assert!(words().contains("do not go together"), "{}", words());
        put(dir, KEY, &files::read(&kept).unwrap());
        engine_client(dir).unwrap();
    }
}
