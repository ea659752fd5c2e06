//! Flags, and the measures they choose.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::scale;

/// Closed-loop writers of the levels that are measured unless told otherwise.
const PUT_LEVELS: [usize; 5] = [1, 16, 64, 256, 1000];
/// The same for readers.
const READ_LEVELS: [usize; 2] = [64, 256];

/// Measures Quorate on this machine: in turn with etcd, same disk, same closed loop; or with thousands of runners
#[derive(Debug, Clone, Parser)]
#[command(name = "quorate-bench", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// Another measurement than the one side by side with etcd
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub side_by_side: Options,
}

/// The other measurements.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    Scale(scale::Options),
}

impl Arguments {
    /// Threads of the measurement that was chosen.
    pub fn workers(&self) -> usize {
        match &self.command {
            Some(Command::Scale(options)) => options.workers,
            None => self.side_by_side.workers,
        }
    }
}

/// How Quorate and etcd are measured side by side.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Seconds each level is measured for, after the warm-up
    #[arg(long, default_value_t = 5.0, value_parser = positive_seconds)]
    pub seconds: f64,
    /// Seconds of load before the measured window of each level
    #[arg(long, default_value_t = 1.0, value_parser = positive_seconds)]
    pub warmup: f64,
    /// Turns of each system with each transport; the table shows medians over them
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Times the leader is killed, in all rounds together
    #[arg(long, default_value_t = 10)]
    pub kills: u32,
    /// Measures, by comma: put, read, failover, or a level such as put-64 or read-256
    #[arg(long, value_delimiter = ',', default_values = ["put", "read", "failover"])]
    only: Vec<Selection>,
    /// Only with TLS (default: plain and with TLS, one after the other)
    #[arg(long, conflicts_with = "plain")]
    tls: bool,
    /// Only plain on loopback
    #[arg(long)]
    plain: bool,
    /// The system to compare with
    #[arg(long, value_enum, default_value_t = Peer::Etcd)]
    pub peer: Peer,
    /// Measure the peer without Quorate
    #[arg(long)]
    pub peer_alone: bool,
    /// The quorate binary (default: beside this program)
    #[arg(long, value_name = "BIN")]
    pub quorate: Option<PathBuf>,
    /// The etcd binary
    #[arg(long, value_name = "BIN", default_value = "etcd")]
    pub etcd: PathBuf,
    /// HTTP/2 connections to each etcd member that its clients share, or `each`: one a client
    #[arg(long, value_name = "N|each", default_value = "2")]
    pub etcd_connections: Sharing,
    /// HTTP/2 connections to each manager that its clients share, or `each`: one of HTTP/1.1 a client
    #[arg(long, value_name = "N|each", default_value = "2")]
    pub quorate_connections: Sharing,
    /// Where members keep their data while they are measured: the disk that is measured
    #[arg(long, default_value = "target/bench")]
    pub dir: PathBuf,
    /// Leave the members' data and logs there
    #[arg(long)]
    pub keep: bool,
    /// Write every round's figures to FILE as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Threads of the load generator (default: one a core)
    #[arg(long, default_value_t = machine_cores(), hide_default_value = true, value_parser = positive_count)]
    pub workers: usize,
}

/// What Quorate is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    None,
    Etcd,
}

/// What the members' client ports speak (and etcd's peer ports: Quorate's are always mutual TLS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    Plain,
    Tls,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plain => "plain",
            Self::Tls => "TLS",
        })
    }
}

/// How the clients of one member are connected to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// A connection each.
    Each,
    /// So many connections, which all of them share.
    Shared(usize),
}

impl Sharing {
    /// Connections that `clients` clients of one member need.
    pub fn connections(self, clients: usize) -> usize {
        match self {
            Self::Each => clients,
            Self::Shared(most) => most.min(clients),
        }
    }
}

impl fmt::Display for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Each => write!(f, "one a client"),
            Self::Shared(count) => write!(f, "{count} a member, shared"),
        }
    }
}

impl FromStr for Sharing {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match (word, word.parse()) {
            ("each", _) => Ok(Self::Each),
            (_, Ok(count @ 1..=1000)) => Ok(Self::Shared(count)),
            _ => Err("`each`, or a number from 1 to 1000".to_owned()),
        }
    }
}

/// What the closed loop does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Put,
    Read,
}

/// One closed-loop level: so many clients, each with one operation under way at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level {
    pub operation: Operation,
    pub clients: usize,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = match self.operation {
            Operation::Put => "put 256 B",
            Operation::Read => "linearizable read",
        };
        let plural = if self.clients == 1 { "" } else { "s" };
        write!(f, "{operation}, {} client{plural}", self.clients)
    }
}

/// One word of `--only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selection {
    All(Operation),
    One(Level),
    Failover,
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let refused = || format!("`{word}` is none of put, read, failover, put-<clients>, read-<clients>");
        let (operation, clients) = match word.split_once('-') {
            Some((operation, clients)) => (operation, Some(clients)),
            None => (word, None),
        };
        let operation = match operation {
            "put" => Operation::Put,
            "read" => Operation::Read,
            "failover" if clients.is_none() => return Ok(Self::Failover),
            _ => return Err(refused()),
        };
        let Some(clients) = clients else {
            return Ok(Self::All(operation));
        };
        match clients.parse() {
            Ok(clients @ 1..=10_000) => Ok(Self::One(Level { operation, clients })),
            _ => Err(refused()),
        }
    }
}

impl Options {
    /// The closed-loop levels to measure, in the order they are run: each once.
    pub fn levels(&self) -> Vec<Level> {
        let mut levels = Vec::new();
        for selection in &self.only {
            match *selection {
                Selection::All(operation) => {
                    let clients: &[usize] = match operation {
                        Operation::Put => &PUT_LEVELS,
                        Operation::Read => &READ_LEVELS,
                    };
                    levels.extend(clients.iter().map(|&clients| Level { operation, clients }));
                }
                Selection::One(level) => levels.push(level),
                Selection::Failover => {}
            }
        }
        levels.sort_unstable();
        levels.dedup();
        levels
    }

    /// Leader kills in round `round` (from 0), so that all rounds together have `--kills`.
    pub fn kills_in_round(&self, round: u32) -> u32 {
        if !self.only.contains(&Selection::Failover) {
            return 0;
        }
        self.kills / self.rounds + u32::from(round < self.kills % self.rounds)
    }

    /// The transports to measure, in order.
    pub fn transports(&self) -> &'static [Transport] {
        match (self.plain, self.tls) {
            (true, _) => &[Transport::Plain],
            (_, true) => &[Transport::Tls],
            _ => &[Transport::Plain, Transport::Tls],
        }
    }
}

/// A time in seconds, as options give it.
pub fn positive_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3600.0 => Ok(seconds),
        _ => Err("a number of seconds above 0, at most 3600".to_owned()),
    }
}

/// A number of threads or of things done at a time.
pub fn positive_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1024) => Ok(count),
        _ => Err("a number from 1 to 1024".to_owned()),
    }
}

/// How many processors this program may use.
pub fn machine_cores() -> usize {
    std::thread::available_parallelism().map_or(2, Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        Arguments::parse_from(std::iter::once("quorate-bench").chain(arguments.iter().copied())).side_by_side
    }

    #[test]
    fn every_measure_is_chosen_unless_told_otherwise() {
        let options = parse(&[]);
        assert_eq!(options.levels().len(), PUT_LEVELS.len() + READ_LEVELS.len());
        assert_eq!(options.transports(), [Transport::Plain, Transport::Tls]);
    }

    #[test]
    fn kills_are_spread_over_rounds_and_none_is_lost() {
        let options = parse(&["--rounds", "3", "--kills", "10"]);
        let kills: Vec<u32> = (0..3).map(|round| options.kills_in_round(round)).collect();
        assert_eq!(kills, [4, 3, 3]);
        assert_eq!(parse(&["--only", "put"]).kills_in_round(0), 0);
    }

    #[test]
    fn a_level_named_twice_is_measured_once() {
        let options = parse(&["--only", "put-64,put,put-7"]);
        let clients: Vec<usize> = options.levels().iter().map(|level| level.clients).collect();
        assert_eq!(clients, [1, 7, 16, 64, 256, 1000]);
    }

    #[test]
    fn an_unknown_measure_is_refused_by_name() {
        for word in ["puts", "put-0", "put-x", "failover-3"] {
            let refusal = Arguments::try_parse_from(["quorate-bench", "--only", word])
                .unwrap_err()
                .to_string();
            assert!(refusal.contains(word), "{refusal}");
        }
    }
}
