//! What this container is and can host, as far as it can tell from inside.

use std::{fs, path::Path, thread};

use nix::sys::statvfs::statvfs;

use crate::model::{Capabilities, Resources};

/// Platform and version.
pub(super) fn capabilities() -> Capabilities {
    Capabilities {
        platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        runner: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The limits of the container's control group, or what the machine has, whichever is less. `root` is
/// `/` but in tests.
pub(super) fn resources(root: &Path) -> Resources {
    let machine_cpu = u64::try_from(processors()).unwrap_or(1).saturating_mul(1000);
    let machine_memory = memory_of_machine(root).unwrap_or(0);
    Resources {
        cpu_millis: cpu_limit(root).map_or(machine_cpu, |limit| limit.min(machine_cpu)),
        memory_bytes: memory_limit(root).map_or(machine_memory, |limit| limit.min(machine_memory)),
    }
}

/// Processors that this process may run on.
pub(super) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Size of the disk that `dir` is on, and what of it may still be filled by this user, in bytes. Blocks.
pub(super) fn disk(dir: &Path) -> Option<(u64, u64)> {
    let disk = statvfs(dir).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.fragment_size());
    Some((bytes(disk.blocks()), bytes(disk.blocks_available())))
}

/// What is in use on the disk that `dir` is on, in bytes. Blocks.
pub(super) fn disk_used(dir: &Path) -> Option<u64> {
    let disk = statvfs(dir).ok()?;
    let used = disk.blocks().saturating_sub(disk.blocks_free());
    Some(used.saturating_mul(disk.fragment_size()))
}

pub(super) fn number(root: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(root.join(file)).ok()?.trim().parse().ok()
}

/// `cpu.max` of cgroup v2 ("quota period", or "max period"), else the two files of v1, where a quota of
/// -1, which is not a `u64`, means none.
pub(super) fn cpu_limit(root: &Path) -> Option<u64> {
    let v2 = || {
        let text = fs::read_to_string(root.join("sys/fs/cgroup/cpu.max")).ok()?;
        let (quota, period) = text.trim().split_once(' ')?;
        Some((quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?))
    };
    let v1 = || {
        let quota = number(root, "sys/fs/cgroup/cpu/cpu.cfs_quota_us")?;
        Some((quota, number(root, "sys/fs/cgroup/cpu/cpu.cfs_period_us")?))
    };
    let (quota, period) = v2().or_else(v1)?;
    quota.saturating_mul(1000).checked_div(period)
}

/// `memory.max` of cgroup v2 (a number, or "max"), else v1, where no limit is a number larger than any
/// machine.
pub(super) fn memory_limit(root: &Path) -> Option<u64> {
    number(root, "sys/fs/cgroup/memory.max")
        .or_else(|| number(root, "sys/fs/cgroup/memory/memory.limit_in_bytes"))
}

pub(super) fn memory_of_machine(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}

/// The engine's own id of the container this process runs in: 64 hexadecimal characters.
///
/// An engine mounts files of its own under `…/containers/<id>/` over `/etc/hostname` and its like;
/// other mounts of that shape belong to other containers when this is the engine's machine itself.
/// With cgroup v1, or a host's cgroup namespace, the control group's name ends with the id too.
pub(super) fn engine_container(root: &Path) -> Option<String> {
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    let from_mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (source, point) = (fields.next()?, fields.next()?);
        let engines = matches!(point, "/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf");
        let (_, rest) = source.split_once("/containers/").filter(|_| engines)?;
        id_at_start(rest)
    });
    let groups = || fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    from_mount.or_else(|| {
        groups().lines().find_map(|line| {
            let (_, last) = line.rsplit_once('/')?;
            let engines = line.contains("docker");
            id_at_start(last.strip_prefix("docker-").unwrap_or(last)).filter(|_| engines)
        })
    })
}

fn id_at_start(text: &str) -> Option<String> {
    let id = text.get(..64)?;
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let ends = text.as_bytes().get(64).is_none_or(|b| !b.is_ascii_alphanumeric());
    (ends && id.bytes().all(hex)).then(|| id.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use tempfile::TempDir;

    use super::*;

    pub(in crate::runner) fn root(files: &[(&str, &str)]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n");

    #[test]
    fn limits_of_both_kinds_of_control_group() {
        let id = "ab".repeat(32);
        let v2 = root(&[
            ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
            ("sys/fs/cgroup/memory.max", "8388608\n"),
            MEMINFO,
        ]);
        let v1 = root(&[
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "8388608"),
            MEMINFO,
        ]);
        for limited in [&v2, &v1] {
            let found = resources(limited.path());
            assert_eq!((found.cpu_millis, found.memory_bytes), (500, 8 << 20));
        }
        let free = root(&[
            ("sys/fs/cgroup/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
            MEMINFO,
        ]);
        let v1_free = root(&[
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712",
            ),
            ("proc/self/cgroup", &format!("12:cpu:/docker/{id}\n")),
            MEMINFO,
        ]);
        for unlimited in [&free, &v1_free] {
            let found = resources(unlimited.path());
            assert_eq!(found.memory_bytes, 16 << 20);
            assert!(found.cpu_millis >= 1000);
        }
        assert_eq!(engine_container(free.path()), None);
        assert_eq!(engine_container(v1_free.path()), Some(id));
    }

    #[test]
    fn the_container_is_its_own_and_not_one_that_is_merely_mounted_here() {
        let (ours, theirs) = ("0f".repeat(32), "e1".repeat(32));
        let mount = |id: &str, point: &str| {
            format!("600 1 254:1 /var/lib/docker/containers/{id}/x {point} rw - ext4 /dev/vda1 rw\n")
        };
        let shm = mount(
            &theirs,
            &format!("/var/lib/docker/containers/{theirs}/mounts/shm"),
        );
        let inside = root(&[(
            "proc/self/mountinfo",
            &format!("{shm}{}", mount(&ours, "/etc/hostname")),
        )]);
        assert_eq!(engine_container(inside.path()), Some(ours));
        let machine = root(&[("proc/self/mountinfo", &shm)]);
        assert_eq!(engine_container(machine.path()), None);
        let scope = root(&[(
            "proc/self/cgroup",
            &format!("0::/system.slice/docker-{theirs}.scope\n"),
        )]);
        assert_eq!(engine_container(scope.path()), Some(theirs));
    }
}
