//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::machine::{Choice, Machine};
use crate::{beat, matrix, nemesis, report, run, workload};

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
    /// What agents of the workload `containers` run
    #[command(hide = true)]
    Beat {
        /// Where they write down when they lived
        lives: PathBuf,
    },
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
    /// End after the first fault, of those that strike one at a time, that managers did not get over; `--time` is then
    /// the most it takes
    #[arg(long)]
    pub until_wrong: bool,
    /// Operations a second, over all workloads
    #[arg(long, default_value_t = 500)]
    pub rate: u64,
    /// Seconds that a fault stays, about (default: 1.5 to 4, so that each gets its turn)
    #[arg(long, value_parser = seconds)]
    pub stay: Option<Duration>,
    /// Managers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    pub nodes: u64,
    /// Chooses everything that is left to chance (default: another each time; it is printed)
    #[arg(long)]
    pub seed: Option<u64>,
    /// Sets a key of the managers' configuration, such as `raft.snapshot_every=100`; repeat it for more
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where managers are
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    pub network: Choice,
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
    /// Where managers are
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    pub network: Choice,
    /// The manager's binary (default: `quorate` beside this program)
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// Where runs are kept
    #[arg(long, value_name = "DIR", default_value = "jepsen/store")]
    pub store: PathBuf,
}

/// A stay may be as short as a fault takes anyway, and not longer than a run is worth.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it must be a number of seconds")?;
    if (0.0..=600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("it must be from 0 to 600 seconds".to_owned())
    }
}

/// Does what was asked; whether all holds.
///
/// # Errors
/// It could not be done.
pub fn act(options: &Options) -> Result<bool> {
    if let Verb::Beat { lives } = &options.verb {
        // Many of them run at once: no runtime.
        return beat::beat(lives).map(|()| true);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime did not start")?;
    runtime.block_on(async {
        // Dropping a run drops its cluster, and that undoes everything it made.
        tokio::select! {
            done = dispatch(&options.verb) => done,
            stopped = interrupted() => stopped,
        }
    })
}

async fn dispatch(verb: &Verb) -> Result<bool> {
    match verb {
        Verb::Run(options) => {
            let machine = Machine::find(options.network).await?;
            Ok(run::run(options, &machine).await?.passed)
        }
        Verb::Matrix(options) => {
            let machine = Machine::find(options.network).await?;
            matrix::matrix(options, &machine).await
        }
        Verb::List => {
            list();
            Ok(true)
        }
        Verb::Check { history } => check(history),
        // It was done before.
        Verb::Beat { .. } => Ok(true),
    }
}

fn list() {
    println!("workloads:");
    for workload in workload::all() {
        println!("  {}", workload.name());
    }
    println!("\nfaults, by family (the name of a family stands for all of it):");
    let faults = nemesis::families();
    for (family, about) in nemesis::FAMILIES {
        println!("  {family:<24}{about}");
        for fault in faults.get(family).into_iter().flatten() {
            if fault.name() != family {
                println!("    {:<22}{}", fault.name(), fault.about());
            }
        }
    }
}

fn check(history: &Path) -> Result<bool> {
    let summary = report::again(history)?;
    println!("{summary}");
    Ok(summary.passes())
}

/// Resolves, always to an error, when the program is asked to stop.
async fn interrupted() -> Result<bool> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be watched")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    anyhow::bail!("interrupted: everything was undone, nothing was judged")
}
