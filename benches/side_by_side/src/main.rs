//! Quorate and etcd, measured side by side; and, by `quorate-bench scale`, Quorate with thousands of runners.
//!
//! Each **turn** starts three members of one system on loopback, in a fresh directory of the same disk, drives
//! them with one closed loop, and ends them before the other system's turn: A B A B, never both at once, because
//! six servers and the load generator share whatever cores there are. Both systems are driven by the same runtime
//! and the same HTTP library, over equally many multiplexed HTTP/2 connections: etcd through its gRPC (which is
//! its best), Quorate through its HTTP API. Either can be given a connection a client instead, which for Quorate
//! is HTTP/1.1 and for etcd costs half of its throughput. Only acknowledged operations count.
//!
//! | file | does |
//! |---|---|
//! | `options` | flags, and the measures they choose |
//! | `round` | the order of turns, and what happens in one |
//! | `cluster`, `process` | three members as processes of ours: start, kill, restart, wait until settled |
//! | `etcd`, `grpc`; `quorate`, `bundle` | how each system is set up, started and spoken to |
//! | `connect`, `certificate` | TCP, TLS, and etcd's throw-away certificates |
//! | `load`, `failover` | the closed loop; leader killed → first write acknowledged by another |
//! | `machine` | what the machine is, its disk's `fdatasync`, processor time used |
//! | `report`, `spread` | medians over rounds, the table, the JSON file |
//! | `scale` | the other measurement: runner sessions in great number |
#![forbid(unsafe_code)]

mod bundle;
mod certificate;
mod cluster;
mod connect;
mod etcd;
mod failover;
mod grpc;
mod load;
mod machine;
mod options;
mod process;
mod progress;
mod quorate;
mod report;
mod round;
mod scale;
mod spread;
mod workload;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::options::{Arguments, Command};

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.workers())
        .enable_all()
        .build()
        .context("the runtime did not start")?;
    runtime.block_on(async {
        // Dropping the run drops its clusters, and those kill their processes: no way out leaves one behind.
        tokio::select! {
            done = async {
                match &arguments.command {
                    Some(Command::Scale(options)) => scale::run(options).await,
                    None => round::run(&arguments.side_by_side).await,
                }
            } => done,
            stopped = interrupted() => stopped,
        }
    })
}

/// Resolves, always to an error, when the program is asked to stop.
async fn interrupted() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be watched")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    bail!("interrupted: the members were stopped, nothing was reported")
}
