//! Arguments of `quorate manager` and `quorate runner`: the last layer of their configuration.
//!
//! Any key can be set by `--set`; the commonest have a flag of their own, which counts after it.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::Sources;

/// What both processes take.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// The configuration file, TOML
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets any key of the configuration; repeat it for more
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Prints the configuration in effect, as TOML, and ends
    #[arg(long)]
    pub(super) print_config: bool,
    /// Where everything is kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// A file with a join token
    #[arg(long, value_name = "FILE")]
    join_token_file: Option<PathBuf>,
    /// Ends when the process with this id does
    #[arg(long, value_name = "PID", hide = true)]
    pub(super) die_with: Option<u32>,
}

impl Settings {
    fn sources(&self) -> Sources {
        Sources::default()
            .file(self.config.as_deref())
            .env(std::env::vars_os().filter_map(|(key, value)| {
                // What is not Unicode is none of ours.
                Some((key.into_string().ok()?, value.into_string().ok()?))
            }))
            .set(self.set.iter().map(String::as_str))
            .flag("--data-dir", "data_dir", text(self.data_dir.as_deref()))
            .flag("--name", "name", self.name.as_ref())
    }
}

/// `quorate manager`.
#[derive(Debug, Clone, Args)]
pub struct ManagerArgs {
    #[command(flatten)]
    pub(super) settings: Settings,
    /// Where clients connect
    #[arg(long, value_name = "HOST:PORT")]
    api_listen: Option<String>,
    /// Where other managers connect
    #[arg(long, value_name = "HOST:PORT")]
    peers_listen: Option<String>,
    /// Where runners connect
    #[arg(long, value_name = "HOST:PORT")]
    sessions_listen: Option<String>,
    /// Begins a cluster from this bundle, made by `quorate cluster init`
    #[arg(long, value_name = "DIR", conflicts_with = "join")]
    bundle: Option<PathBuf>,
    /// Joins the cluster of this manager, by its session address; several, joined by commas, are tried in turn
    #[arg(long, value_name = "HOST:PORT")]
    join: Option<String>,
}

impl ManagerArgs {
    pub(super) fn sources(&self) -> Sources {
        let token = text(self.settings.join_token_file.as_deref());
        self.settings
            .sources()
            .flag("--api-listen", "api.listen", self.api_listen.as_ref())
            .flag("--peers-listen", "peers.listen", self.peers_listen.as_ref())
            .flag(
                "--sessions-listen",
                "sessions.listen",
                self.sessions_listen.as_ref(),
            )
            .flag("--bundle", "bootstrap.dir", text(self.bundle.as_deref()))
            .flag("--join", "bootstrap.join", self.join.as_ref())
            .flag("--join-token-file", "bootstrap.join_token_file", token)
    }
}

/// `quorate runner`.
#[derive(Debug, Clone, Args)]
pub struct RunnerArgs {
    #[command(flatten)]
    pub(super) settings: Settings,
    /// Session addresses of managers, joined by commas
    #[arg(long, value_name = "HOST:PORT", alias = "join")]
    managers: Option<String>,
}

impl RunnerArgs {
    pub(super) fn sources(&self) -> Sources {
        let token = text(self.settings.join_token_file.as_deref());
        self.settings
            .sources()
            .flag("--managers", "managers", self.managers.as_ref())
            .flag("--join-token-file", "join_token_file", token)
    }
}

/// A path as configuration holds it.
fn text(path: Option<&Path>) -> Option<String> {
    path.map(|path| path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::{ManagerConfig, RunnerConfig};

    #[derive(Debug, Parser)]
    enum Line {
        Manager(ManagerArgs),
        Runner(RunnerArgs),
    }

    fn parse(line: &str) -> Line {
        Line::try_parse_from(format!("quorate {line}").split(' ')).unwrap()
    }

    #[test]
    fn flags_of_their_own_count_after_set() {
        let Line::Manager(args) = parse(
            "manager --set api.listen=127.0.0.1:1 --set raft.heartbeat=50ms --api-listen 127.0.0.1:2 \
             --join a:1,b:2 --join-token-file t --data-dir d",
        ) else {
            panic!("a manager's arguments");
        };
        let config: ManagerConfig = args.sources().load().unwrap();
        assert_eq!(config.api.listen.to_string(), "127.0.0.1:2");
        assert_eq!(config.raft.heartbeat.as_millis(), 50);
        assert_eq!(config.bootstrap.join.len(), 2);
        assert_eq!(config.bootstrap.join_token_file, Some("t".into()));
        assert_eq!(config.data_dir, PathBuf::from("d"));
    }

    #[test]
    fn a_runner_takes_several_managers() {
        let Line::Runner(args) = parse("runner --managers a:1,b:2 --name w --join-token-file t") else {
            panic!("a runner's arguments");
        };
        let config: RunnerConfig = args.sources().load().unwrap();
        let managers: Vec<_> = config.managers.iter().map(ToString::to_string).collect();
        assert_eq!(managers, ["a:1", "b:2"]);
        assert_eq!(
            (config.name.as_str(), config.join_token_file),
            ("w", Some("t".into()))
        );
    }

    #[test]
    fn a_wrong_value_is_told_with_its_flag() {
        let Line::Manager(args) = parse("manager --api-listen nowhere") else {
            panic!("a manager's arguments");
        };
        let error = args.sources().load::<ManagerConfig>().unwrap_err().to_string();
        assert!(
            error.contains("--api-listen") && error.contains("api.listen"),
            "{error}"
        );
    }
}
