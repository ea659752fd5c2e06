//! Why a runner ends, and why a session does.

use std::{io, path::PathBuf, time::Duration};

use crate::{security::SecurityError, wire::WireError};

/// Why a runner can't go on.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// A value of the configuration is not usable.
    #[error("`{key}` in the runner's configuration is not usable: {reason}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The data directory can't be used.
    #[error("cannot use the data directory {}", path.display())]
    Data {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another runner uses the data directory.
    #[error("another runner uses the data directory {}; give each its own `data_dir`", .0.display())]
    Taken(PathBuf),
    /// The identity can't be read, made or kept.
    #[error("cannot use the runner's identity")]
    Identity(#[from] SecurityError),
    /// There is no identity and no way to get one.
    #[error(
        "{why}: set `join_token` or `join_token_file`, from `quorate cluster join-token`, and start it again"
    )]
    NoToken {
        /// Why it needs one.
        why: &'static str,
    },
    /// The managers do not want this runner.
    #[error("the managers refuse this runner: {0}")]
    Refused(String),
}

impl RunnerError {
    pub(super) fn config(key: &'static str, reason: impl ToString) -> Self {
        Self::Config {
            key,
            reason: reason.to_string(),
        }
    }
}

/// Why a session is over. All but some refusals are followed by another session.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error("cannot reach it")]
    Dial(#[source] io::Error),
    #[error(
        "it can't be known, as its certificate is out of date by the clock of this machine: see that the clock is right"
    )]
    Date(#[source] io::Error),
    #[error("it did not {what} within {after:?}")]
    Silent { what: &'static str, after: Duration },
    #[error("the connection broke")]
    Wire(#[from] WireError),
    #[error("it closed the connection")]
    Closed,
    #[error("it said what no manager says there: {0}")]
    Unexpected(&'static str),
    #[error("it refused: {reason}")]
    Refused { reason: String, retry: bool },
    #[error("no heartbeat was counted for {0:?}; exclusive agents are stopped")]
    Lapsed(Duration),
    #[error(transparent)]
    Security(#[from] SecurityError),
}

impl SessionError {
    /// One line with the whole chain of causes.
    pub(super) fn complain(&self, manager: &str) {
        tracing::warn!(%manager, "no session: {}", self.chain());
    }

    /// The error and all its causes.
    pub(super) fn chain(&self) -> String {
        let mut words = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            words = format!("{words}: {cause}");
            source = cause.source();
        }
        words
    }
}
