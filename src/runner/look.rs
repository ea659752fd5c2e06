//! Looking at the container, again and again, beside the sessions.
//!
//! What is found is a level: sessions tell the latest, and only when it differs from what was told. A
//! look reads files and asks programs that may hang, so it never stands in the way of a heartbeat.

use std::{fs, path::Path, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

use super::{assess, interpreters::Interpreters, process::Spawner};
use crate::model::Assessment;

/// The latest assessment; none before the first look.
pub(super) type Found = watch::Receiver<Option<Arc<Assessment>>>;

/// How one runner looks.
#[derive(Debug)]
pub(super) struct Looks {
    /// The file system's root; another one in tests.
    pub root: PathBuf,
    /// The runner's data directory.
    pub dir: PathBuf,
    pub spawner: Spawner,
    pub boot: u64,
    /// What the configuration declares.
    pub declared: Vec<String>,
    /// Between looks.
    pub every: Duration,
}

/// The task that looks; it ends with this.
#[derive(Debug)]
pub(super) struct Looking {
    pub found: Found,
    task: JoinHandle<()>,
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Looks {
    /// Begins to look. Must be called inside a runtime.
    pub(super) fn start(self) -> Looking {
        let (sender, found) = watch::channel(None);
        let task = tokio::spawn(self.run(sender));
        Looking { found, task }
    }

    async fn run(self, found: watch::Sender<Option<Arc<Assessment>>>) {
        let mut interpreters = Interpreters::default();
        let mut number = 0;
        loop {
            if let Some(mut seen) = self.look(&mut interpreters).await {
                let told = |last: &Arc<Assessment>| last.says_the_same(&seen);
                if !found.borrow().as_ref().is_some_and(told) {
                    number += 1;
                    seen.number = number;
                    tracing::info!(number, "looked at the container: {}", words(&seen));
                    found.send_replace(Some(Arc::new(seen)));
                }
            }
            sleep(self.every).await;
        }
    }

    /// `None` when the runtime is ending.
    async fn look(&self, interpreters: &mut Interpreters) -> Option<Assessment> {
        let (root, dir) = (self.root.clone(), self.dir.clone());
        let read = spawn_blocking(move || read(&root, &dir)).await.ok()?;
        let seen = Assessment {
            interpreters: interpreters.find(&self.spawner, &self.dir, self.boot).await,
            declared: self.declared.clone(),
            ..read
        };
        // A manager would cut the same, and complain.
        Some(seen.bounded().0)
    }
}

fn words(seen: &Assessment) -> String {
    let interpreters: Vec<_> = seen.interpreters.keys().map(String::as_str).collect();
    format!(
        "{} processors, {} MiB, {} GPUs, interpreters: {}",
        seen.cpus,
        seen.memory_bytes >> 20,
        seen.gpus.len(),
        interpreters.join(" ")
    )
}

/// What files say. Blocks.
fn read(root: &Path, dir: &Path) -> Assessment {
    let (disk_bytes, disk_free_bytes) = assess::disk(dir).unwrap_or_default();
    let kernel = fs::read_to_string(root.join("proc/sys/kernel/osrelease")).unwrap_or_default();
    let memory_bytes = assess::memory_of_machine(root).unwrap_or_default();
    Assessment {
        number: 0,
        kernel: kernel.trim().to_owned(),
        cpus: u32::try_from(assess::processors()).unwrap_or(u32::MAX),
        cpu_limit_millis: assess::cpu_limit(root),
        memory_bytes,
        // Where there is no limit, cgroup v1 has a number that is larger than any machine.
        memory_limit_bytes: assess::memory_limit(root).filter(|limit| *limit < memory_bytes),
        disk_bytes,
        disk_free_bytes,
        gpus: gpus(root),
        interpreters: Default::default(),
        declared: Vec::new(),
    }
}

/// The GPUs whose devices are here: `nvidia0: NVIDIA A100`, `renderD128: amdgpu`. What the kernel's driver
/// knows and has no device here can't be used, and does not count.
fn gpus(root: &Path) -> Vec<String> {
    let named = |dir: &str, prefix: &str| {
        let entries = fs::read_dir(root.join(dir)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let numbered = |name: &String| {
            let rest = name.strip_prefix(prefix).unwrap_or_default();
            !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit())
        };
        let mut names: Vec<_> = names.filter(numbered).collect();
        names.sort();
        names
    };
    let nvidia = named("dev", "nvidia").into_iter().map(|name| {
        let model = nvidia_model(root, name.trim_start_matches("nvidia"));
        model.map_or(name.clone(), |model| format!("{name}: {model}"))
    });
    let rendering = named("dev/dri", "renderD").into_iter().filter_map(|name| {
        let driver = fs::read_link(root.join("sys/class/drm").join(&name).join("device/driver")).ok();
        let driver = driver.and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
        match driver.as_deref() {
            // It is among the above.
            Some("nvidia") => None,
            Some(driver) => Some(format!("{name}: {driver}")),
            None => Some(name),
        }
    });
    nvidia.chain(rendering).collect()
}

/// What the driver calls the GPU with this device number.
fn nvidia_model(root: &Path, minor: &str) -> Option<String> {
    let gpus = fs::read_dir(root.join("proc/driver/nvidia/gpus")).ok()?;
    gpus.flatten().find_map(|gpu| {
        let text = fs::read_to_string(gpu.path().join("information")).ok()?;
        let field = |name: &str| {
            let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
            text.lines().find_map(value)
        };
        field("Model").filter(|_| field("Device Minor").as_deref() == Some(minor))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::assess::tests::root;

    #[test]
    fn gpus_are_the_devices_that_are_here() {
        let none = root(&[(
            "proc/driver/nvidia/gpus/0000:01:00.0/information",
            "Model: \t A100\nDevice Minor: \t 0\n",
        )]);
        assert_eq!(gpus(none.path()), Vec::<String>::new(), "a driver is no device");
        let some = root(&[
            (
                "proc/driver/nvidia/gpus/0000:01:00.0/information",
                "Model: \t\t NVIDIA A100\nDevice Minor: \t 1\n",
            ),
            ("dev/nvidia1", ""),
            ("dev/nvidia0", ""),
            ("dev/nvidiactl", ""),
            ("dev/nvidia-uvm", ""),
            ("dev/dri/renderD128", ""),
            ("dev/dri/renderD129", ""),
            ("dev/dri/card0", ""),
        ]);
        for (name, driver) in [("renderD128", "nvidia"), ("renderD129", "amdgpu")] {
            let device = some.path().join("sys/class/drm").join(name).join("device");
            fs::create_dir_all(&device).unwrap();
            std::os::unix::fs::symlink(format!("../../bus/drivers/{driver}"), device.join("driver")).unwrap();
        }
        assert_eq!(
            gpus(some.path()),
            ["nvidia0", "nvidia1: NVIDIA A100", "renderD129: amdgpu"]
        );
    }

    #[test]
    fn what_files_say_is_found_and_no_limit_is_none() {
        let meminfo = ("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n");
        let kernel = ("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n");
        let limited = root(&[
            meminfo,
            kernel,
            ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
            ("sys/fs/cgroup/memory.max", "8388608\n"),
        ]);
        let found = read(limited.path(), limited.path());
        assert_eq!(found.kernel, "6.1.0-13-amd64");
        assert_eq!(
            (found.cpu_limit_millis, found.memory_limit_bytes),
            (Some(500), Some(8 << 20))
        );
        assert_eq!((found.memory_bytes, found.gpus), (16 << 20, vec![]));
        assert!(found.cpus > 0 && found.disk_bytes >= found.disk_free_bytes && found.disk_free_bytes > 0);
        let free = root(&[
            meminfo,
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712",
            ),
        ]);
        let found = read(free.path(), free.path());
        assert_eq!((found.cpu_limit_millis, found.memory_limit_bytes), (None, None));
    }
}
