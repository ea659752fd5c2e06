//! Measuring what is in use in the container, beside the sessions.
//!
//! Counters of the control group (v2, else v1), or of the machine in `/proc` where there is none; the
//! network's are those of the container's own name space. A sample is a level: one that no session took
//! is overtaken by the next.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    assess::{self, number},
    pace,
};
use crate::model::Sample;

/// In `/proc`, processor time is told in hundredths of a second whatever the kernel counts in (`USER_HZ`).
const NANOS_A_TICK: u64 = 10_000_000;

/// `/proc/diskstats` tells sectors of this size whatever the disk's is.
const SECTOR: u64 = 512;

/// The latest sample; none before the first.
pub(super) type Latest = watch::Receiver<Option<Sample>>;

/// The task that measures; it ends with this.
#[derive(Debug)]
pub(super) struct Sampling {
    pub latest: Latest,
    task: JoinHandle<()>,
}

impl Drop for Sampling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sampling {
    /// Begins to measure. `root` is `/` but in tests, `dir` the runner's data directory. Must be called
    /// inside a runtime.
    pub(super) fn start(root: PathBuf, dir: PathBuf) -> Self {
        let (sender, latest) = watch::channel(None);
        let task = tokio::spawn(run(root, dir, sender));
        Self { latest, task }
    }
}

async fn run(root: PathBuf, dir: PathBuf, latest: watch::Sender<Option<Sample>>) {
    let mut ticks = interval(pace::SAMPLE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<(Instant, Counters)> = None;
    loop {
        ticks.tick().await;
        let (from, on) = (root.clone(), dir.clone());
        // A file system may hang; heartbeats must not.
        let read = spawn_blocking(move || (Counters::read(&from), level(&from, &on))).await;
        let Ok((now, level)) = read else { return };
        let at = Instant::now();
        if let Some((then, earlier)) = before.replace((at, now)) {
            latest.send_replace(Some(now.since(&earlier, at - then, level)));
        }
    }
}

/// What only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    cpu_nanos: u64,
    disk_read: u64,
    disk_written: u64,
    received: u64,
    sent: u64,
}

impl Counters {
    /// Blocks.
    fn read(root: &Path) -> Self {
        let (disk_read, disk_written) = disks(root).unwrap_or_default();
        let (received, sent) = network(root).unwrap_or_default();
        Self {
            cpu_nanos: cpu(root).unwrap_or_default(),
            disk_read,
            disk_written,
            received,
            sent,
        }
    }

    fn since(&self, earlier: &Self, span: Duration, level: Sample) -> Sample {
        // A counter that went back was begun anew; nothing is known of this span then.
        let grown = |of: fn(&Self) -> u64| of(self).saturating_sub(of(earlier));
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = |of: fn(&Self) -> u64| grown(of).saturating_mul(1000) / millis;
        Sample {
            cpu_millis: grown(|c| c.cpu_nanos) / 1000 / millis,
            disk_read_rate: rate(|c| c.disk_read),
            disk_write_rate: rate(|c| c.disk_written),
            receive_rate: rate(|c| c.received),
            send_rate: rate(|c| c.sent),
            ..level
        }
    }
}

/// What goes up and down. Blocks.
fn level(root: &Path, dir: &Path) -> Sample {
    Sample {
        memory_bytes: memory(root).unwrap_or_default(),
        disk_used_bytes: assess::disk_used(dir).unwrap_or_default(),
        ..Sample::default()
    }
}

fn text(root: &Path, file: &str) -> Option<String> {
    fs::read_to_string(root.join(file)).ok()
}

/// The number after `key` on a line of its own: `usage_usec 17`.
fn field(root: &Path, file: &str, key: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok();
    text(root, file)?.lines().find_map(value)
}

fn cpu(root: &Path) -> Option<u64> {
    let v2 = || Some(field(root, "sys/fs/cgroup/cpu.stat", "usage_usec")?.saturating_mul(1000));
    let v1 = || number(root, "sys/fs/cgroup/cpuacct/cpuacct.usage");
    let machine = || {
        let text = text(root, "proc/stat")?;
        let fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let ticks: Vec<u64> = fields.map_while(|ticks| ticks.parse().ok()).collect();
        // user nice system (idle iowait) irq softirq steal; what guests use is in user.
        let busy = ticks
            .iter()
            .enumerate()
            .filter(|(at, _)| matches!(*at, 0..=2 | 5..=7));
        let busy = busy.fold(0_u64, |sum, (_, ticks)| sum.saturating_add(*ticks));
        Some(busy.saturating_mul(NANOS_A_TICK))
    };
    v2().or_else(v1).or_else(machine)
}

/// File pages that were not used lately are no need of the container.
fn memory(root: &Path) -> Option<u64> {
    let v2 = || {
        let all = number(root, "sys/fs/cgroup/memory.current")?;
        Some(all.saturating_sub(field(root, "sys/fs/cgroup/memory.stat", "inactive_file").unwrap_or(0)))
    };
    let v1 = || {
        let all = number(root, "sys/fs/cgroup/memory/memory.usage_in_bytes")?;
        let idle = field(root, "sys/fs/cgroup/memory/memory.stat", "total_inactive_file");
        Some(all.saturating_sub(idle.unwrap_or(0)))
    };
    let machine = || {
        let text = text(root, "proc/meminfo")?;
        let available = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let available: u64 = available.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(assess::memory_of_machine(root)?.saturating_sub(available.saturating_mul(1024)))
    };
    v2().or_else(v1).or_else(machine)
}

/// Bytes read and written.
fn disks(root: &Path) -> Option<(u64, u64)> {
    let sum = |sums: (u64, u64), (read, written): (u64, u64)| {
        (sums.0.saturating_add(read), sums.1.saturating_add(written))
    };
    // `8:0 rbytes=1 wbytes=2 rios=3 …`
    let v2 = || {
        let text = text(root, "sys/fs/cgroup/io.stat")?;
        let of = |line: &str, key: &str| {
            let value = |word: &str| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok();
            line.split(' ').find_map(value).unwrap_or(0)
        };
        let lines = text.lines().map(|line| (of(line, "rbytes"), of(line, "wbytes")));
        Some(lines.fold((0, 0), sum))
    };
    // `8:0 Read 1`, `8:0 Write 2`, …, `Total 3`
    let v1 = || {
        let text = text(root, "sys/fs/cgroup/blkio/blkio.throttle.io_service_bytes")?;
        let lines = text.lines().map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                [_, "Read", bytes] => (bytes.parse().unwrap_or(0), 0),
                [_, "Write", bytes] => (0, bytes.parse().unwrap_or(0)),
                _ => (0, 0),
            }
        });
        Some(lines.fold((0, 0), sum))
    };
    let machine = || {
        let text = text(root, "proc/diskstats")?;
        let lines = text.lines().filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let (name, read, written) = (words.get(2)?, words.get(5)?, words.get(9)?);
            // Partitions are counted with their disk, and what lies on disks with those.
            let stacked = ["loop", "ram", "dm-", "md"]
                .iter()
                .any(|kind| name.starts_with(kind));
            let whole = !stacked && root.join("sys/block").join(name).exists();
            let bytes = |sectors: &str| Some(sectors.parse::<u64>().ok()?.saturating_mul(SECTOR));
            whole.then_some((bytes(read)?, bytes(written)?))
        });
        Some(lines.fold((0, 0), sum))
    };
    v2().or_else(v1).or_else(machine)
}

/// Bytes received and sent by all interfaces but the loopback.
fn network(root: &Path) -> Option<(u64, u64)> {
    let text = text(root, "proc/self/net/dev")?;
    let interfaces = text.lines().filter_map(|line| {
        let (name, figures) = line.split_once(':')?;
        let figures: Vec<u64> = figures.split_whitespace().map_while(|f| f.parse().ok()).collect();
        (name.trim() != "lo").then_some((*figures.first()?, *figures.get(8)?))
    });
    let sum = |sums: (u64, u64), (received, sent): (u64, u64)| {
        (sums.0.saturating_add(received), sums.1.saturating_add(sent))
    };
    Some(interfaces.fold((0, 0), sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::assess::tests::root;

    const NETWORK: (&str, &str) = (
        "proc/self/net/dev",
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n    \
         lo: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0\n  eth0: 70 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n  \
         eth1:5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n",
    );

    fn of(files: &[(&str, &str)]) -> ([u64; 5], u64) {
        let files: Vec<_> = files.iter().copied().chain([NETWORK]).collect();
        let dir = root(&files);
        let c = Counters::read(dir.path());
        let counters = [c.cpu_nanos, c.disk_read, c.disk_written, c.received, c.sent];
        (counters, level(dir.path(), dir.path()).memory_bytes)
    }

    #[test]
    fn counters_of_both_kinds_of_control_group_and_of_a_machine_without() {
        let v2 = of(&[
            ("sys/fs/cgroup/cpu.stat", "usage_usec 7000\nuser_usec 5000\n"),
            ("sys/fs/cgroup/memory.current", "5000\n"),
            (
                "sys/fs/cgroup/memory.stat",
                "anon 3000\ninactive_file 1000\nactive_file 9\n",
            ),
            (
                "sys/fs/cgroup/io.stat",
                "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2 rios=1\n",
            ),
        ]);
        assert_eq!(v2, ([7_000_000, 11, 22, 75, 26], 4000));
        let v1 = of(&[
            ("sys/fs/cgroup/cpuacct/cpuacct.usage", "7000000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "inactive_file 7\ntotal_inactive_file 1000\n",
            ),
            (
                "sys/fs/cgroup/blkio/blkio.throttle.io_service_bytes",
                "8:0 Read 11\n8:0 Write 22\n8:0 Sync 33\n8:0 Total 33\nTotal 33\n",
            ),
        ]);
        assert_eq!(v1, v2);
        let machine = of(&[
            ("proc/stat", "cpu  1 2 3 400 500 6 7 8 900 0\ncpu0 1 1 1\n"),
            (
                "proc/meminfo",
                "MemTotal:       16384 kB\nMemFree: 1 kB\nMemAvailable:   16380 kB\n",
            ),
            (
                "proc/diskstats",
                " 8 0 sda 1 0 2 0 1 0 4 0 0\n 8 1 sda1 1 0 2 0 1 0 4 0 0\n 7 0 loop0 1 0 2 0 1 0 4 0 0\n",
            ),
            ("sys/block/sda/size", "1"),
            ("sys/block/loop0/size", "1"),
        ]);
        assert_eq!(machine, ([270_000_000, 1024, 2048, 75, 26], 4096));
        assert_eq!(of(&[]), ([0, 0, 0, 75, 26], 0));
    }

    #[test]
    fn a_sample_is_what_grew_in_its_span() {
        let earlier = Counters {
            cpu_nanos: 1_000_000_000,
            disk_read: 500,
            received: 9000,
            ..Counters::default()
        };
        let now = Counters {
            cpu_nanos: 2_000_000_000,
            disk_read: 1500,
            received: 10,
            ..earlier
        };
        let sample = now.since(&earlier, Duration::from_secs(2), Sample::default());
        assert_eq!((sample.cpu_millis, sample.disk_read_rate), (500, 500));
        assert_eq!(sample.receive_rate, 0, "a counter that was begun anew");
        let at_once = now.since(&earlier, Duration::ZERO, Sample::default());
        assert_eq!(at_once.disk_read_rate, 1_000_000);
    }
}
