//! Processes that outlived what they belong to, found in `/proc` and ended.
//!
//! A process that an agent started may leave its group and session, and so no signal to a group is
//! proof that nothing of the agent acts any more. What belongs together is known by its environment,
//! which names the container and the replica, and by descent. Nothing here returns before a look finds
//! nothing more that can be killed.
//!
//! Left out: what cleared its environment *and* lost its keeper ([`super::keeper`]) to a SIGKILL.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::model::{ContainerId, ReplicaId};

/// Between two looks for what was killed and is still there.
const LOOK: Duration = Duration::from_millis(5);

/// What takes longer to die than this, in a file system that hangs say, is worth a line in the log.
const SLOW: Duration = Duration::from_secs(5);

/// What the environment of all processes of one container, or of one replica in it, says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark(Vec<String>);

impl Mark {
    pub(super) fn of_container(container: ContainerId) -> Self {
        Self(vec![format!("QUORATE_CONTAINER={container}")])
    }

    /// Of any epoch: two of them never run side by side.
    pub(super) fn of_replica(container: ContainerId, replica: ReplicaId) -> Self {
        let mut mark = Self::of_container(container);
        mark.0.push(format!("QUORATE_AGENT_ID={}", replica.agent));
        mark.0.push(format!("QUORATE_REPLICA={}", replica.ordinal));
        mark
    }

    /// Of what one start of a runner asks for its version.
    pub(super) fn of_look(boot: u64) -> Self {
        Self(vec![format!("QUORATE_LOOK={boot}")])
    }

    /// The variables that make the mark.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|one| one.split_once('='))
    }

    fn is_on(&self, environment: &[u8]) -> bool {
        let carried = |one: &String| environment.split(|b| *b == 0).any(|e| e == one.as_bytes());
        self.0.iter().all(carried)
    }
}

/// Kills what carries the mark and what descends from it, but not this process, until nothing is left.
/// Gives how many were killed. Blocks.
pub(super) fn sweep(proc: &Path, mark: &Mark) -> usize {
    let (begin, mut complained, mut all) = (Instant::now(), false, 0);
    loop {
        let parents = parents(proc);
        // Other users' processes can't be read; and one that has ended has no environment.
        let marked =
            |pid: &i32| fs::read(proc.join(pid.to_string()).join("environ")).is_ok_and(|e| mark.is_on(&e));
        let roots: Vec<i32> = parents
            .keys()
            .copied()
            .filter(|pid| !is_this(*pid) && marked(pid))
            .collect();
        let found = parents
            .keys()
            .filter(|pid| !is_this(**pid) && descends(&parents, **pid, &roots));
        let killed = found.filter(|pid| end(**pid)).count();
        if killed == 0 {
            break;
        }
        all = all.max(killed);
        if begin.elapsed() > SLOW && !std::mem::replace(&mut complained, true) {
            tracing::warn!(
                killed,
                ?mark,
                "processes were killed and are still there; waiting for their end"
            );
        }
        thread::sleep(LOOK);
    }
    all
}

/// Kills all living descendants of this process, once.
pub(super) fn kill_descendants(proc: &Path) {
    let parents = parents(proc);
    let this = [std::process::id().cast_signed()];
    for pid in parents
        .keys()
        .filter(|pid| !is_this(**pid) && descends(&parents, **pid, &this))
    {
        end(*pid);
    }
}

fn is_this(pid: i32) -> bool {
    pid.unsigned_abs() == std::process::id()
}

fn end(pid: i32) -> bool {
    kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok()
}

/// Whether `pid` is one of `roots` or comes from one.
fn descends(parents: &BTreeMap<i32, i32>, pid: i32, roots: &[i32]) -> bool {
    let mut at = pid;
    // No line is longer than there are processes; ids that were given anew meanwhile could form a ring.
    for _ in 0..=parents.len() {
        if roots.contains(&at) {
            return true;
        }
        match parents.get(&at) {
            Some(parent) => at = *parent,
            None => return false,
        }
    }
    false
}

/// The parent of every process that has not ended.
fn parents(proc: &Path) -> BTreeMap<i32, i32> {
    let all = fs::read_dir(proc).into_iter().flatten().flatten();
    let known = all.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read(entry.path().join("stat")).ok()?;
        Some((pid, parent(&String::from_utf8_lossy(&stat))?))
    });
    known.collect()
}

/// The parent in a line of `/proc/PID/stat`; none of a process that has ended. A program's name, in
/// brackets, may hold anything.
fn parent(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    let state = words.next()?;
    let parent = words.next()?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AgentId;

    #[test]
    fn parents_are_read_past_any_name() {
        assert_eq!(parent("7 (a) S 9) Z 3) S 12 7 7"), Some(12));
        assert_eq!(parent("7 (sleep) Z 12 7 7"), None);
        assert_eq!(parent(""), None);
    }

    #[test]
    fn descent_goes_over_generations_and_ends_in_rings() {
        let parents = BTreeMap::from([(5, 4), (4, 3), (3, 1), (6, 1), (8, 9), (9, 8)]);
        assert!(descends(&parents, 5, &[3]) && descends(&parents, 3, &[3]));
        assert!(!descends(&parents, 6, &[3]) && !descends(&parents, 8, &[3]));
    }

    #[test]
    fn a_mark_is_whole_entries() {
        let mark = Mark::of_replica(
            ContainerId(1),
            ReplicaId {
                agent: AgentId(2),
                ordinal: 1,
            },
        );
        let [container, agent, replica] = mark.0.as_slice() else {
            panic!("{mark:?}")
        };
        assert!(mark.is_on(format!("A=b\0{replica}\0{agent}\0{container}\0").as_bytes()));
        assert!(!mark.is_on(format!("{container}\0X{agent}\0{replica}\0").as_bytes()));
        assert!(!mark.is_on(format!("{container}\0{agent}\0{replica}2\0").as_bytes()));
        assert!(!mark.is_on(b""));
    }
}
