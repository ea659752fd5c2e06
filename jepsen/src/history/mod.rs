//! Operations and faults in order of time.
//!
//! An operation is invoked once and completed at most once. `Ok` happened, `Fail` certainly did not, `Info` may have,
//! or may yet. A client's process that got `Info` is not used again. Faults stand between them, as operations of the
//! process [`Process::Nemesis`]: `Info` both at their beginning and at their end, with the evidence as value.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub enum Process {
    /// A client; one operation at a time.
    Client(u64),
    Nemesis,
}

/// The written form of a process: a number, or `"nemesis"`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Client(u64),
    Other(String),
}

impl From<Written> for Process {
    fn from(written: Written) -> Self {
        match written {
            Written::Client(id) => Self::Client(id),
            Written::Other(_) => Self::Nemesis,
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

/// Which end of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Invoke,
    Ok,
    /// Certainly without effect.
    Fail,
    /// Unknown: it may have happened, or may yet.
    Info,
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Op {
    /// Its place in the history, from 0.
    pub index: u64,
    pub process: Process,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What was done: `read`, `write`, `cas`, …; a fault's name.
    pub f: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default)]
    pub value: Value,
    /// Nanoseconds since the run began.
    pub time: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Everything that was recorded.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub ops: Vec<Op>,
}

/// Takes operations down, in order, in memory and in a file, as they happen.
pub struct Recorder {
    begin: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    ops: Vec<Op>,
    /// The next process that nobody has yet.
    process: u64,
    file: Option<Box<dyn Write + Send>>,
    /// The first failure of the file, told at the end.
    failed: Option<std::io::Error>,
}

impl Recorder {
    /// Records into `file` too, when there is one.
    pub fn new(file: Option<Box<dyn Write + Send>>) -> Self {
        let inner = Inner {
            ops: Vec::new(),
            process: 0,
            file,
            failed: None,
        };
        Self {
            begin: Instant::now(),
            inner: Mutex::new(inner),
        }
    }

    /// When the run began.
    pub fn begin(&self) -> Instant {
        self.begin
    }

    /// A process that nobody had before. Take another after each `Info`.
    pub fn process(&self) -> Process {
        let mut inner = self.inner();
        inner.process += 1;
        Process::Client(inner.process - 1)
    }

    /// Takes down one end of an operation, at this moment; gives its index.
    pub fn record(
        &self,
        process: Process,
        kind: Kind,
        f: &str,
        key: Option<&str>,
        value: Value,
        error: Option<String>,
    ) -> u64 {
        let mut inner = self.inner();
        // The clock is read inside the lock, so that order and time agree.
        let op = Op {
            index: inner.ops.len() as u64,
            process,
            kind,
            f: f.to_owned(),
            key: key.map(str::to_owned),
            value,
            time: u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX),
            error,
        };
        let index = op.index;
        if let Some(file) = &mut inner.file {
            let written = serde_json::to_writer(&mut *file, &op)
                .map_err(std::io::Error::from)
                .and_then(|()| file.write_all(b"\n"));
            if let Err(error) = written {
                inner.failed.get_or_insert(error);
            }
        }
        inner.ops.push(op);
        index
    }

    /// Takes down a fault's beginning or end.
    pub fn nemesis(&self, f: &str, value: Value) {
        self.record(Process::Nemesis, Kind::Info, f, None, value, None);
    }

    /// A copy of what was recorded so far.
    pub fn history(&self) -> History {
        History {
            ops: self.inner().ops.clone(),
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Something could not be written.
    pub fn flush(&self) -> std::io::Result<()> {
        let mut inner = self.inner();
        if let Some(error) = inner.failed.take() {
            return Err(error);
        }
        inner.file.as_mut().map_or(Ok(()), |file| file.flush())
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        // What a panicking holder may leave behind is a missing operation, which is what it was.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
