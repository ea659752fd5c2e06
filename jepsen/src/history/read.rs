//! Reading a history back, and refusing what is none.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::{History, Kind, Op, Process};

/// The longest line that is read: a list of all elements of a large set fits many times.
const MAX_LINE: u64 = 64 << 20;

/// Why a file is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It can't be read.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened; part of the text, so that one line says it all.
        error: io::Error,
    },
    /// A line is not one of a history.
    #[error("{}:{line}: {why}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl History {
    /// Reads a file of JSON lines.
    ///
    /// # Errors
    /// [`HistoryError`], with the line that is cut off, is no operation, or contradicts an earlier one.
    pub fn read(path: &Path) -> Result<Self, HistoryError> {
        let of_file = |error| HistoryError::Io {
            path: path.to_owned(),
            error,
        };
        let mut lines = BufReader::with_capacity(1 << 18, File::open(path).map_err(of_file)?);
        let (mut ops, mut order) = (Vec::new(), Order::default());
        let mut text = Vec::new();
        loop {
            text.clear();
            let taken = io::Read::take(&mut lines, MAX_LINE)
                .read_until(b'\n', &mut text)
                .map_err(of_file)?;
            if taken == 0 {
                return Ok(Self { ops });
            }
            let op = parse(&text).and_then(|op| order.check(&op).map(|()| op));
            ops.push(op.map_err(|why| HistoryError::Line {
                path: path.to_owned(),
                line: ops.len() + 1,
                why,
            })?);
        }
    }
}

fn parse(line: &[u8]) -> Result<Op, String> {
    let Some(whole) = line.strip_suffix(b"\n") else {
        return Err(match serde_json::from_slice::<Op>(line) {
            Ok(_) => "the line has no end: the history was cut off, or is still being written".to_owned(),
            Err(_) if line.len() as u64 == MAX_LINE => format!("the line is longer than {MAX_LINE} bytes"),
            Err(error) => format!("the history was cut off in this line: {error}"),
        });
    };
    serde_json::from_slice(whole).map_err(|error| format!("this is no operation: {error}"))
}

/// What every history keeps to.
#[derive(Default)]
struct Order {
    next: u64,
    time: u64,
    /// What each process has under way, by its name.
    open: HashMap<Process, (String, Option<String>)>,
}

impl Order {
    fn check(&mut self, op: &Op) -> Result<(), String> {
        if op.index != self.next {
            return Err(format!(
                "the index is {}, and {} was to come",
                op.index, self.next
            ));
        }
        if op.time < self.time {
            return Err(format!("time goes back from {} to {} ns", self.time, op.time));
        }
        self.next += 1;
        self.time = op.time;
        let Process::Client(_) = op.process else {
            return Ok(());
        };
        let this = (op.f.clone(), op.key.clone());
        if op.kind == Kind::Invoke {
            return match self.open.insert(op.process, this) {
                None => Ok(()),
                Some((f, _)) => Err(format!(
                    "process {} begins while its `{f}` is under way",
                    op.process
                )),
            };
        }
        // What ended in `info` is still under way: its process is not used again.
        let open = if op.kind == Kind::Info {
            self.open.get(&op.process).cloned()
        } else {
            self.open.remove(&op.process)
        };
        match open {
            Some(open) if open == this => Ok(()),
            Some((f, _)) => Err(format!(
                "process {} ends `{}`, and has `{f}` under way",
                op.process, op.f
            )),
            None => Err(format!(
                "process {} ends `{}` without having begun it",
                op.process, op.f
            )),
        }
    }
}
