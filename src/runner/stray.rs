//! Processes left over from an earlier start of this runner.
//!
//! The parent-death signal ends agents' own processes with their runner, but not what those started,
//! unless the whole container ends. A runner that comes back must not let them act beside the new
//! copies; they are known by the container's id in their environment.

use std::{fs, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::model::ContainerId;

/// Kills what carries this container's id in its environment and is not this process. Gives how many.
pub(super) fn sweep(proc: &Path, container: ContainerId) -> usize {
    let mark = format!("QUORATE_CONTAINER={container}");
    let found = fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = found.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        // Other users' processes can't be read, and are none of ours.
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let marked = environment.split(|b| *b == 0).any(|one| one == mark.as_bytes());
        (marked && pid.unsigned_abs() != std::process::id()).then_some(pid)
    });
    let killed = pids
        .filter(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).is_ok())
        .count();
    if killed > 0 {
        tracing::warn!(
            killed,
            "ended processes left over from an earlier start of this runner"
        );
    }
    killed
}
