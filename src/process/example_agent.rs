//! `quorate example-agent`: a tiny agent for demonstrations and tests.
//!
//! It prints a line a second with the name and epoch it was given and ends on SIGTERM, or earlier as
//! its arguments say.

use std::{
    env,
    io::{self, Write},
    time::Duration,
};

use clap::Args;
use tokio::{
    runtime::Builder,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{block_on, end, shutdown};

/// `quorate example-agent`.
#[derive(Debug, Clone, Args)]
pub struct ExampleAgentArgs {
    /// Ends with 0 after so many seconds
    #[arg(long, value_name = "SECONDS")]
    exit_after: Option<u64>,
    /// Ends with 1 after so many seconds
    #[arg(long, value_name = "SECONDS")]
    fail_after: Option<u64>,
    /// Milliseconds between two lines
    #[arg(long, value_name = "MILLIS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
}

/// Runs until it is told to stop or its time is over; gives its exit code.
pub fn run(args: &ExampleAgentArgs) -> u8 {
    block_on(Builder::new_current_thread(), act(args.clone()))
}

async fn act(args: ExampleAgentArgs) -> io::Result<u8> {
    let shutdown = shutdown()?;
    let told = |name| env::var(name).unwrap_or_else(|_| "-".into());
    let (agent, epoch) = (told("QUORATE_AGENT"), told("QUORATE_EPOCH"));
    let begin = Instant::now();
    let mut lines = interval(Duration::from_millis(args.every));
    lines.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut line = 0_u64;
    loop {
        tokio::select! {
            _ = lines.tick() => {
                line += 1;
                // A reader that went away is no reason to end: it may come back with the runner.
                let _ = writeln!(io::stdout(), "agent {agent} epoch {epoch} line {line}");
            }
            () = after(begin, args.exit_after) => return Ok(end::OK),
            () = after(begin, args.fail_after) => {
                let _ = writeln!(io::stderr(), "failing, as asked");
                return Ok(end::FAILED);
            }
            () = shutdown.cancelled() => return Ok(end::OK),
        }
    }
}

async fn after(begin: Instant, seconds: Option<u64>) {
    match seconds {
        Some(seconds) => sleep_until(begin + Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}
