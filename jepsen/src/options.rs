//! The command line.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// Breaks a cluster of real managers under load, and judges what clients were told.
///
/// Exit codes: 0 all holds, 1 something does not hold or was not proven, 2 it could not be run.
#[derive(Debug, Clone, Parser)]
#[command(name = "jepsen", version)]
pub struct Options {
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// One run: a cluster, workloads, faults, a verdict
    Run(RunOptions),
    /// The workloads and faults there are
    List,
    /// Judges a recorded history again
    Check {
        /// `history.jsonl` of a run
        history: PathBuf,
    },
    /// Every fault set with every workload, and a table
    Matrix(MatrixOptions),
}

/// What one run is made of.
#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// Workloads, side by side
    #[arg(long, value_delimiter = ',', default_value = "register")]
    pub workload: Vec<String>,
    /// Faults, in turn by chance; `none` for none
    #[arg(long, value_delimiter = ',', default_value = "none")]
    pub nemesis: Vec<String>,
    /// Seconds of load and faults
    #[arg(long, default_value_t = 60)]
    pub time: u64,
    /// Operations a second, over all workloads
    #[arg(long, default_value_t = 500)]
    pub rate: u64,
    /// Managers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    pub nodes: u64,
    /// Chooses everything that is left to chance (default: another each time; it is printed)
    #[arg(long)]
    pub seed: Option<u64>,
    /// Turns on a planted bug of a binary that was built with them
    #[arg(long, value_name = "NAME")]
    pub planted: Option<String>,
    /// The manager's binary (default: `quorate` beside this program)
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// Where runs are kept
    #[arg(long, value_name = "DIR", default_value = "jepsen/store")]
    pub store: PathBuf,
}

/// What of the matrix is run.
#[derive(Debug, Clone, Args)]
pub struct MatrixOptions {
    /// A short one: a few fault sets, 15 s each
    #[arg(long)]
    pub quick: bool,
    /// Seconds of each run
    #[arg(long)]
    pub time: Option<u64>,
    /// Only fault sets whose name contains one of these
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Operations a second
    #[arg(long, default_value_t = 500)]
    pub rate: u64,
    /// The manager's binary (default: `quorate` beside this program)
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// Where runs are kept
    #[arg(long, value_name = "DIR", default_value = "jepsen/store")]
    pub store: PathBuf,
}

/// Does what was asked; whether all holds.
///
/// # Errors
/// It could not be done.
pub fn act(_options: &Options) -> Result<bool> {
    anyhow::bail!("not wired up yet")
}
