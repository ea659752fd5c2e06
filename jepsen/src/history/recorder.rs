//! Taking operations down as they happen.
//!
//! Nothing is kept in memory: a run may be as long as its disk is large, and what was recorded is there when the
//! program dies. The clock is read under the same lock that gives the index, so that order and time agree; an
//! invocation is recorded before its request is sent and a completion after its answer came, so that an operation's
//! true moment always lies between its two lines.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;

use super::{History, HistoryError, Kind, Notes, Op, Process};

/// Takes operations down, in order, in a file.
pub struct Recorder {
    begin: Instant,
    path: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    next: u64,
    /// The next process that nobody had yet.
    process: u64,
    /// Processes whose clients are gone, and left nothing under way.
    free: Vec<Process>,
    file: BufWriter<File>,
    /// The first failure of the file, told at the end.
    failed: Option<io::Error>,
}

/// One end of an operation, before it has its place and time.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Who does it.
    pub process: Process,
    /// Which end.
    pub kind: Kind,
    /// What is done.
    pub f: &'a str,
    /// Whose it is.
    pub workload: Option<&'a str>,
    /// What it is done to.
    pub key: Option<&'a str>,
    /// What is read or written.
    pub value: Value,
    /// Why it is not `ok`.
    pub error: Option<String>,
    /// What else is known.
    pub notes: Notes,
}

impl Recorder {
    /// Records into a new file.
    ///
    /// # Errors
    /// It can't be made, or is there already.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::create_new(path)?;
        Ok(Self {
            begin: Instant::now(),
            path: path.to_owned(),
            inner: Mutex::new(Inner {
                next: 0,
                process: 0,
                free: Vec::new(),
                file: BufWriter::with_capacity(1 << 16, file),
                failed: None,
            }),
        })
    }

    /// When the run began.
    pub fn begin(&self) -> Instant {
        self.begin
    }

    /// A process that nobody has. Take another after each `Info`.
    pub fn process(&self) -> Process {
        let mut inner = self.inner();
        inner.free.pop().unwrap_or_else(|| {
            inner.process += 1;
            Process::Client(inner.process - 1)
        })
    }

    /// Lets others have a process. Only one that has nothing under way.
    pub fn give_back(&self, process: Process) {
        self.inner().free.push(process);
    }

    /// Takes down one end of an operation, at this moment; gives its index.
    pub fn record(&self, entry: Entry<'_>) -> u64 {
        let mut inner = self.inner();
        let op = Op {
            index: inner.next,
            process: entry.process,
            kind: entry.kind,
            f: entry.f.to_owned(),
            key: entry.key.map(str::to_owned),
            value: entry.value,
            time: u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX),
            error: entry.error,
            workload: entry.workload.map(str::to_owned),
            notes: entry.notes,
        };
        inner.next += 1;
        let written = serde_json::to_writer(&mut inner.file, &op)
            .map_err(io::Error::from)
            .and_then(|()| inner.file.write_all(b"\n"));
        if let Err(error) = written {
            inner.failed.get_or_insert(error);
        }
        op.index
    }

    /// Takes down a fault: `start-<fault>` when it is in effect, `stop-<fault>` when it is undone, the name alone
    /// where it happens at once. The value has the evidence; `nodes` in it are the places of the managers it hits.
    pub fn nemesis(&self, f: &str, value: Value) {
        self.record(Entry {
            process: Process::Nemesis,
            kind: Kind::Info,
            f,
            workload: None,
            key: None,
            value,
            error: None,
            notes: Notes::default(),
        });
    }

    /// Writes out what is held back.
    ///
    /// # Errors
    /// Something could not be written, now or before.
    pub fn flush(&self) -> io::Result<()> {
        let mut inner = self.inner();
        match inner.failed.take() {
            Some(error) => Err(error),
            None => inner.file.flush(),
        }
    }

    /// What was recorded so far, read back from the file.
    ///
    /// # Errors
    /// As [`flush`](Self::flush) and [`History::read`].
    pub fn history(&self) -> Result<History, HistoryError> {
        self.flush().map_err(|error| HistoryError::Io {
            path: self.path.clone(),
            error,
        })?;
        History::read(&self.path)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // What a panicking holder may leave behind is a line without its end, which reading finds.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
