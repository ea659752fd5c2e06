//! `quorate dev`: a whole cluster on this machine, managers and runners as processes of this binary.
//!
//! What others rely on: the files of the directory (see [`place`]), one line `ready URL…` on standard
//! output once every manager serves, and that all processes end with this one. Everything it says
//! besides goes to standard error. Nothing it starts is special: the same processes with the same
//! configuration files could be started by hand.

mod child;
pub mod demo;
pub mod docker;
mod place;
mod ready;

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use tokio::{runtime::Builder, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::{
    child::{Child, Kind},
    place::Place,
};
use crate::{
    process::{block_on, end, parent, shutdown},
    security,
};

/// `quorate dev`.
#[derive(Debug, Clone, Args)]
pub struct DevArgs {
    /// How many managers [default: 3, or as the directory was made]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9))]
    managers: Option<u16>,
    /// How many runners
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=64))]
    runners: u16,
    /// Where everything is kept; starting again on the same directory goes on with what is there
    #[arg(long, value_name = "DIR", default_value = "quorate-dev")]
    data: PathBuf,
    /// The API port of the first manager; manager N has this + 10 (N - 1), and the two above it
    /// [default: 7400, or as the directory was made]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_000))]
    port: Option<u16>,
    /// Leaves children that die as they are
    #[arg(long)]
    no_restart: bool,
    /// Plain HTTP instead of TLS on the API
    #[arg(long)]
    plain: bool,
    /// Ends when the process with this id does
    #[arg(long, value_name = "PID", hide = true)]
    die_with: Option<u32>,
}

/// Runs the cluster until a signal; gives the exit code.
pub fn run(args: &DevArgs) -> u8 {
    if args.die_with.is_some_and(|parent| !parent::tie_to(parent)) {
        return end::OK;
    }
    security::install_crypto();
    // One thread, the first: the kernel ties children to the thread that started them.
    block_on(Builder::new_current_thread(), async {
        let shutdown = shutdown()?;
        let place = match Place::open(args).await {
            Ok(place) => place,
            Err(error) => return Ok(end::failed(&error, error.code())),
        };
        let served = cluster(&place, !args.no_restart, &shutdown).await;
        place.forget_processes();
        served.map(|()| end::OK)
    })
}

/// Starts everything, says when it serves, and ends it in order on `shutdown`.
async fn cluster(place: &Place, restart: bool, shutdown: &CancellationToken) -> io::Result<()> {
    let (managers_end, runners_end) = (CancellationToken::new(), CancellationToken::new());
    let program = std::env::current_exe()?;
    let child = |kind, number, end: &CancellationToken| Child {
        program: program.clone(),
        kind,
        number,
        files: place.files(kind, number),
        restart,
        end: end.clone(),
    };
    let mut managers = JoinSet::new();
    for number in 1..=place.managers() {
        managers.spawn(child(Kind::Manager, number, &managers_end).keep_running());
    }
    let mut runners = JoinSet::new();
    for number in 1..=place.runners() {
        runners.spawn(child(Kind::Runner, number, &runners_end).keep_running());
    }
    let served = tokio::select! {
        served = serve(place) => served,
        // They only end before they are told to if they are not started again.
        Some(_) = managers.join_next() => {
            let logs = place.root().display();
            Err(io::Error::other(format!("a manager ended before the cluster served; see its log in {logs}")))
        }
        () = shutdown.cancelled() => Ok(()),
    };
    if served.is_ok() {
        shutdown.cancelled().await;
        eprintln!("stopping: the runners and their agents, then the managers");
    }
    // Runners say goodbye to managers that are still there to hear it.
    runners_end.cancel();
    while runners.join_next().await.is_some() {}
    managers_end.cancel();
    while managers.join_next().await.is_some() {}
    served
}

async fn serve(place: &Place) -> io::Result<()> {
    let urls = place.endpoints();
    ready::wait(place).await?;
    ready::add_local_engine(place).await?;
    // Who started this may not want to hear it; the cluster runs all the same.
    let _ = writeln!(io::stdout(), "ready {}", urls.join(" ")).and_then(|()| io::stdout().flush());
    eprintln!(
        "try `quorate --dir {} cluster status`; Ctrl-C ends everything",
        place.root().display()
    );
    Ok(())
}
