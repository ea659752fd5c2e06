//! The machine the figures belong to: cores, kernel, what one `fdatasync` costs on the measured disk, processor time.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};
use serde::Serialize;

/// Appends timed by the disk probe, and bytes of each.
const PROBES: usize = 200;
const PROBE_BYTES: usize = 4096;

/// What the figures were measured on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub kernel: String,
    /// Median and 99th percentile of a 4 KiB append followed by `fdatasync`.
    pub fdatasync_p50_ms: f64,
    pub fdatasync_p99_ms: f64,
}

impl Machine {
    /// Looks at this machine, and at the disk that `dir` is on.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn look(dir: &Path) -> Result<Self> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut costs =
            fdatasync_costs(dir).with_context(|| format!("{} cannot be written", dir.display()))?;
        costs.sort_unstable();
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            kernel: kernel.trim().to_owned(),
            fdatasync_p50_ms: costs[costs.len() / 2].as_secs_f64() * 1e3,
            fdatasync_p99_ms: costs[costs.len() * 99 / 100].as_secs_f64() * 1e3,
        })
    }
}

fn fdatasync_costs(dir: &Path) -> std::io::Result<Vec<Duration>> {
    let path = dir.join(format!("probe-{}", std::process::id()));
    let mut file = File::create(&path)?;
    let costs = (0..PROBES).map(|_| {
        let started = Instant::now();
        file.write_all(&[0x51; PROBE_BYTES])?;
        file.sync_data()?;
        Ok(started.elapsed())
    });
    let costs = costs.collect();
    fs::remove_file(&path)?;
    costs
}

/// User and system time in a `/proc/<pid>/stat` file; zero when there is none.
pub fn processor_time(stat: &Path) -> Duration {
    let text = fs::read_to_string(stat).unwrap_or_default();
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100).max(1);
    Duration::from_secs_f64(ticks(&text) as f64 / per_second as f64)
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// The most that was.
    pub peak: u64,
}

/// What a `/proc/<pid>/status` file says of memory; zero when there is none.
pub fn memory(status: &Path) -> Memory {
    let text = fs::read_to_string(status).unwrap_or_default();
    Memory {
        resident: kibibytes(&text, "VmRSS:"),
        peak: kibibytes(&text, "VmHWM:"),
    }
}

/// The figure on the line that begins with `key`, in bytes.
fn kibibytes(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let figure = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    figure.unwrap_or(0) * 1024
}

/// utime + stime: the 12th and 13th fields after the program's name, which may itself hold spaces and brackets.
fn ticks(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    after_name
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_a_name_with_brackets() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 10 0 0 0 31 11 5 6 20 0 1 0 100 0 0";
        assert_eq!(ticks(stat), 42);
        assert_eq!(ticks(""), 0);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let status = "Name:\tquorate\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), 1 << 20);
        assert_eq!(kibibytes(status, "VmHWM:"), 2 << 20);
        assert_eq!(kibibytes("", "VmRSS:"), 0);
    }
}
