//! What an agent's process begins as: `quorate runner-exec PARENT [--leased] -- PROGRAM ARGS…`.
//!
//! Two steps of the same binary. The first stays, as the agent's keeper ([`super::keeper`]). It
//! starts the second, `runner-exec --program KEEPER -- …`, which ties its own life to the keeper's and
//! then becomes the program. The kernel keeps the tie over `exec` (unless the program is set-uid), so
//! no program outlives its keeper, and no keeper its runner: an unsupervised copy would be one nobody
//! can stop.

use std::{
    convert::Infallible,
    ffi::{OsStr, OsString},
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Command, exit},
};

use nix::{
    sys::{
        prctl::set_pdeathsig,
        signal::{SigSet, Signal},
    },
    unistd::{Pid, getppid},
};

use super::keeper;

/// The hidden subcommand that leads here.
pub const SUBCOMMAND: &str = "runner-exec";

/// Marks the second step.
pub(super) const PROGRAM: &str = "--program";

/// Says that the standard input is where the end of the lease is read ([`super::deadline`]).
pub(super) const LEASED: &str = "--leased";

/// Exit status when the program is there and can't be run, as shells have it.
pub const CANNOT_RUN: i32 = 126;

/// Exit status when there is no such program, as shells have it.
pub const NOT_FOUND: i32 = 127;

/// Exit status when the runner was gone before the program began.
pub(super) const RUNNER_GONE: i32 = 125;

/// Keeps or becomes the program named by `args` (what follows the subcommand), or ends with a status
/// that says why not and one line on standard error.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ! {
    let (status, why) = match begin(args.into_iter()) {
        Ok(never) => match never {},
        Err(failed) => failed,
    };
    // Nobody is left to tell if standard error is closed; the status says it too.
    let _ = writeln!(io::stderr(), "{why}");
    exit(status)
}

fn begin(mut args: impl Iterator<Item = OsString>) -> Result<Infallible, (i32, String)> {
    let usage = || {
        let words = format!("usage: quorate {SUBCOMMAND} PARENT [{LEASED}] -- PROGRAM ARGS…");
        (2, words)
    };
    let mut first = args.next().ok_or_else(usage)?;
    let second_step = first == PROGRAM;
    if second_step {
        first = args.next().ok_or_else(usage)?;
    }
    let parent: i32 = first
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(usage)?;
    let mut next = args.next();
    let leased = next.as_ref().is_some_and(|next| next == LEASED);
    if leased {
        next = args.next();
    }
    if next.is_none_or(|dashes| dashes != "--") {
        return Err(usage());
    }
    let program = args.next().ok_or_else(usage)?;
    let parent = Pid::from_raw(parent);
    if second_step {
        become_program(parent, &program, args)
    } else {
        keeper::run(parent, leased, &program, args)
    }
}

fn become_program(
    keeper: Pid,
    program: &OsStr,
    args: impl Iterator<Item = OsString>,
) -> Result<Infallible, (i32, String)> {
    let failed = |errno| (CANNOT_RUN, format!("cannot tie to the keeper: {errno}"));
    set_pdeathsig(Signal::SIGKILL).map_err(failed)?;
    // The keeper may have died before the line above; then no signal ever comes.
    if getppid() != keeper {
        return Err((RUNNER_GONE, "the keeper ended before the agent began".into()));
    }
    // The keeper blocks all signals, and what it starts inherits that.
    SigSet::empty().thread_set_mask().map_err(failed)?;
    let error = Command::new(program).args(args).exec();
    let status = if error.kind() == io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        CANNOT_RUN
    };
    Err((status, format!("cannot run {}: {error}", program.display())))
}
