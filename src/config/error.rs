//! What is wrong with a configuration, and where it came from.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line, counted from 1, of a file.
    File { path: PathBuf, line: usize },
    /// An environment variable.
    Variable(String),
    /// A flag of the command line, as it is typed.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) | Origin::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, with dots between its parts.
    pub key: String,
    /// Where it was set; `None` for a default.
    pub origin: Option<Origin>,
    /// What is wrong and, where it helps, what would be right.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        write!(f, "`{}` {}", self.key, self.reason)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{}:{line}: {reason}", path.display())]
    Syntax {
        path: PathBuf,
        line: usize,
        reason: String,
    },
    /// Keys or values are wrong: all that were found, one a line.
    #[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<Problem>),
    /// The effective values cannot be shown.
    #[error("cannot print the configuration")]
    Print(#[source] toml::ser::Error),
}

/// Collects what a check of the whole configuration finds.
#[derive(Debug, Default)]
pub struct Problems(Vec<(&'static str, String)>);

impl Problems {
    /// Notes that the value of `key` is wrong unless `fine`.
    pub fn require(&mut self, fine: bool, key: &'static str, reason: impl Into<String>) {
        if !fine {
            self.0.push((key, reason.into()));
        }
    }

    pub(super) fn into_inner(self) -> Vec<(&'static str, String)> {
        self.0
    }
}
