//! The long-running processes, `quorate manager` and `quorate runner`, from arguments to exit code.
//!
//! What they share is here: configuration from its layers, logs and metrics, the first signal ends
//! a process in order and the second at once, and a manager that must not go on ends by [`end`]
//! whatever else hangs. What a process does is the business of [`node`](crate::node) and
//! [`runner`](crate::runner).

mod args;
pub mod end;
pub mod example_agent;
pub mod parent;
mod signals;

use std::{future::Future, io, sync::Arc};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};

pub use self::{
    args::{ManagerArgs, RunnerArgs, Settings},
    signals::shutdown,
};
use crate::{
    config::{ConfigError, Layered, LogsConfig, ManagerConfig, RunnerConfig},
    node, runner, security,
    telemetry::{self, Metrics},
};

/// Threads of a runner: one may be held up by a file system while the other sends heartbeats.
const RUNNER_THREADS: usize = 2;

/// Runs a manager until it is told to stop; gives its exit code.
pub fn manager(args: &ManagerArgs) -> u8 {
    match configured::<ManagerConfig>(&args.settings, || args.sources().load()) {
        Ok(Some(config)) => run_manager(config),
        Ok(None) => end::OK,
        Err(code) => code,
    }
}

/// Runs a runner until it is told to stop; gives its exit code.
pub fn runner(args: &RunnerArgs) -> u8 {
    match configured::<RunnerConfig>(&args.settings, || args.sources().load()) {
        Ok(Some(config)) => run_runner(config),
        Ok(None) => end::OK,
        Err(code) => code,
    }
}

/// The configuration to run with; `None` when it was to be printed only.
fn configured<T: Layered>(
    settings: &Settings,
    load: impl FnOnce() -> Result<T, ConfigError>,
) -> Result<Option<T>, u8> {
    if let Some(parent) = settings.die_with
        && !parent::tie_to(parent)
    {
        return Err(end::OK);
    }
    let config = load().map_err(|error| end::failed(&error, end::USAGE))?;
    if !settings.print_config {
        return Ok(Some(config));
    }
    let text = config.print().map_err(|error| end::failed(&error, end::FAILED))?;
    print!("{text}");
    Ok(None)
}

fn run_manager(config: ManagerConfig) -> u8 {
    let metrics = match begin(&config.logs) {
        Ok(metrics) => metrics,
        Err(code) => return code,
    };
    raise_descriptor_limit();
    let manager = async {
        let shutdown = shutdown()?;
        tokio::spawn(metrics.clone().upkeep());
        let render = Arc::new(move || metrics.render());
        let ran = node::run(config, render, Arc::new(end::halt), shutdown).await;
        Ok(ran.map_or_else(|error| end::failed(&error, end::of_node(&error)), |()| end::OK))
    };
    block_on(Builder::new_multi_thread(), manager)
}

fn run_runner(config: RunnerConfig) -> u8 {
    if let Err(code) = begin(&config.logs) {
        return code;
    }
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(RUNNER_THREADS);
    block_on(builder, async {
        let ran = runner::run(config, shutdown()?).await;
        Ok(ran.map_or_else(|error| end::failed(&error, end::of_runner(&error)), |()| end::OK))
    })
}

fn begin(logs: &LogsConfig) -> Result<Metrics, u8> {
    security::install_crypto();
    let set_up = telemetry::init_logs(logs).and_then(|()| Metrics::install());
    set_up.map_err(|error| end::failed(&error, end::FAILED))
}

/// Runs `work` to its end on a runtime of its own; gives its exit code.
pub fn block_on(mut builder: Builder, work: impl Future<Output = io::Result<u8>>) -> u8 {
    let runtime = builder.enable_all().build();
    let ran = runtime.and_then(|runtime: Runtime| {
        let code = runtime.block_on(work);
        // What still blocks, such as a name's resolution, must not hold up the end.
        runtime.shutdown_background();
        code
    });
    ran.unwrap_or_else(|error| end::failed(&error, end::FAILED))
}

/// A manager holds a descriptor for each client, runner and file of its log; the usual soft limit
/// of 1024 is far below what the system allows it.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
