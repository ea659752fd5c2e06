//! Bytes that were written once and are read for ever: of each command.
//!
//! `QUORATE_GOLDEN=write` adds what is new, and changes nothing that is there. What stands in the files is never
//! edited: a log of that time looks like that.

use std::{collections::BTreeMap, fs, path::PathBuf};

use data_encoding::HEXLOWER;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use super::{
    codec::{COMMANDS, number},
    commands::proposal,
    *,
};

/// What is known by its name, in hexadecimal digits.
type Kept = BTreeMap<String, String>;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/state/tests/golden")
        .join(name)
}

fn kept(name: &str) -> Kept {
    let text = fs::read_to_string(path(name)).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(name, hex)| (name.to_owned(), hex.to_owned()))
        .collect()
}

/// What stands in a file, and `new` where its name is not there yet.
fn golden(name: &str, new: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let mut all = kept(name);
    let before = all.len();
    for (name, bytes) in new {
        all.entry(name).or_insert_with(|| HEXLOWER.encode(&bytes));
    }
    if all.len() > before {
        let write = std::env::var("QUORATE_GOLDEN").is_ok_and(|mode| mode == "write");
        assert!(
            write,
            "run this test with QUORATE_GOLDEN=write to add what is new to {name}"
        );
        let text: String = all.iter().map(|(name, hex)| format!("{name} {hex}\n")).collect();
        fs::write(path(name), text).unwrap();
    }
    let decode = |hex: String| HEXLOWER.decode(hex.as_bytes()).unwrap();
    all.into_iter().map(|(name, hex)| (name, decode(hex))).collect()
}

/// Proposals as they come, always the same.
fn proposals() -> Vec<Proposal> {
    let mut runner = TestRunner::deterministic();
    let next = |_| proposal().new_tree(&mut runner).unwrap().current().2;
    (0..2_000).map(next).collect()
}

#[test]
fn commands_of_before_are_read_as_they_were_written() {
    let mut new = BTreeMap::new();
    for proposal in proposals() {
        let name = format!("command-{:02}", number(&proposal.command));
        let bytes = postcard::to_stdvec(&proposal).unwrap();
        new.entry(name).or_insert(bytes);
    }
    assert_eq!(new.len(), COMMANDS);
    for (name, bytes) in golden("commands.txt", new) {
        let read: Proposal = postcard::from_bytes(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = name.strip_prefix("command-").unwrap().parse::<usize>().unwrap();
        assert_eq!(number(&read.command), expected, "{name}");
        let again = postcard::to_stdvec(&read).unwrap();
        assert_eq!(HEXLOWER.encode(&again), HEXLOWER.encode(&bytes), "{name}");
    }
}
