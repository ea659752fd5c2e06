//! Histories as they are written down in tests: one line an operation's end.
//!
//! `0 invoke write r0 1`, `0 ok write r0 1 version=5 node=1`, `nemesis info start-kill - {"nodes":[1]}`: process,
//! type, what, key or `-`, value, and what else there is to say; after `#` the error.

use jepsen::checker::{Validity, Verdict};
use jepsen::history::{History, Kind, Notes, Op, Process};

/// A history of `workload`.
pub fn history(workload: &str, text: &str) -> History {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let ops = lines
        .enumerate()
        .map(|(index, line)| op(workload, index as u64, line));
    History { ops: ops.collect() }
}

fn op(workload: &str, index: u64, line: &str) -> Op {
    let (line, error) = match line.split_once(" # ") {
        Some((line, error)) => (line, Some(error.to_owned())),
        None => (line, None),
    };
    let mut words = line.split_whitespace();
    let mut word = || words.next().unwrap_or_else(|| panic!("`{line}` is too short"));
    let process = match word() {
        "nemesis" => Process::Nemesis,
        number => Process::Client(number.parse().expect(line)),
    };
    let kind = serde_json::from_value(word().into()).expect(line);
    let (f, key) = (word().to_owned(), word());
    let value = serde_json::from_str(word()).expect(line);
    let mut notes = Notes::default();
    for word in words {
        let (name, value) = word.split_once('=').expect(line);
        let number = || Some(value.parse::<u64>().expect(line));
        match name {
            "node" => notes.node = number(),
            "version" => notes.version = number(),
            "revision" => notes.revision = number(),
            "min_revision" => notes.min_revision = number(),
            "consistency" => notes.consistency = Some(value.to_owned()),
            "request" => notes.request = Some(value.to_owned()),
            "last" => notes.last = value == "true",
            other => panic!("`{other}` is nothing to say in `{line}`"),
        }
    }
    Op {
        index,
        process,
        kind,
        f,
        key: (key != "-").then(|| key.to_owned()),
        value,
        time: index * 1_000_000,
        error,
        workload: (process != Process::Nemesis).then(|| workload.to_owned()),
        notes,
    }
}

/// Asserts that it holds.
pub fn holds(verdict: &Verdict) {
    assert_eq!(verdict.validity, Validity::Valid, "{verdict:#?}");
}

/// Asserts that it does not, and that this is why.
pub fn breaks(verdict: &Verdict, why: &str) {
    assert_eq!(verdict.validity, Validity::Invalid, "{verdict:#?}");
    assert!(verdict.data.to_string().contains(why), "{why}: {verdict:#?}");
}

/// Numbers the operations of a history anew, in their order.
pub fn renumbered(mut ops: Vec<Op>) -> History {
    for (index, op) in ops.iter_mut().enumerate() {
        op.index = index as u64;
        op.time = index as u64 * 1_000;
    }
    History { ops }
}

/// An operation's end, for histories that are made by programs.
pub fn end(process: u64, kind: Kind, f: &str, key: &str, value: serde_json::Value) -> Op {
    Op {
        index: 0,
        process: Process::Client(process),
        kind,
        f: f.to_owned(),
        key: Some(key.to_owned()),
        value,
        time: 0,
        error: None,
        workload: Some("register".to_owned()),
        notes: Notes::default(),
    }
}
