//! What was made outside this process and has to be undone: written down before it is made.
//!
//! The ledger undoes whatever it still holds when it is dropped, which covers errors, Ctrl-C and panics. A harness that
//! was killed leaves its ledger's file behind; the next start undoes that. Everything is undone by its exact name, and
//! a process only when it is the very one that was started.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde::{Deserialize, Serialize};

/// How long killed processes may take to be gone.
const LAST_MOMENT: Duration = Duration::from_secs(3);

/// A process, and since when it runs: ids are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Started {
    pub pid: i32,
    /// In clock ticks since the machine started.
    at: u64,
}

impl Started {
    /// The process with this id, if it runs.
    pub fn find(pid: i32) -> Option<Self> {
        let at = stat_field(pid, 22)?.parse().ok()?;
        Some(Self { pid, at })
    }

    /// Whether it still runs. One that has ended and was not yet waited for does not.
    pub fn runs(self) -> bool {
        Self::find(self.pid) == Some(self) && stat_field(self.pid, 3).as_deref() != Some("Z")
    }
}

/// A field of `/proc/<pid>/stat`, counted from 1 as in its manual; from the third on.
pub fn stat_field(pid: i32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses, and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace()
        .nth(field.checked_sub(3)?)
        .map(str::to_owned)
}

/// Something made outside this process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Made {
    // In the order in which they are undone.
    Process(Started),
    Mount(PathBuf),
    Namespace(String),
    Link(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Page {
    owner: Option<Started>,
    made: BTreeSet<Made>,
}

/// The list, in memory and in a file.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    page: Mutex<Page>,
}

impl Ledger {
    /// Undoes what harnesses that are gone left behind, and begins a list of our own.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open() -> Result<Self> {
        let user = geteuid();
        let dir = std::env::temp_dir().join(format!("quorate-jepsen-{user}"));
        fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        // What stands in somebody else's ledger is not ours to undo.
        let owner = fs::metadata(&dir)
            .context("a directory that was just made is gone")?
            .uid();
        ensure!(owner == user.as_raw(), "{} is not ours", dir.display());
        undo_leftovers(&dir);
        let owner = Started::find(nix::unistd::getpid().as_raw());
        let path = dir.join(format!(
            "{}-{:08x}.json",
            std::process::id(),
            rand::random::<u32>()
        ));
        let page = Page {
            owner,
            made: BTreeSet::new(),
        };
        Ok(Self {
            path,
            page: Mutex::new(page),
        })
    }

    /// Writes down something that is about to be made.
    ///
    /// # Errors
    /// It cannot be written; then it must not be made.
    pub fn note(&self, made: Made) -> Result<()> {
        let mut page = self.page();
        page.made.insert(made);
        let json = serde_json::to_vec(&*page).context("a ledger is always JSON")?;
        fs::write(&self.path, json).with_context(|| format!("{} cannot be written", self.path.display()))
    }

    /// Undoes one thing now.
    pub fn undo(&self, made: &Made) {
        undo(made);
        self.forget(made);
    }

    /// Strikes out something that is gone.
    pub fn forget(&self, made: &Made) {
        let mut page = self.page();
        page.made.remove(made);
        // An entry too many is harmless: what is gone is not found again.
        if let Ok(json) = serde_json::to_vec(&*page) {
            let _ = fs::write(&self.path, json);
        }
    }

    fn page(&self) -> MutexGuard<'_, Page> {
        // The set is whole whatever a panicking holder was about.
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let made = std::mem::take(&mut self.page().made);
        undo_all(&made);
        let _ = fs::remove_file(&self.path);
    }
}

fn undo_leftovers(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let Some(page) = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Page>(&bytes).ok())
        else {
            continue;
        };
        if page.owner.is_some_and(Started::runs) {
            continue;
        }
        eprintln!("undoing {} leftovers of a run that was killed", page.made.len());
        undo_all(&page.made);
        let _ = fs::remove_file(&path);
    }
}

fn undo_all(made: &BTreeSet<Made>) {
    for one in made {
        undo(one);
    }
}

/// Undoes one thing; that it is gone already is no failure.
fn undo(made: &Made) {
    match made {
        Made::Process(started) => end(*started),
        Made::Mount(path) => {
            if umount2(path, MntFlags::MNT_DETACH).is_err() {
                // Who is not root may take down what they mounted, by this program only.
                quietly("fusermount3", &["-uzq", &path.to_string_lossy()]);
            }
        }
        Made::Namespace(name) => quietly("ip", &["netns", "del", name]),
        Made::Link(name) => quietly("ip", &["link", "del", name]),
    }
}

fn end(started: Started) {
    let deadline = Instant::now() + LAST_MOMENT;
    while started.runs() && Instant::now() < deadline {
        let _ = kill(Pid::from_raw(started.pid), Signal::SIGKILL);
        std::thread::sleep(Duration::from_millis(2));
    }
    // What libfaketime leaves of a process that was killed; it is named after it.
    for name in ["faketime_shm", "sem.faketime_sem"] {
        let _ = fs::remove_file(format!("/dev/shm/{name}_{}", started.pid));
    }
}

fn quietly(program: &str, arguments: &[&str]) {
    let _ = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_too() {
        let me = Started::find(nix::unistd::getpid().as_raw()).unwrap();
        assert!(me.runs());
        assert!(!Started { at: me.at + 1, ..me }.runs());
    }

    #[test]
    fn what_is_still_in_the_ledger_is_undone_when_it_is_dropped() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let started = Started::find(child.id() as i32).unwrap();
        let ledger = Ledger::open().unwrap();
        ledger.note(Made::Process(started)).unwrap();
        assert!(ledger.path.exists());
        let path = ledger.path.clone();
        drop(ledger);
        assert!(!started.runs() && !path.exists());
        child.wait().unwrap();
    }
}
