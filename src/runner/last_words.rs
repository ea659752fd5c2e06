//! Why an adopted runner ended, left in its data directory: nobody sees what a process writes that an
//! engine was asked to start inside a container.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use crate::security::files::{self, Access};

/// `engine::adopt` reads it.
const FILE: &str = "last-words";

/// Where to leave them.
pub(super) struct LastWords(Option<PathBuf>);

impl LastWords {
    /// With those of an earlier start removed. `dir` is the data directory of an adopted runner.
    pub(super) fn new(dir: Option<&Path>) -> Self {
        let path = dir.map(|dir| dir.join(FILE));
        if let Some(path) = &path {
            // There need not be any.
            let _ = fs::remove_file(path);
        }
        Self(path)
    }

    /// Leaves why this start ends, with the chain of causes.
    pub(super) fn say(&self, error: &dyn Error) {
        let Some(path) = &self.0 else { return };
        let mut words = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            words = format!("{words}: {next}");
            cause = next.source();
        }
        if let Err(error) = files::write(path, words.as_bytes(), Access::Public) {
            tracing::warn!(%error, "why this runner ends is not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::RunnerError;

    #[test]
    fn last_words_are_those_of_this_start() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        LastWords::new(Some(dir.path())).say(&RunnerError::Refused("removed".into()));
        assert!(fs::read_to_string(&file).unwrap().ends_with("removed"));
        let _ = LastWords::new(Some(dir.path()));
        assert!(!file.exists());
        LastWords::new(None).say(&RunnerError::Refused("x".into()));
    }
}
