//! One test: a cluster, load and faults, healing, final reads, judgement.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::checker::Verdict;
use crate::cluster::{Cluster, Exit, Needs, Watch, Watched};
use crate::history::Recorder;
use crate::judge;
use crate::machine::Machine;
use crate::nemesis::{Field, Lane, LeftOut, Plan, RECOVERS_WITHIN, Strike, drive};
use crate::options::RunOptions;
use crate::report;
use crate::workload::{self, Pace, Stage, Workload, WorkloadContext};

/// How long a fresh cluster may take to serve.
const FOUNDED_WITHIN: Duration = Duration::from_secs(30);
/// How long operations under way may take to come to an end.
const LOAD_ENDS_WITHIN: Duration = Duration::from_secs(60);
/// How long a cluster that is late is waited for.
const LATE_WITHIN: Duration = Duration::from_secs(20);
/// How long the final reads may take.
const FINAL_READS_WITHIN: Duration = Duration::from_secs(60);
/// The same, of a cluster that does not serve.
const LAST_TRY_WITHIN: Duration = Duration::from_secs(3);
/// Runners, where something is to happen in containers: two that are silent are no mass silence yet.
const RUNNERS: u64 = 4;
/// How long a fault stays at the least and at the most.
const STAYS: (f64, f64) = (1.5, 4.0);

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Whether everything holds, and was proven.
    pub passed: bool,
    pub verdicts: Vec<Verdict>,
    pub strikes: Vec<Strike>,
    /// After the last fault was undone, until all served again.
    pub recovered_in: Option<Duration>,
}

/// What happened, before it is judged.
pub struct Events {
    pub strikes: Vec<Strike>,
    pub exits: Vec<Exit>,
    /// Why the cluster was not serving in time, or how long it took.
    pub recovery: std::result::Result<Duration, String>,
    /// Panics and the like, from the managers' logs.
    pub panics: Vec<String>,
    pub watched: Watched,
    pub planned: Vec<&'static str>,
    /// Whether faults of several lanes were about at once.
    pub crowded: bool,
    pub seconds: f64,
}

/// Runs one test, and judges it.
///
/// # Errors
/// It could not be run.
pub async fn run(options: &RunOptions, machine: &Machine) -> Result<Outcome> {
    let seed = options.seed.unwrap_or_else(rand::random);
    let workloads = chosen(&options.workload)?;
    let plan = Plan::of(&options.nemesis, &|tools| machine.lacks(tools))?;
    let binary = binary(options.binary.as_deref())?;
    let dir = directory(options, seed)?;
    eprintln!(
        "run {} (seed {seed}): {} under {} for {} s",
        dir.display(),
        options.workload.join(", "),
        options.nemesis.join(", "),
        options.time
    );
    eprintln!("  network: {}", machine.network());
    for left_out in &plan.left_out {
        eprintln!("  left out {left_out}");
    }
    let history = dir.join("history.jsonl");
    let recorder = Recorder::create(&history)
        .with_context(|| format!("{} cannot be written", history.display()))
        .map(Arc::new)?;
    let needs = Needs {
        managers: options.nodes,
        spare: plan.tools.spare,
        runners: if plan.tools.runners || workloads.iter().any(|one| one.name() == workload::CONTAINERS) {
            RUNNERS
        } else {
            0
        },
        disks: plan.tools.disks,
        clocks: plan.tools.clocks,
        environment: options.planted.iter().map(|name| planted(name)).collect(),
        settings: options.set.clone(),
        network: machine.network,
    };
    let stage = stage(&dir)?;
    let cluster = Cluster::start(&dir, &binary, &needs, Arc::clone(&recorder)).await?;
    let test = Test {
        cluster,
        recorder,
        workloads,
        stage,
        seed,
        options,
        network: machine.network(),
        left_out: plan.left_out.iter().map(LeftOut::to_string).collect(),
    };
    let events = test.carry_out(plan).await?;
    let outcome = test.judge(&dir, events)?;
    for runner in &test.cluster.runners {
        runner.kill().await?;
    }
    for seat in &test.cluster.seats {
        seat.kill().await?;
    }
    test.clean_up(&dir, outcome.passed);
    Ok(outcome)
}

/// How a binary that was built with planted bugs is told which one to have.
fn planted(name: &str) -> (String, String) {
    ("QUORATE_PLANTED".to_owned(), name.to_owned())
}

fn chosen(names: &[String]) -> Result<Vec<Arc<dyn Workload>>> {
    let all = workload::all();
    if names.iter().any(|name| name == "all") {
        return Ok(all);
    }
    names
        .iter()
        .map(|name| {
            let found = all.iter().find(|workload| workload.name() == name);
            found
                .cloned()
                .with_context(|| format!("there is no workload `{name}`; `jepsen list` has them"))
        })
        .collect()
}

/// The binary that is tested: the one asked for, or the one beside this program.
fn binary(asked: Option<&Path>) -> Result<PathBuf> {
    let path = match asked {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()
            .context("this program's own path is not known")?
            .with_file_name("quorate"),
    };
    ensure!(
        path.is_file(),
        "{} is not there: build it with `cargo build --release`, or name another by --binary",
        path.display()
    );
    path.canonicalize().context("the binary's path has no end")
}

fn directory(options: &RunOptions, seed: u64) -> Result<PathBuf> {
    let name = format!(
        "{}-{}-{:08x}",
        judge::stamp(std::time::SystemTime::now()),
        options.nemesis.join("+"),
        seed >> 32
    );
    let dir = options.store.join(name);
    if dir.exists() {
        bail!("{} is there already", dir.display());
    }
    fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    dir.canonicalize().context("the run's directory has no end")
}

/// Agents run this very program.
fn stage(dir: &Path) -> Result<Stage> {
    let lives = dir.join("lives");
    fs::create_dir(&lives).context("a directory for the lives of agents can't be made")?;
    let program = std::env::current_exe().context("this program's own path is not known")?;
    Ok(Stage { program, lives })
}

struct Test<'a> {
    cluster: Arc<Cluster>,
    recorder: Arc<Recorder>,
    workloads: Vec<Arc<dyn Workload>>,
    stage: Stage,
    seed: u64,
    options: &'a RunOptions,
    network: String,
    left_out: Vec<String>,
}

impl Test<'_> {
    async fn carry_out(&self, plan: Plan) -> Result<Events> {
        self.cluster
            .settle(FOUNDED_WITHIN)
            .await
            .context("a fresh cluster does not serve")?;
        let planned = plan.lanes.iter().flatten().map(|fault| fault.name()).collect();
        let crowded = plan.lanes.len() > 1;
        let mut supervisor = JoinSet::new();
        supervisor.spawn(Arc::clone(&self.cluster).supervise());
        supervisor.spawn(Watch::look(Arc::clone(&self.cluster)));
        let begin = Instant::now();
        let stop = CancellationToken::new();
        let mut load = self.load(&stop);
        let strikes = self.strike(plan).await?;
        stop.cancel();
        let seconds = begin.elapsed().as_secs_f64();
        let ended = timeout(LOAD_ENDS_WITHIN, async {
            while let Some(joined) = load.join_next().await {
                joined.context("a workload broke down")?;
            }
            anyhow::Ok(())
        });
        ended.await.context("operations did not come to an end")??;
        self.cluster.heal().await?;
        let recovery = self.cluster.settle(RECOVERS_WITHIN).await;
        // Late is judged as late; what was lost is still to be seen, unless nothing serves any more or it ends here.
        let ends = self.options.until_wrong && strikes.iter().any(|strike| strike.violation.is_some());
        let serves = recovery.is_ok() || !ends && self.cluster.settle(LATE_WITHIN).await.is_ok();
        self.final_reads(if serves {
            FINAL_READS_WITHIN
        } else {
            LAST_TRY_WITHIN
        })
        .await?;
        supervisor.abort_all();
        Ok(Events {
            strikes,
            exits: self.cluster.ended_by_themselves(),
            recovery: recovery.map_err(|why| format!("{why:#}")),
            panics: self.panics(),
            watched: self.cluster.watch.watched(),
            planned,
            crowded,
            seconds,
        })
    }

    fn context(&self, stop: CancellationToken, index: u64) -> WorkloadContext {
        let rate = self.options.rate as f64 / self.workloads.len().max(1) as f64;
        WorkloadContext {
            endpoints: self.cluster.endpoints(),
            recorder: Arc::clone(&self.recorder),
            pace: Arc::new(Pace::new(rate)),
            stop,
            seed: self.seed.wrapping_add(index),
            stage: self.stage.clone(),
        }
    }

    fn load(&self, stop: &CancellationToken) -> JoinSet<()> {
        let mut load = JoinSet::new();
        for (index, workload) in (1..).zip(&self.workloads) {
            let (workload, context) = (Arc::clone(workload), self.context(stop.clone(), index));
            load.spawn(async move { workload.run(context).await });
        }
        load
    }

    /// Lets faults strike as long as the run lasts.
    async fn strike(&self, plan: Plan) -> Result<Vec<Strike>> {
        let time = Duration::from_secs(self.options.time);
        let stop = CancellationToken::new();
        let alone = plan.lanes.len() == 1;
        let mut lanes = JoinSet::new();
        for (index, faults) in (1000..).zip(plan.lanes) {
            // Every fault gets its turn; a turn is a stay, a pause of half of it, and what recovery takes.
            let turn = time.as_secs_f64() / faults.len().max(1) as f64;
            let hold = self
                .options
                .stay
                .unwrap_or_else(|| Duration::from_secs_f64((turn * 0.4).clamp(STAYS.0, STAYS.1)));
            let seed = self.seed.wrapping_add(index);
            let field = Arc::new(Field::new(Arc::clone(&self.cluster), hold, seed));
            let lane = Lane {
                faults,
                alone,
                quiet: hold / 2,
                until_wrong: self.options.until_wrong,
            };
            lanes.spawn(drive(lane, field, stop.clone()));
        }
        stop.clone().run_until_cancelled(tokio::time::sleep(time)).await;
        stop.cancel();
        let mut strikes = Vec::new();
        while let Some(lane) = lanes.join_next().await {
            strikes.extend(lane.context("a nemesis broke down")?);
        }
        Ok(strikes)
    }

    async fn final_reads(&self, within: Duration) -> Result<()> {
        let stop = CancellationToken::new();
        let mut reads = JoinSet::new();
        for (index, workload) in (2000..).zip(&self.workloads) {
            let (workload, mut context) = (Arc::clone(workload), self.context(stop.clone(), index));
            // Nothing is to be spared now.
            context.pace = Arc::new(Pace::new(2000.0));
            reads.spawn(async move { workload.final_reads(context).await });
        }
        let late = tokio::time::sleep(within);
        tokio::pin!(late);
        loop {
            tokio::select! {
                joined = reads.join_next() => match joined {
                    Some(joined) => joined.context("final reads broke down")?,
                    None => return Ok(()),
                },
                // What was not read is told by the workloads' checkers, with the key and the manager.
                () = &mut late, if !stop.is_cancelled() => stop.cancel(),
            }
        }
    }

    /// Lines of the logs that no manager and no runner may ever write.
    fn panics(&self) -> Vec<String> {
        let seats = self.cluster.seats.iter();
        let seats = seats.map(|seat| (format!("seat {}", seat.number), seat.log()));
        let runners = self.cluster.runners.iter();
        let runners = runners.map(|runner| (runner.name.clone(), runner.log()));
        let mut panics = Vec::new();
        for (whose, log) in seats.chain(runners) {
            let log = fs::read(log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let bad = log.lines().filter(|line| line.contains("panicked at"));
            panics.extend(bad.map(|line| format!("{whose}: {line}")));
        }
        panics
    }

    fn judge(&self, dir: &Path, events: Events) -> Result<Outcome> {
        let history = self
            .recorder
            .history()
            .context("the history cannot be read back")?;
        let mut verdicts = judge::harness(&history, &events);
        for workload in &self.workloads {
            verdicts.extend(workload.check(&history));
        }
        let run = report::Run {
            name: dir
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            workloads: self.workloads.iter().map(|one| one.name().to_owned()).collect(),
            nemeses: self.options.nemesis.clone(),
            nodes: self.options.nodes,
            rate: self.options.rate,
            seconds: self.options.time,
            seed: self.seed,
            network: self.network.clone(),
            left_out: self.left_out.clone(),
            planted: self.options.planted.clone(),
            more: json!({"strikes": events.strikes, "exits": events.exits}),
        };
        let summary =
            report::write(dir, &run, &history, &verdicts).context("the report cannot be written")?;
        println!("{summary}");
        println!("everything of it is in {}", dir.display());
        Ok(Outcome {
            passed: summary.passes(),
            verdicts,
            strikes: events.strikes,
            recovered_in: events.recovery.ok(),
        })
    }

    /// What was kept on disks is needed only where something is to be found out.
    fn clean_up(&self, dir: &Path, passed: bool) {
        for seat in &self.cluster.seats {
            let (data, kept) = (
                seat.data(),
                dir.join(format!("seat-{}/data-at-the-end", seat.number)),
            );
            let done = if passed {
                seat.wipe()
            } else {
                copy_all(&data, &kept)
            };
            if let Err(error) = done {
                eprintln!("the data of seat {}: {error:#}", seat.number);
            }
        }
    }
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
