//! The order of turns, and what happens in one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use tokio::time::sleep;

use crate::cluster::{Cluster, RunDir, System, Target};
use crate::etcd::Etcd;
use crate::failover;
use crate::load;
use crate::machine::Machine;
use crate::options::{Options, Peer, Sharing, Transport};
use crate::progress::Progress;
use crate::quorate::Quorate;
use crate::report::{self, Report};

/// Quiet after a turn, so that its leftovers on the disk are not billed to the next.
const BETWEEN_TURNS: Duration = Duration::from_secs(1);

/// Measures everything that was chosen and prints the table.
///
/// # Errors
/// A program to be measured is missing, does not start or does not serve.
pub async fn run(options: &Options) -> Result<()> {
    let programs = Programs::find(options).await?;
    let dir = RunDir::of_this_run(&options.dir, "run", options.keep)?;
    let report = Report::new(
        Machine::look(dir.path())?,
        programs.versions.clone(),
        options.seconds,
    );
    let mut measured = Measured {
        options,
        report,
        progress: Progress::new(steps(options, &programs)),
    };

    for &transport in options.transports() {
        for round in 0..options.rounds {
            for &system in programs.versions.keys() {
                let name = format!("{system}-{transport}-{}", round + 1).to_lowercase();
                let turn = Turn {
                    transport,
                    round,
                    dir: RunDir::create(dir.path().join(name), options.keep)?,
                };
                match system {
                    System::Quorate => {
                        let sharing = options.quorate_connections;
                        let target =
                            Quorate::prepare(&programs.quorate, turn.dir.path(), transport, sharing).await?;
                        measured.take(turn, target).await?;
                    }
                    System::Etcd => {
                        let sharing = options.etcd_connections;
                        let target = Etcd::prepare(&options.etcd, turn.dir.path(), transport, sharing)?;
                        measured.take(turn, target).await?;
                    }
                }
                nix::unistd::sync();
                sleep(BETWEEN_TURNS).await;
            }
        }
    }
    measured.progress.finish();
    println!("{}", measured.report.text());
    options
        .json
        .as_deref()
        .map_or(Ok(()), |path| measured.report.write_json(path))
}

/// One system, one transport, one round.
struct Turn {
    transport: Transport,
    round: u32,
    dir: RunDir,
}

/// What has been measured so far.
struct Measured<'a> {
    options: &'a Options,
    report: Report,
    progress: Progress,
}

impl Measured<'_> {
    /// Starts `target`, takes it through every measure, and ends it.
    async fn take<T: Target>(&mut self, turn: Turn, target: T) -> Result<()> {
        let Turn {
            transport,
            round,
            dir,
        } = turn;
        let options = self.options;
        let warmup = Duration::from_secs_f64(options.warmup);
        let seconds = Duration::from_secs_f64(options.seconds);
        let at = format!(
            "round {}/{}, {transport}, {}",
            round + 1,
            options.rounds,
            T::SYSTEM
        );
        let mut cluster = Cluster::start(target, dir).await?;
        load::fill(&cluster).await?;
        for level in options.levels() {
            self.progress.doing(format!("{at}: {level}"));
            let figures = load::run(&cluster, level, warmup, seconds).await?;
            self.progress
                .done(&format!("{at}: {level}: {}", report::line(&figures)));
            self.report.add_level(transport, level, T::SYSTEM, figures);
        }
        for kill in 1..=options.kills_in_round(round) {
            self.progress.doing(format!(
                "{at}: leader killed, {kill}/{}",
                options.kills_in_round(round)
            ));
            let took = failover::run(&mut cluster).await?;
            self.progress.done(&format!(
                "{at}: leader killed, next write after {} ms",
                took.as_millis()
            ));
            self.report.add_failover(transport, T::SYSTEM, took);
        }
        cluster.end().await
    }
}

fn steps(options: &Options, programs: &Programs) -> u64 {
    let kills: u32 = (0..options.rounds)
        .map(|round| options.kills_in_round(round))
        .sum();
    let levels = options.levels().len() as u64 * u64::from(options.rounds);
    let turns_of_each = (programs.versions.len() * options.transports().len()) as u64;
    turns_of_each * (levels + u64::from(kills))
}

/// The programs to be measured.
struct Programs {
    quorate: PathBuf,
    /// What those that are measured say of themselves, and how they are spoken to, in the order of their turns.
    versions: BTreeMap<System, String>,
}

impl Programs {
    async fn find(options: &Options) -> Result<Self> {
        let quorate = options.quorate.clone().unwrap_or_else(beside_us);
        let mut versions = BTreeMap::new();
        if !options.peer_alone {
            let version = version(&quorate).await.with_context(|| {
                format!(
                    "{} does not run: `cargo build --release` makes it",
                    quorate.display()
                )
            })?;
            let http = if options.quorate_connections == Sharing::Each {
                "HTTP/1.1"
            } else {
                "HTTP/2"
            };
            let spoken = format!("{version} ({http} connections: {})", options.quorate_connections);
            versions.insert(System::Quorate, spoken);
        }
        if options.peer == Peer::Etcd {
            match version(&options.etcd).await {
                Ok(version) => {
                    let spoken = format!("{version} (gRPC connections: {})", options.etcd_connections);
                    versions.insert(System::Etcd, spoken);
                }
                Err(_) => eprintln!(
                    "{} does not run, so only Quorate is measured; on Debian and Ubuntu `apt-get install \
                     etcd-server` installs it, elsewhere give its path with --etcd",
                    options.etcd.display()
                ),
            }
        }
        if versions.is_empty() {
            bail!("there is nothing to measure");
        }
        Ok(Self { quorate, versions })
    }
}

/// The `quorate` binary that a build puts beside this one.
pub fn beside_us() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().unwrap_or(Path::new("")).join("quorate")
}

/// The first line of `binary --version`.
///
/// # Errors
/// It does not run.
pub async fn version(binary: &Path) -> Result<String> {
    let output = Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("it cannot be started")?;
    if !output.status.success() {
        bail!("--version ended with {}", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .replace("Version: ", ""))
}
