//! Points at which a test can make a manager die, or dawdle.
//!
//! `failpoint!("name")` stands between two steps whose order matters. Without the cargo feature
//! `failpoints` it is nothing at all. With it, the environment says what happens when a point is reached:
//!
//! ```text
//! FAILPOINTS='fsync=20*off->return'    the process aborts when the point is reached for the 21st time
//! FAILPOINTS='apply=sleep(300)'        it takes 300 ms longer each time
//! ```
//!
//! The rest of the notation is that of the crate `fail`. `tests/failpoints.rs` crashes managers at each of
//! [`POINTS`] and looks at what they remember.

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("the feature `failpoints` is for tests: build it with debug assertions");

/// Every point, and what has happened when it is reached.
pub const POINTS: [(&str, &str); 20] = [
    ("append", "raft hands entries to the log; nothing is written"),
    ("rows", "entries are put into rows; nothing is synced"),
    (
        "fsync",
        "all that a turn wrote is handed to the database; nothing is synced",
    ),
    ("fsynced", "all of it is durable; nobody was told"),
    ("vote", "raft saves a vote; nothing is written"),
    ("voted", "the vote is durable; nobody was told"),
    ("apply", "committed entries are about to be applied"),
    ("applied", "they are applied and can be seen; nobody was answered"),
    (
        "snapshot-written",
        "a snapshot is written to its temporary file; nothing is synced",
    ),
    (
        "snapshot-built",
        "it is durable under its name; raft was not told",
    ),
    (
        "snapshot-received",
        "the last part of another manager's snapshot has come; nothing is checked",
    ),
    (
        "snapshot-kept",
        "it is durable under its name; the state is still the old one",
    ),
    (
        "snapshot-installed",
        "the state is that of the snapshot; raft was not told",
    ),
    ("purge", "raft purges entries; nothing is written"),
    ("purge-marked", "the purge's marker is put; nothing is synced"),
    ("purge-rows", "the marker is durable; some of the rows are gone"),
    (
        "reply",
        "a proposal is decided; whoever made it here was not answered",
    ),
    (
        "reply-forwarded",
        "another manager's proposals are decided; it was not answered",
    ),
    ("forward", "proposals are about to be sent to the leader"),
    ("forwarded", "the leader's answer is here; nobody was told"),
];

/// Keeps the points armed while it lives.
#[must_use]
pub struct Armed {
    #[cfg(feature = "failpoints")]
    _scenario: fail::FailScenario<'static>,
}

/// Arms the points that `FAILPOINTS` names.
///
/// # Errors
/// A name that is none of [`POINTS`].
pub fn arm() -> Result<Armed, String> {
    #[cfg(feature = "failpoints")]
    {
        let armed = Armed {
            _scenario: fail::FailScenario::setup(),
        };
        let unknown = |name: &String| POINTS.iter().all(|(known, _)| known != name);
        match fail::list().into_iter().map(|(name, _)| name).find(unknown) {
            Some(name) => Err(format!("there is no failpoint `{name}`")),
            None => Ok(armed),
        }
    }
    #[cfg(not(feature = "failpoints"))]
    Ok(Armed {})
}

/// Does what was asked for at a point; `return` ends the process there and then.
#[cfg(feature = "failpoints")]
pub fn reach(name: &str) {
    let _: Option<()> = fail::eval(name, |_| std::process::abort());
}

#[cfg(feature = "failpoints")]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::failpoints::reach($name)
    };
}

#[cfg(not(feature = "failpoints"))]
macro_rules! failpoint {
    ($name:literal) => {};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_in_the_code_once_and_the_other_way_round() {
        let mut dirs = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut found = Vec::new();
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else if !path.ends_with("failpoints.rs") {
                    let text = std::fs::read_to_string(path).unwrap();
                    let named = text.split("failpoint!(\"").skip(1);
                    found.extend(named.map(|rest| rest.split('"').next().unwrap().to_owned()));
                }
            }
        }
        found.sort();
        let mut listed: Vec<_> = POINTS.iter().map(|(name, _)| (*name).to_owned()).collect();
        listed.sort();
        assert_eq!(found, listed);
    }
}
