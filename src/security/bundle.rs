//! What a new cluster starts from: its CA and the first tokens, made once and copied to every
//! manager that bootstraps it.

use std::path::Path;
use std::str::FromStr;

use super::files::{self, Access};
use super::{ApiToken, CA_CERT_FILE, CA_KEY_FILE, Ca, JoinToken, SecurityError, encode_id};

/// The first API token, with the role `admin`.
pub const ADMIN_TOKEN_FILE: &str = "admin.token";
/// The first join token, for runners.
pub const JOIN_TOKEN_FILE: &str = "join.token";

/// A CA, an admin token and a runners' join token.
#[derive(Debug)]
pub struct Bundle {
    pub ca: Ca,
    pub admin: ApiToken,
    pub join: JoinToken,
}

impl Bundle {
    /// Makes a bundle in `dir`, which is made if need be. The certificate is written last, so a
    /// bundle with `ca.pem` is whole.
    ///
    /// # Errors
    /// `Exists` when any of the files is there, before any is written; `Make`, `Write`.
    pub fn create(dir: &Path) -> Result<Self, SecurityError> {
        for file in [CA_CERT_FILE, CA_KEY_FILE, ADMIN_TOKEN_FILE, JOIN_TOKEN_FILE] {
            let path = dir.join(file);
            if path.symlink_metadata().is_ok() {
                return Err(SecurityError::Exists(path));
            }
        }
        let no_token = |error| SecurityError::Pem {
            what: "a new token",
            reason: format!("{error}"),
        };
        let ca = Ca::generate(&encode_id(rand::random())[..6])?;
        let admin = ApiToken::generate().map_err(no_token)?;
        let join = JoinToken::generate(ca.fingerprint()).map_err(no_token)?;
        files::make_dir(dir)?;
        files::write(
            &dir.join(ADMIN_TOKEN_FILE),
            format!("{admin}\n").as_bytes(),
            Access::Secret,
        )?;
        files::write(
            &dir.join(JOIN_TOKEN_FILE),
            format!("{join}\n").as_bytes(),
            Access::Secret,
        )?;
        ca.save(dir)?;
        Ok(Bundle { ca, admin, join })
    }

    /// Reads the bundle in `dir`.
    ///
    /// # Errors
    /// `Missing` names the file and how a bundle is made; `Content` when a file is damaged, or the
    /// join token is for another CA.
    pub fn load(dir: &Path) -> Result<Self, SecurityError> {
        for file in [CA_CERT_FILE, CA_KEY_FILE, ADMIN_TOKEN_FILE, JOIN_TOKEN_FILE] {
            let path = dir.join(file);
            if !path.exists() {
                return Err(SecurityError::Missing {
                    path,
                    dir: dir.to_owned(),
                });
            }
        }
        let bundle = Bundle {
            ca: Ca::load(dir)?,
            admin: token(&dir.join(ADMIN_TOKEN_FILE))?,
            join: token(&dir.join(JOIN_TOKEN_FILE))?,
        };
        if bundle.join.ca() != bundle.ca.fingerprint() {
            return Err(SecurityError::Content {
                path: dir.join(JOIN_TOKEN_FILE),
                reason: format!("it is for another CA than the {CA_CERT_FILE} beside it"),
            });
        }
        Ok(bundle)
    }
}

fn token<T: FromStr<Err = super::TokenError>>(path: &Path) -> Result<T, SecurityError> {
    files::read(path)?
        .parse()
        .map_err(|error: super::TokenError| SecurityError::Content {
            path: path.to_owned(),
            reason: error.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_bundle_reads_back_and_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("a/b");
        let made = Bundle::create(&dir).unwrap();
        let read = Bundle::load(&dir).unwrap();
        assert_eq!(read.ca.fingerprint(), made.ca.fingerprint());
        assert_eq!(read.admin.to_string(), made.admin.to_string());
        assert_eq!(read.join.to_string(), made.join.to_string());
        let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            [CA_KEY_FILE, ADMIN_TOKEN_FILE, JOIN_TOKEN_FILE, CA_CERT_FILE].map(mode),
            [0o600, 0o600, 0o600, 0o644]
        );
        assert_eq!(mode("."), 0o700);
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(JOIN_TOKEN_FILE), "mine").unwrap();
        let error = Bundle::create(dir.path()).unwrap_err();
        assert!(
            matches!(&error, SecurityError::Exists(path) if path.ends_with(JOIN_TOKEN_FILE)),
            "{error}"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_file_is_named_with_the_way_out() {
        for file in [CA_CERT_FILE, CA_KEY_FILE, ADMIN_TOKEN_FILE, JOIN_TOKEN_FILE] {
            let dir = tempfile::tempdir().unwrap();
            Bundle::create(dir.path()).unwrap();
            fs::remove_file(dir.path().join(file)).unwrap();
            let error = Bundle::load(dir.path()).unwrap_err().to_string();
            let way_out = format!("quorate cluster init --out {}", dir.path().display());
            assert!(error.contains(file) && error.contains(&way_out), "{error}");
        }
    }

    #[test]
    fn mixed_up_files_are_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for file in [JOIN_TOKEN_FILE, CA_KEY_FILE] {
            for dir in [&one, &two] {
                let _ = fs::remove_dir_all(dir.path());
                Bundle::create(dir.path()).unwrap();
            }
            fs::copy(two.path().join(file), one.path().join(file)).unwrap();
            let error = Bundle::load(one.path()).unwrap_err().to_string();
            assert!(error.contains(file), "{error}");
        }
        let _ = fs::remove_dir_all(one.path());
        let bundle = Bundle::create(one.path()).unwrap();
        let cut = &bundle.admin.to_string()[..30];
        fs::write(one.path().join(ADMIN_TOKEN_FILE), cut).unwrap();
        let error = Bundle::load(one.path()).unwrap_err().to_string();
        assert!(
            error.contains(ADMIN_TOKEN_FILE) && !error.contains(&cut[18..]),
            "{error}"
        );
    }
}
