//! What can go wrong with certificates, keys and their files.

use std::io;
use std::path::{Path, PathBuf};

/// Why a certificate, key or bundle could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A bundle lacks a file.
    #[error("{} is missing; make a bundle with `quorate cluster init --out {}`", path.display(), dir.display())]
    Missing { path: PathBuf, dir: PathBuf },
    /// A bundle would overwrite a file.
    #[error("{} exists already and is not overwritten; choose another directory", .0.display())]
    Exists(PathBuf),
    /// A file's content is not what it should be.
    #[error("{} is not usable: {reason}", path.display())]
    Content { path: PathBuf, reason: String },
    /// A PEM text holds no usable certificate or key.
    #[error("{what} is not usable: {reason}")]
    Pem { what: &'static str, reason: String },
    /// The CA refuses to sign.
    #[error("refused to sign: {0}")]
    Refused(String),
    /// Making a key or certificate failed.
    #[error("cannot make {what}")]
    Make {
        what: &'static str,
        #[source]
        source: rcgen::Error,
    },
    /// A set of keys and certificates does not make a TLS configuration.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

impl SecurityError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        SecurityError::Read {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn pem(what: &'static str, reason: impl ToString) -> Self {
        SecurityError::Pem {
            what,
            reason: reason.to_string(),
        }
    }

    pub(super) fn make(what: &'static str) -> impl FnOnce(rcgen::Error) -> Self {
        move |source| SecurityError::Make { what, source }
    }

    /// Says which file a text came from.
    pub(super) fn at(self, path: &Path) -> Self {
        match self {
            SecurityError::Pem { reason, .. } => SecurityError::Content {
                path: path.to_owned(),
                reason,
            },
            other => other,
        }
    }
}
