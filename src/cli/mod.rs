//! The nouns of the command line: `quorate <noun> <verb>` mirrors the API.
//!
//! Everything here speaks through [`client`](crate::client), with one exception: `cluster init`
//! makes a bundle before there is a cluster to speak to, through `security`. Processes (`manager`,
//! `runner`, `dev`) are none of its business; `main` puts them beside these nouns.

mod agent;
mod cluster;
mod config;
mod connect;
mod container;
mod discovery;
mod echo;
mod engine;
mod events;
mod failure;
mod join_token;
mod network;
mod output;
mod stats;
mod token;
mod topology;

use clap::{Args, Subcommand};

pub use self::connect::Connect;
use self::{
    failure::Failure,
    output::{Format, Output},
};
use crate::client::Client;

/// What scripts may rely on, for `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  it worked
  1  it failed
  2  the command or the request is not valid
  3  there is no such object
  4  conflict: the object exists already, is busy, or is not at the expected version
  5  no manager answers, or there is no quorum; nothing was changed
  6  the outcome is unknown: look before you try again
  7  the token is missing, not valid, or does not allow this";

/// Options of every noun.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Which cluster, and as whom.
    #[command(flatten)]
    pub connect: Connect,
    /// How answers are shown
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        help_heading = "Output"
    )]
    pub output: Format,
}

/// The nouns.
#[derive(Debug, Subcommand)]
pub enum Noun {
    /// The cluster itself: status, health, managers, the breaker, join tokens, and a new cluster's bundle
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Configs: named, versioned values that agents read and watch
    #[command(subcommand)]
    Config(config::Verb),
    /// Containers that can host agents
    #[command(subcommand, visible_alias = "containers")]
    Container(container::Verb),
    /// Containers that are not known yet: scans of networks, candidates
    #[command(subcommand)]
    Discovery(discovery::Verb),
    /// Agents: deploy, look at, start, stop
    #[command(subcommand, visible_alias = "agents")]
    Agent(agent::Verb),
    /// Docker Engines whose containers are watched
    #[command(subcommand, visible_alias = "engines")]
    Engine(engine::Verb),
    /// What happened to containers, agents, engines and the breaker, and what happens
    Events(events::Asked),
    /// API tokens
    #[command(subcommand, visible_alias = "tokens")]
    Token(token::Verb),
    /// Prints what a shell needs to complete commands
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// What a verb needs.
#[derive(Debug)]
struct Context {
    client: Client,
    output: Output,
}

/// Does what a noun says, and returns the process's exit code (see [`EXIT_CODES`]). `command` is the
/// whole command line, for completion.
pub async fn run(global: Global, noun: Noun, command: &mut clap::Command) -> u8 {
    match dispatch(global, noun, command).await {
        Ok(()) => 0,
        Err(failure) => {
            failure.print();
            failure.exit_code()
        }
    }
}

async fn dispatch(global: Global, noun: Noun, command: &mut clap::Command) -> Result<(), Failure> {
    let output = Output::new(global.output);
    match &noun {
        Noun::Completion { shell } => return output::completion(*shell, command),
        Noun::Cluster(cluster::Verb::Init(asked)) => return cluster::init(asked, &output),
        _ => {}
    }
    let context = Context {
        client: global.connect.client()?,
        output,
    };
    match noun {
        Noun::Cluster(verb) => cluster::run(&context, verb).await,
        Noun::Config(verb) => config::run(&context, verb).await,
        Noun::Container(verb) => container::run(&context, verb).await,
        Noun::Discovery(verb) => discovery::run(&context, verb).await,
        Noun::Agent(verb) => agent::run(&context, verb).await,
        Noun::Engine(verb) => engine::run(&context, verb).await,
        Noun::Events(asked) => events::run(&context, asked).await,
        Noun::Token(verb) => token::run(&context, verb).await,
        Noun::Completion { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "quorate")]
    struct Whole {
        #[command(flatten)]
        #[allow(dead_code)]
        global: Global,
        #[command(subcommand)]
        noun: Noun,
    }

    #[test]
    fn the_command_line_is_consistent() {
        Whole::command().debug_assert();
    }

    #[test]
    fn options_stand_before_or_after_the_verb() {
        for line in [
            "quorate -o json --endpoint h:1 agent ls",
            "quorate agent ls -o json --endpoint h:1",
            "quorate agents ls",
            "quorate cluster join-token create --role runner --uses 3 --expires 2h",
            "quorate config put a --value x --if-version 7",
            "quorate completion bash",
            "quorate cluster breaker",
            "quorate cluster breaker lift --if-version 7",
            "quorate container cordon a --reason disk",
            "quorate container uncordon a",
            "quorate container stats a --last 1h",
            "quorate container approve a --fingerprint 00",
            "quorate discovery scan 10.0.0.0/24 fd00::/120 --port 1,2 --port 3 --no-wait",
            "quorate discovery cancel s-aaaaaaaaaaaaa",
            "quorate discovery candidates -o json",
            "quorate events -f --kind container --object db",
            "quorate events --after 17.2 -o json",
            "quorate events -n 0 -f",
            "quorate engine add gpu tls://gpu-1:2376",
            "quorate engine get gpu",
            "quorate engine network ls gpu",
            "quorate engine networks create gpu inner --internal --label a=b",
            "quorate engine network connect gpu inner web --alias www",
            "quorate engine network disconnect gpu inner web --force",
        ] {
            Whole::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "quorate agent",
            "quorate config put a --value x --if-version 7 --create",
            "quorate agent ls -o xml",
            "quorate container stats a --last soon",
            "quorate cluster breaker open",
            "quorate events --after soon",
            "quorate events --kind manager",
            "quorate events -n 5 --after 3",
            "quorate discovery scan",
            "quorate discovery scan 10.0.0.1/24",
            "quorate engine network create gpu ../x",
        ] {
            assert!(Whole::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn completion_knows_the_nouns() {
        let mut script = Vec::new();
        clap_complete::generate(
            clap_complete::Shell::Bash,
            &mut Whole::command(),
            "quorate",
            &mut script,
        );
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("join-token") && script.contains("container"));
        let parsed = Whole::try_parse_from(["quorate", "completion", "zsh"]).unwrap();
        assert!(matches!(parsed.noun, Noun::Completion { .. }));
    }
}
