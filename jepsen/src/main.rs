//! The `jepsen` binary: exit codes only.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use jepsen::options::Options;

fn main() -> ExitCode {
    match jepsen::options::act(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        // The run was judged, and something does not hold.
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
