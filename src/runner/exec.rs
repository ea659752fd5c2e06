//! The shim an agent's process begins as: `quorate runner-exec PARENT -- PROGRAM ARGS…`.
//!
//! It ties its own life to the runner's and then becomes the program. The kernel keeps the tie over
//! `exec` (unless the program is set-uid), so an agent whose runner was killed with SIGKILL is killed
//! too: an unsupervised copy would be one nobody can stop. Processes that the program itself starts
//! are not tied; [`super::stray`] finds those when a runner comes back.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Command, exit},
};

use nix::{
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::{Pid, getppid},
};

/// The hidden subcommand that leads here.
pub const SUBCOMMAND: &str = "runner-exec";

/// Exit status when the program is there and can't be run, as shells have it.
pub const CANNOT_RUN: i32 = 126;

/// Exit status when there is no such program, as shells have it.
pub const NOT_FOUND: i32 = 127;

/// Exit status when the runner was gone before the program began.
const RUNNER_GONE: i32 = 125;

/// Becomes the program named by `args` (what follows the subcommand), or ends with a status that
/// says why not and one line on standard error.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ! {
    let (status, why) = match become_program(args.into_iter()) {
        Ok(never) => match never {},
        Err(failed) => failed,
    };
    // Nobody is left to tell if standard error is closed; the status says it too.
    let _ = writeln!(io::stderr(), "{why}");
    exit(status)
}

fn become_program(
    mut args: impl Iterator<Item = OsString>,
) -> Result<std::convert::Infallible, (i32, String)> {
    let usage = || (2, format!("usage: quorate {SUBCOMMAND} PARENT -- PROGRAM ARGS…"));
    let parent: i32 = args
        .next()
        .and_then(|text| text.to_str()?.parse().ok())
        .ok_or_else(usage)?;
    if args.next().is_none_or(|dashes| dashes != "--") {
        return Err(usage());
    }
    let program = args.next().ok_or_else(usage)?;
    set_pdeathsig(Signal::SIGKILL).map_err(|e| (CANNOT_RUN, format!("cannot tie to the runner: {e}")))?;
    // The runner may have died before the line above; then no signal ever comes.
    if getppid() != Pid::from_raw(parent) {
        return Err((RUNNER_GONE, "the runner ended before the agent began".into()));
    }
    let error = Command::new(&program).args(args).exec();
    let status = if error.kind() == io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        CANNOT_RUN
    };
    Err((status, format!("cannot run {}: {error}", program.display())))
}
