//! Flags of `quorate-bench scale`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::options::{machine_cores, positive_count, positive_seconds};

/// Sessions that one manager takes at most; when the other two are dead it holds all of them.
const MOST: i64 = 20_000;

/// Of so many containers one is silenced unless told otherwise: below the fifth at which the breaker opens.
const SHARE: usize = 10;

/// Three managers with thousands of runner sessions: what they cost, and how long changes take
///
/// Starts three managers (the release binary, with its defaults) on loopback, and in this
/// process so many runners, each with a session over mutual TLS to one of them. All figures
/// are of this machine, which runs both sides.
///
/// Measured, in this order:
///   join      every runner asks for a certificate by a join token (always)
///   attach    every runner opens its session (always)
///   idle      processor, memory, heartbeats and digests while nothing else goes on, and
///             before that without sessions
///   follower  a manager that does not lead is killed (SIGKILL) → its sessions are open
///             elsewhere
///   leader    the same with the leader; after each, all sessions are closed at once → open
///   silence   some containers say nothing more → suspect, lost and fenced at a follower's API
///   closed    some containers close their connections and stay away → the same
///
/// Needs an open file for each session, here and in each manager, and a port: both are
/// looked at first. Ctrl-C ends everything and removes what was written.
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct Options {
    /// Runners, each with one session
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = sessions)]
    pub sessions: usize,
    /// Seconds for which idle sessions are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = positive_seconds)]
    pub idle: f64,
    /// Containers that are silenced or closed at once [default: a tenth]
    #[arg(long, value_name = "N")]
    silenced: Option<usize>,
    /// Runners that join, or attach for the first time, at a time
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive_count)]
    pub ramp: usize,
    /// Only these measures, by comma
    #[arg(long, value_name = "MEASURE", value_enum, value_delimiter = ',', default_values_t = Measure::ALL)]
    only: Vec<Measure>,
    /// The quorate binary [default: beside this program]
    #[arg(long, value_name = "BIN")]
    pub quorate: Option<PathBuf>,
    /// Where managers keep their data while they are measured
    #[arg(long, default_value = "target/bench")]
    pub dir: PathBuf,
    /// Leave the managers' data and logs there
    #[arg(long)]
    pub keep: bool,
    /// Write all figures to FILE as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Threads of all runners together [default: one a core]
    #[arg(long, default_value_t = machine_cores(), hide_default_value = true, value_parser = positive_count)]
    pub workers: usize,
}

const EXAMPLES: &str = "\
Examples:
  quorate-bench scale
  quorate-bench scale --sessions 1000 --idle 30 --only idle
  quorate-bench scale --silenced 1500 --only silence      over a fifth: the breaker opens and nobody is lost
  quorate-bench scale --json scale.json --keep";

/// What is measured once all sessions are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    Idle,
    Follower,
    Leader,
    Silence,
    Closed,
}

impl Measure {
    const ALL: [Self; 5] = [
        Self::Idle,
        Self::Follower,
        Self::Leader,
        Self::Silence,
        Self::Closed,
    ];
}

impl Options {
    /// Whether `measure` was chosen.
    pub fn has(&self, measure: Measure) -> bool {
        self.only.contains(&measure)
    }

    /// The measures that were chosen, each once.
    pub fn measures(&self) -> impl Iterator<Item = Measure> {
        Measure::ALL.into_iter().filter(|measure| self.has(*measure))
    }

    /// Whether runner `number` is one of those that are silenced: the last of each so many.
    pub fn is_chosen(&self, number: usize) -> bool {
        let before = |number: usize| number * self.silenced() / self.sessions;
        before(number) != before(number + 1)
    }

    /// How many containers are silenced at once: at least one, at most all.
    pub fn silenced(&self) -> usize {
        self.silenced
            .unwrap_or(self.sessions / SHARE)
            .clamp(1, self.sessions)
    }
}

fn sessions(text: &str) -> Result<usize, String> {
    match text.parse::<i64>() {
        Ok(count @ 1..=MOST) => usize::try_from(count).map_err(|error| error.to_string()),
        _ => Err(format!(
            "a number from 1 to {MOST}: one manager takes no more, and may be left with all of them"
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::{Arguments, Command};

    fn parse(arguments: &[&str]) -> Options {
        let all = ["quorate-bench", "scale"].iter().chain(arguments);
        match Arguments::parse_from(all).command {
            Some(Command::Scale(options)) => options,
            None => panic!("another measurement"),
        }
    }

    #[test]
    fn everything_is_measured_with_a_tenth_silenced_unless_told_otherwise() {
        let options = parse(&[]);
        assert_eq!((options.sessions, options.silenced()), (5000, 500));
        assert_eq!(options.measures().collect::<Vec<_>>(), Measure::ALL);
        assert_eq!(parse(&["--sessions", "5"]).silenced(), 1);
    }

    #[test]
    fn as_many_are_chosen_as_are_to_be_silenced() {
        for (sessions, silenced) in [("5000", "500"), ("20", "3"), ("7", "7"), ("9", "100")] {
            let options = parse(&["--sessions", sessions, "--silenced", silenced]);
            let chosen = (0..options.sessions).filter(|number| options.is_chosen(*number));
            assert_eq!(chosen.count(), options.silenced());
        }
    }

    #[test]
    fn measures_are_chosen_by_name() {
        let options = parse(&["--only", "closed,idle,idle"]);
        let chosen: Vec<_> = options.measures().collect();
        assert_eq!(chosen, [Measure::Idle, Measure::Closed]);
    }

    #[test]
    fn more_than_a_manager_takes_is_refused() {
        let refusal = Arguments::try_parse_from(["quorate-bench", "scale", "--sessions", "20001"]);
        assert!(refusal.unwrap_err().to_string().contains("20000"));
    }
}
