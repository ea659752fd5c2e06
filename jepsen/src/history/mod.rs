//! Operations and faults in order of time.
//!
//! An operation is invoked once and completed at most once. `Ok` happened, `Fail` certainly did not, `Info` may have,
//! or may yet. A client's process that got `Info` is not used again. Faults stand between them, as operations of the
//! process [`Process::Nemesis`]: `Info` both at their beginning (`start-<fault>`) and at their end (`stop-<fault>`),
//! with the evidence as value; what happens at once is one line with the name alone.
//!
//! A history is a file of JSON lines, written while it happens ([`Recorder`]) and read back to be judged
//! ([`History::read`]); [`edn`] says the same in Jepsen's words. What a reader may rely on is checked when it is read:
//! indexes without a gap, time that does not go back, and completions that belong to an invocation.

mod calls;
pub mod edn;
mod faults;
mod read;
mod recorder;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::calls::{Call, calls};
pub use self::faults::{Window, windows};
pub use self::read::HistoryError;
pub use self::recorder::{Entry, Recorder};

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Process {
    /// A client; one operation at a time.
    Client(u64),
    /// Who breaks things.
    Nemesis,
}

/// The written form of a process: a number, or `"nemesis"`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Client(u64),
    Other(String),
}

impl TryFrom<Written> for Process {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Client(id) => Ok(Self::Client(id)),
            Written::Other(name) if name == "nemesis" => Ok(Self::Nemesis),
            Written::Other(name) => Err(format!("`{name}` is no process: a number, or `nemesis`")),
        }
    }
}

impl From<Process> for Written {
    fn from(process: Process) -> Self {
        match process {
            Process::Client(id) => Self::Client(id),
            Process::Nemesis => Self::Other("nemesis".to_owned()),
        }
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(id) => write!(f, "{id}"),
            Self::Nemesis => f.write_str("nemesis"),
        }
    }
}

/// Which end of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It was begun.
    Invoke,
    /// It happened.
    Ok,
    /// Certainly without effect.
    Fail,
    /// Unknown: it may have happened, or may yet.
    Info,
}

impl Kind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invoke => "invoke",
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }
}

/// What an operation says beside its value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// The manager it was sent to: its place in the cluster, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
    /// The version of the object that was read or written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The revision of the cluster that a read shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The revision that a read asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_revision: Option<u64>,
    /// The consistency that a read asked for; linearizable when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<String>,
    /// The idempotency key, where the client chose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Whether it belongs to the reads after all faults were undone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Op {
    /// Its place in the history, from 0.
    pub index: u64,
    /// Who did it.
    pub process: Process,
    /// Which end of it this is.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What was done: `read`, `write`, `cas`, …; a fault's name.
    pub f: String,
    /// What it was done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What was read or written; `[old, new]` of a compare-and-swap; null where there is nothing.
    #[serde(default)]
    pub value: Value,
    /// Nanoseconds since the run began.
    pub time: u64,
    /// Why it is not `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whose it is, where several workloads run side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// What else is known of it.
    #[serde(flatten)]
    pub notes: Notes,
}

impl Op {
    /// Whether this workload did it. A history that names none belongs to whoever reads it.
    pub fn is_of(&self, workload: &str) -> bool {
        self.workload.as_deref().is_none_or(|of| of == workload)
    }
}

/// Everything that was recorded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// In order.
    pub ops: Vec<Op>,
}
