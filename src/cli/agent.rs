//! `quorate agent`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::{
    Context, Failure,
    container::{Selection, condition, labels, pair},
    output::{Row, age, all_pages, or_dash, word},
};
use crate::{
    client::{
        Page,
        types::{AgentView, Explained, unknown_field},
    },
    model::{AgentSpec, Constraints, DisconnectPolicy, Name, Resources, RestartPolicy, Revision, Strategy},
};

/// What can be done with agents.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Deploys an agent, from a file or from options
    Deploy(Box<Deploy>),
    /// Lists agents
    #[command(visible_alias = "list")]
    Ls(Selection),
    /// Shows one agent
    Get {
        /// Its name or id
        name: String,
    },
    /// Says of each container why it has the agent, could take it, or not
    Explain {
        /// Its name or id
        name: String,
    },
    /// Starts a stopped or failed agent
    Start(Change),
    /// Stops an agent; it stays known
    Stop(Change),
    /// Stops an agent and forgets it
    #[command(visible_alias = "remove")]
    Rm(Change),
}

/// Which agent to change, and when.
#[derive(Debug, Args)]
pub struct Change {
    /// Its name or id
    name: String,
    /// Only if it is at this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<Revision>,
}

/// What to deploy.
#[derive(Debug, Args)]
pub struct Deploy {
    /// A file with the spec, TOML
    #[arg(short, long, conflicts_with_all = ["name", "command", "env", "label", "constraints", "cpu", "memory"])]
    file: Option<PathBuf>,
    /// Its name
    #[arg(long, required_unless_present = "file")]
    name: Option<Name>,
    /// The program and its arguments, after `--`
    #[arg(last = true, required_unless_present = "file", value_name = "COMMAND")]
    command: Vec<String>,
    /// An environment variable, `KEY=VALUE`; repeat it for more
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// A label, `key=value`; repeat it for more
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// Its working directory
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    working_dir: Option<String>,
    /// Labels its container must have, such as `zone=a,gpu`
    #[arg(long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    constraints: Constraints,
    /// What it needs, in thousandths of a core
    #[arg(long, value_name = "MILLIS", default_value_t = 0, hide_default_value = true)]
    cpu: u64,
    /// What it needs, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 0, hide_default_value = true)]
    memory: u64,
    /// How its container is chosen among those that fit
    #[arg(long, value_enum, conflicts_with = "file")]
    strategy: Option<Choice>,
    /// What happens when its process ends
    #[arg(long, value_enum, conflicts_with = "file")]
    restart: Option<Restart>,
    /// Two copies may overlap when its container can't be reached
    #[arg(long, conflicts_with = "file")]
    at_least_once: bool,
    /// Seconds between the stop signal and the kill
    #[arg(long, value_name = "SECONDS", conflicts_with = "file")]
    stop_grace: Option<u64>,
}

/// How a container is chosen.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Choice {
    /// The one with the smallest share of its resources in use
    LeastLoaded,
    /// The one with the largest share in use: others stay free for agents that need much
    ResourceFit,
}

/// What happens when an agent's process ends.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Restart {
    /// Start it again
    Always,
    /// Start it again unless it exited with 0
    OnFailure,
    /// Leave it
    Never,
}

impl Deploy {
    fn spec(self) -> Result<AgentSpec, Failure> {
        if let Some(path) = &self.file {
            return from_file(path);
        }
        let mut words = self.command.into_iter();
        let (Some(name), Some(command)) = (self.name, words.next()) else {
            return Err(Failure::usage(
                "an agent needs a name and a command",
                "write `quorate agent deploy --name NAME -- COMMAND [ARGS]`, or use -f FILE",
            ));
        };
        Ok(AgentSpec {
            name,
            command,
            args: words.collect(),
            env: self.env.into_iter().collect(),
            working_dir: self.working_dir,
            labels: labels(self.label)?,
            resources: Resources {
                cpu_millis: self.cpu,
                memory_bytes: self.memory,
            },
            constraints: self.constraints,
            replicas: 1,
            strategy: match self.strategy {
                None | Some(Choice::LeastLoaded) => Strategy::LeastLoaded,
                Some(Choice::ResourceFit) => Strategy::ResourceFit,
            },
            restart: match self.restart {
                None | Some(Restart::Always) => RestartPolicy::Always,
                Some(Restart::OnFailure) => RestartPolicy::OnFailure,
                Some(Restart::Never) => RestartPolicy::Never,
            },
            on_disconnect: if self.at_least_once {
                DisconnectPolicy::AtLeastOnce
            } else {
                DisconnectPolicy::Exclusive
            },
            stop_grace_seconds: self.stop_grace.unwrap_or(10),
        })
    }
}

fn from_file(path: &Path) -> Result<AgentSpec, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(
            format!("{} can't be read: {error}", path.display()),
            "check the path and its permissions",
        )
    })?;
    let spec = toml::from_str(&text).map_err(|error| not_a_spec(path, &error.to_string()))?;
    AgentSpec::check(&spec).map_err(|error| not_a_spec(path, &error.to_string()))?;
    Ok(spec)
}

fn not_a_spec(path: &Path, why: &str) -> Failure {
    let next = match unknown_field(why) {
        Some((_, Some(near))) => format!("did you mean `{near}`?"),
        _ => "correct it; `name` and `command` are all that is needed".to_owned(),
    };
    Failure::usage(
        format!("{} is not an agent's spec: {}", path.display(), why.trim_end()),
        next,
    )
}

impl Row for AgentView {
    fn head(wide: bool) -> Vec<&'static str> {
        let mut head = vec!["NAME", "STATE", "CONTAINER", "RESTARTS", "AGE", "REASON"];
        if wide {
            head.extend(["ID", "DESIRED", "EPOCH", "COMMAND"]);
        }
        head
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let container = self.container_name.as_ref().map(ToString::to_string);
        let mut cells = vec![
            self.name.to_string(),
            word(&self.state),
            or_dash(container.or_else(|| self.container.map(|id| id.to_string()))),
            self.restarts.to_string(),
            age(self.deployed_at),
            self.reason.clone(),
        ];
        if wide {
            cells.extend([
                self.id.to_string(),
                word(&self.desired),
                self.epoch.to_string(),
                self.spec.command.clone(),
            ]);
        }
        cells
    }
}

impl Row for Explained {
    fn head(wide: bool) -> Vec<&'static str> {
        let mut head = vec!["CONTAINER", "FITS", "WHY"];
        if wide {
            head.push("ID");
        }
        head
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![
            or_dash(self.container_name.as_ref()),
            if self.fits { "yes" } else { "no" }.to_owned(),
            self.verdict.clone(),
        ];
        if wide {
            cells.push(self.container.to_string());
        }
        cells
    }
}

pub(super) async fn run(context: &Context, verb: Verb) -> Result<(), Failure> {
    let (client, output) = (&context.client, &context.output);
    match verb {
        Verb::Deploy(deploy) => {
            let created = client.deploy_agent(&deploy.spec()?).await?;
            output.created("agent", &created)
        }
        Verb::Ls(selection) => {
            let fetch = async |page: &Page| client.agents(page).await;
            output.list(&all_pages(selection.page(), fetch).await?)
        }
        Verb::Get { name } => output.one(&client.agent(&name).await?),
        Verb::Explain { name } => {
            let page = Page {
                limit: Some(1000),
                ..Page::default()
            };
            output.list(&client.explain_agent(&name, &page).await?)
        }
        Verb::Start(Change { name, if_version }) => {
            let changed = client.start_agent(&name, condition(if_version)).await?;
            output.changed(&format!("agent {name} will be started"), &changed)
        }
        Verb::Stop(Change { name, if_version }) => {
            let changed = client.stop_agent(&name, condition(if_version)).await?;
            output.changed(&format!("agent {name} will be stopped"), &changed)
        }
        Verb::Rm(Change { name, if_version }) => {
            let changed = client.delete_agent(&name, condition(if_version)).await?;
            output.changed(&format!("agent {name} will be stopped and forgotten"), &changed)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        deploy: Deploy,
    }

    fn spec(line: &[&str]) -> AgentSpec {
        let words = ["deploy"].iter().chain(line);
        Line::try_parse_from(words).unwrap().deploy.spec().unwrap()
    }

    #[test]
    fn options_and_a_file_say_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        fs::write(
            &path,
            "name = \"a\"\ncommand = \"sh\"\nargs = [\"-c\", \"true\"]\nrestart = \"never\"\n\
             on_disconnect = \"at_least_once\"\nstrategy = \"resource_fit\"\nconstraints = \"zone=a\"\n[env]\nK = \"v=w\"\n[resources]\ncpu_millis = 5\n",
        )
        .unwrap();
        let by_options = spec(&[
            "--name",
            "a",
            "--env",
            "K=v=w",
            "--cpu",
            "5",
            "--restart",
            "never",
            "--at-least-once",
            "--strategy",
            "resource-fit",
            "--constraints",
            "zone=a",
            "--",
            "sh",
            "-c",
            "true",
        ]);
        assert_eq!(spec(&["-f", path.to_str().unwrap()]), by_options);
        assert!(Line::try_parse_from(["deploy", "--name", "a"]).is_err());
        assert!(Line::try_parse_from(["deploy", "-f", "x", "--name", "a"]).is_err());
    }

    #[test]
    fn a_slip_in_a_file_is_told_with_the_right_word() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        for (text, expected) in [
            ("name = \"a\"\ncomand = \"sh\"\n", "did you mean `command`?"),
            ("name = \"A\"\ncommand = \"sh\"\n", "is not a name"),
            ("name = \"a\"\ncommand = \"\"\n", "`command` is empty"),
            (
                "name = \"a\"\ncommand = \"x\"\nconstraints = \"a b\"\n",
                "`a b` is not a selector term",
            ),
        ] {
            fs::write(&path, text).unwrap();
            let failure = format!("{:?}", from_file(&path).unwrap_err());
            assert!(failure.contains(expected), "{failure}");
        }
    }
}
