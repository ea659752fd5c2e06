//! `quorate demo`: a cluster outlives its leader and the container of its agent.
//!
//! It starts a `quorate dev` and does with it what anybody could: it deploys through a follower,
//! kills processes by their pid files and containers by `docker kill`, and judges each step by what
//! the API says. A step that is not seen to work within its time ends the demonstration with 1.
//! Whatever it made, processes, containers, image and directory, it removes; after a failure the
//! directory with the logs stays.

mod hosts;
mod stage;
mod steps;

use std::{io, path::PathBuf};

use clap::Args;
use tokio::runtime::Builder;

use self::{hosts::Hosts, stage::Stage};
use super::docker;
use crate::{
    process::{block_on, end, shutdown},
    security,
};

/// `quorate demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Ends after the last step instead of staying up; with 0 only if every step was seen to work
    #[arg(long)]
    once: bool,
    /// Uses processes even where a Docker Engine answers
    #[arg(long)]
    no_docker: bool,
    /// The API port of the first manager [default: the first free one of 7400, 7500 …]
    #[arg(long)]
    port: Option<u16>,
}

/// Shows it; gives the exit code.
pub fn run(args: &DemoArgs) -> u8 {
    security::install_crypto();
    block_on(Builder::new_current_thread(), async {
        let shutdown = shutdown()?;
        let dir = std::env::temp_dir().join(format!("quorate-demo-{}", std::process::id()));
        std::fs::create_dir(&dir)?;
        let mut scene = Scene::new(dir);
        let shown = tokio::select! {
            shown = scene.show(args) => shown,
            () = shutdown.cancelled() => Err(io::Error::other("it was told to stop")),
        };
        if shown.is_ok() && !args.once {
            scene.stay();
            shutdown.cancelled().await;
        }
        scene.clear(shown.is_ok()).await;
        Ok(match shown {
            Ok(()) => end::OK,
            Err(error) => {
                println!("\nFAILED: {error}");
                end::FAILED
            }
        })
    })
}

/// All that the demonstration made.
struct Scene {
    dir: PathBuf,
    stage: Option<Stage>,
    hosts: Option<Hosts>,
}

impl Scene {
    fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            stage: None,
            hosts: None,
        }
    }

    async fn show(&mut self, args: &DemoArgs) -> io::Result<()> {
        let missing = if args.no_docker {
            Some("as asked".to_owned())
        } else {
            docker::missing()
        };
        match &missing {
            None => println!("A Docker Engine answers: the agent will run in Docker containers."),
            Some(why) => println!("No Docker Engine is used ({why}): runners are processes."),
        }
        let with_docker = missing.is_none();
        println!("\n[1/5] Start three managers");
        let stage = self
            .stage
            .insert(Stage::start(&self.dir, args.port, !with_docker).await?);
        let hosts = self.hosts.insert(if with_docker {
            Hosts::docker(&self.dir)
        } else {
            Hosts::processes()
        });
        steps::show(stage, hosts).await
    }

    fn stay(&self) {
        let dir = self.dir.join("cluster");
        println!("\nThe cluster stays up. Look at it with");
        for what in ["cluster status", "container ls", "agent get demo"] {
            println!("    quorate --dir {} {what}", dir.display());
        }
        println!("Ctrl-C ends it and removes everything.");
    }

    /// Removes what was made; each part says by itself what it could not do.
    async fn clear(&mut self, worked: bool) {
        if let Some(mut hosts) = self.hosts.take() {
            hosts.remove();
        }
        if let Some(stage) = self.stage.take() {
            stage.stop().await;
        }
        if !worked {
            println!("The logs are in {}", self.dir.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            println!("{} could not be removed: {error}", self.dir.display());
        }
    }
}
