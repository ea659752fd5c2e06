//! Where the demonstration's agent runs: Docker containers, or runner processes.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::stage::Stage;
use crate::dev::docker;

/// What containers of a demonstration carry, with its process id.
const LABEL: &str = "quorate.demo";

/// What the agent can run on.
pub(super) enum Hosts {
    Docker {
        work: PathBuf,
        image: Option<String>,
        containers: Vec<String>,
    },
    /// The two of `quorate dev`.
    Processes,
}

impl Hosts {
    pub fn docker(work: &Path) -> Self {
        Self::Docker {
            work: work.to_owned(),
            image: None,
            containers: Vec::new(),
        }
    }

    pub fn processes() -> Self {
        Self::Processes
    }

    /// The names of the two, as the cluster knows them, once they were started.
    pub fn start(&mut self, stage: &Stage) -> io::Result<Vec<String>> {
        let Self::Docker {
            work,
            image,
            containers,
        } = self
        else {
            return Ok(vec!["runner-1".into(), "runner-2".into()]);
        };
        remove_left_over()?;
        let id = std::process::id();
        let tag = format!("quorate-demo:{id}");
        docker::make_image(&std::env::current_exe()?, &tag, work)?;
        let tag = image.insert(tag);
        let (managers, token) = stage.for_runners()?;
        let label = format!("{LABEL}={id}");
        for letter in ["a", "b"] {
            let name = format!("quorate-demo-{id}-{letter}");
            // Before it is started: one that was made and can't be started is to be removed too.
            containers.push(name.clone());
            docker::docker_with(
                ("QUORATE_JOIN_TOKEN", &token),
                &[
                    "run",
                    "--detach",
                    "--network",
                    "host",
                    "--name",
                    &name,
                    "--label",
                    "quorate.enable=true",
                    "--label",
                    &label,
                    "--env",
                    "QUORATE_JOIN_TOKEN",
                    tag,
                    "runner",
                    "--name",
                    &name,
                    "--managers",
                    &managers,
                    "--data-dir",
                    "/data",
                ],
            )?;
            println!("      container {name} is started");
        }
        Ok(containers.clone())
    }

    /// The program of the example agent, on these hosts.
    pub fn program(&self) -> io::Result<String> {
        match self {
            Self::Docker { .. } => Ok(docker::PROGRAM.into()),
            Self::Processes => Ok(std::env::current_exe()?.to_string_lossy().into_owned()),
        }
    }

    /// Kills one, with all in it.
    pub fn kill(&self, name: &str, stage: &Stage) -> io::Result<()> {
        match self {
            Self::Docker { .. } => docker::docker(&["kill", name]).map(drop),
            Self::Processes => stage.kill(name),
        }
    }

    /// How a kill is done, for people.
    pub fn way(&self) -> &'static str {
        match self {
            Self::Docker { .. } => "docker kill",
            Self::Processes => "kill -9 of its runner",
        }
    }

    /// Removes containers and image.
    pub fn remove(&mut self) {
        let Self::Docker {
            image, containers, ..
        } = self
        else {
            return;
        };
        for name in containers.drain(..) {
            tell(docker::docker(&["rm", "--force", "--volumes", &name]));
        }
        if let Some(image) = image.take() {
            tell(docker::docker(&["rmi", "--force", &image]));
        }
    }
}

fn tell(removed: io::Result<String>) {
    if let Err(error) = removed {
        println!("{error}");
    }
}

/// Removes containers of demonstrations that were killed before they could do it.
fn remove_left_over() -> io::Result<()> {
    let format = format!("{{{{.ID}}}} {{{{.Label \"{LABEL}\"}}}}");
    let filter = format!("label={LABEL}");
    for line in docker::docker(&["ps", "--all", "--filter", &filter, "--format", &format])?.lines() {
        if let Some((container, process)) = line.split_once(' ')
            && !Path::new("/proc").join(process).exists()
        {
            docker::docker(&["rm", "--force", "--volumes", container])?;
        }
    }
    Ok(())
}
