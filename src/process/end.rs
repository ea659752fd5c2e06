//! Exit codes, and the end of a process that must not go on.

use std::{error::Error, io, process, thread, time::Duration};

use crate::{
    consensus::{Halt, StartError},
    node::{IdentityError, NodeError},
    runner::RunnerError,
};

/// It did what it was asked for.
pub const OK: u8 = 0;
/// It failed; the message says why.
pub const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub const USAGE: u8 = 2;
/// Consensus can't go on, or not as this manager.
pub const CONSENSUS: u8 = 70;
/// What was written may not be kept, or can't be read back.
pub const STORAGE: u8 = 74;

/// For `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
   0  it was told to stop, and did
   1  it could not start, or failed
   2  the command line or the configuration is wrong
  70  consensus must not go on, or not as this manager; the log says why
  74  storage failed or is damaged; the log says why";

/// How long an orderly exit may take before the process is aborted.
const EXIT_WITHIN: Duration = Duration::from_secs(2);

/// Ends the process at once: a manager that goes on could answer what is not so.
pub fn halt(why: Halt) {
    let code = match &why {
        Halt::Consensus(_) => CONSENSUS,
        Halt::Storage(_) => STORAGE,
    };
    tracing::error!(%why, code, "this manager must not go on");
    eprintln!("quorate: fatal: {why}");
    // Whatever holds up the exit, a lock for one, must not keep a broken manager alive.
    let watchdog = thread::Builder::new().name("watchdog".into()).spawn(|| {
        thread::sleep(EXIT_WITHIN);
        process::abort()
    });
    if watchdog.is_err() {
        process::abort();
    }
    process::exit(code.into())
}

/// Says on standard error, in one line, why something failed; gives `code`.
pub fn failed(error: &dyn Error, code: u8) -> u8 {
    eprintln!("quorate: {}", chain(error));
    code
}

/// An error with its causes.
pub fn chain(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

/// The exit code of a manager that did not start.
pub fn of_node(error: &NodeError) -> u8 {
    use crate::consensus::log_store::OpenError;
    match error {
        NodeError::Identity(IdentityError::LogGone(_))
        | NodeError::Consensus(
            StartError::Snapshots(_) | StartError::Log(OpenError::Damaged { .. } | OpenError::Io { .. }),
        ) => STORAGE,
        NodeError::Consensus(StartError::Settings(_)) | NodeError::Cache(_) => USAGE,
        NodeError::Consensus(StartError::Raft(_)) => CONSENSUS,
        _ => FAILED,
    }
}

/// The exit code of a runner that ended by itself.
pub fn of_runner(error: &RunnerError) -> u8 {
    match error {
        RunnerError::Config { .. } | RunnerError::NoToken { .. } => USAGE,
        _ => FAILED,
    }
}

/// An I/O error that says what was being done.
pub fn while_doing(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}
