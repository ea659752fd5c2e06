//! The `quorate` binary: wiring and exit codes only.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use quorate::{
    cli::{self, Global, Noun},
    dev::{self, DevArgs, demo::DemoArgs},
    failpoints, planted,
    process::{
        self, ManagerArgs, RunnerArgs, end,
        example_agent::{self, ExampleAgentArgs},
    },
    runner::exec,
    security,
};

/// A manager is one of many small allocations, freed on other threads; the C library's allocator spent
/// a quarter of its time on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A replicated control plane for agents that run inside containers
#[derive(Debug, Parser)]
#[command(name = "quorate", version, subcommand_required = true, after_help = cli::EXIT_CODES)]
struct CommandLine {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs a whole cluster on this machine: managers and runners
    #[command(after_help = end::EXIT_CODES)]
    Dev(DevArgs),
    /// Shows a cluster outlive its leader and a container of its own
    Demo(DemoArgs),
    /// Runs a manager: one replica of the control plane
    #[command(after_help = end::EXIT_CODES)]
    Manager(Box<ManagerArgs>),
    /// Runs a runner: the process inside a container that starts and stops agents
    #[command(after_help = end::EXIT_CODES)]
    Runner(Box<RunnerArgs>),
    /// A tiny agent for demonstrations and tests
    #[command(hide = true)]
    ExampleAgent(ExampleAgentArgs),
    #[command(flatten)]
    Noun(Box<Noun>),
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Before anything else: what follows becomes another program, and must not start threads first.
    if args.next().is_some_and(|first| first == exec::SUBCOMMAND) {
        exec::run(args)
    }
    let _armed = match faults_of_tests() {
        Ok(armed) => armed,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(end::USAGE);
        }
    };
    // A failure to parse ends the process here, with 2.
    let mut command = command();
    let matches = command.get_matches_mut();
    let CommandLine { global, what } =
        CommandLine::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit());
    ExitCode::from(match what {
        What::Dev(args) => dev::run(&args),
        What::Demo(args) => dev::demo::run(&args),
        What::Manager(args) => process::manager(&args),
        What::Runner(args) => process::runner(&args),
        What::ExampleAgent(args) => example_agent::run(&args),
        What::Noun(noun) => {
            security::install_crypto();
            let builder = tokio::runtime::Builder::new_current_thread();
            process::block_on(builder, async { Ok(cli::run(global, *noun, &mut command).await) })
        }
    })
}

/// What the environment asks for in a build for tests; nothing in any other.
fn faults_of_tests() -> Result<failpoints::Armed, String> {
    if let Some(bug) = planted::chosen()? {
        eprintln!("planted bug: {}: {}", bug.name, bug.breaks);
    }
    failpoints::arm()
}

/// The whole command line. Processes take none of what says which cluster to speak to.
fn command() -> clap::Command {
    let mut command = CommandLine::command();
    // Only now have the subcommands what all of them share.
    command.build();
    let unshared = |arg: clap::Arg| if arg.is_global_set() { arg.hide(true) } else { arg };
    for process in ["dev", "demo", "manager", "runner", "example-agent"] {
        command = command.mut_subcommand(process, |process| process.mut_args(unshared));
    }
    command
}
