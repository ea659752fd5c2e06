//! A disk that forgets what was not synced, fills up, slows down and fails.
//!
//! It is a file system of our own, mounted where a manager keeps its data, held in memory by the harness. [`Disk::cut`]
//! is a power cut: the manager is killed and everything it had not synced is gone, at one moment.

mod image;
#[cfg(test)]
mod image_tests;
mod mount;
mod node;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use fuser::{BackgroundSession, Config, Errno, MountOption};
use rand::rngs::StdRng;
use serde::Serialize;

pub use self::image::Dropped;
use self::image::{Image, PAGE, Refusal};
use self::mount::Mounted;
use crate::cluster::ledger::{Ledger, Made};

/// Pages of a disk that is not to fill up: 16 GiB, which no run gets near.
const AMPLE: u64 = (16 << 30) / PAGE as u64;

/// What the disk did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub syncs: u64,
    pub slow_syncs: u64,
    pub failed_syncs: u64,
    /// For want of space.
    pub refused_writes: u64,
}

/// What becomes of a sync.
enum Fate {
    Now { fails: bool },
    After { delay: Duration },
}

#[derive(Debug, Default)]
struct Faults {
    /// The machine has no power: nothing answers.
    dark: bool,
    sync_delay: Duration,
    /// So many syncs fail from now on.
    failing_syncs: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Inner {
    image: Image,
    faults: Faults,
}

/// What the handle and the mount share.
#[derive(Debug)]
struct Shared(Mutex<Inner>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each operation of the image checks before it changes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation, unless there is no power.
    fn with<T>(
        &self,
        operation: impl FnOnce(&mut Image) -> std::result::Result<T, Refusal>,
    ) -> std::result::Result<T, Errno> {
        let mut inner = self.lock();
        if inner.faults.dark {
            return Err(Errno::EIO);
        }
        operation(&mut inner.image).map_err(Errno::from)
    }

    /// What has to happen whether there is power or not.
    fn always(&self, operation: impl FnOnce(&mut Image)) {
        operation(&mut self.lock().image);
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.lock().faults.counts);
    }

    fn fate(&self) -> Fate {
        let faults = &mut self.lock().faults;
        faults.counts.syncs += 1;
        if faults.failing_syncs > 0 {
            faults.failing_syncs -= 1;
            faults.counts.failed_syncs += 1;
            return Fate::Now { fails: true };
        }
        if faults.sync_delay.is_zero() {
            return Fate::Now { fails: false };
        }
        faults.counts.slow_syncs += 1;
        Fate::After {
            delay: faults.sync_delay,
        }
    }

    fn finish_sync(&self, number: u64, fails: bool) -> std::result::Result<(), Errno> {
        if fails {
            self.always(|image| image.fail_sync(number));
            return Err(Errno::EIO);
        }
        self.with(|image| image.sync(number))
    }
}

/// A mounted disk. Unmounted when dropped.
pub struct Disk {
    shared: Arc<Shared>,
    at: PathBuf,
    ledger: Arc<Ledger>,
    session: Option<BackgroundSession>,
}

impl Disk {
    /// Mounts an empty disk at `at`, a directory.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn mount(at: &Path, ledger: &Arc<Ledger>) -> Result<Self> {
        let at = at
            .canonicalize()
            .with_context(|| format!("{} is not there", at.display()))?;
        let shared = Arc::new(Shared(Mutex::new(Inner {
            image: Image::new(AMPLE),
            faults: Faults::default(),
        })));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("jepsen".into()), MountOption::NoAtime];
        config.n_threads = Some(2);
        ledger.note(Made::Mount(at.clone()))?;
        let session = fuser::spawn_mount(Mounted(Arc::clone(&shared)), &at, &config)
            .with_context(|| format!("no file system of our own can be mounted at {}", at.display()))?;
        Ok(Self {
            shared,
            at,
            ledger: Arc::clone(ledger),
            session: Some(session),
        })
    }

    /// Whether this machine lets us mount one; why not, if not.
    ///
    /// # Errors
    /// It does not.
    pub fn permitted() -> Result<()> {
        let at = std::env::temp_dir().join(format!("quorate-jepsen-disk-{}", std::process::id()));
        std::fs::create_dir_all(&at).with_context(|| format!("{} cannot be made", at.display()))?;
        let tried = Ledger::open()
            .and_then(|ledger| Self::mount(&at, &Arc::new(ledger)))
            .and_then(|_disk| std::fs::write(at.join("tried"), "x").context("nothing can be written to it"));
        let _ = std::fs::remove_dir(&at);
        tried
    }

    /// Cuts the power, unless less than `least` is unsynced at this moment; gives what was dropped. `kill` sends the
    /// manager its end, while no operation can come in between; from then on nothing answers until
    /// [`Self::power_on`]. For `survives` see [`Image::cut`].
    ///
    /// # Errors
    /// `kill` fails; then nothing was cut.
    pub fn cut(
        &self,
        least: u64,
        kill: impl FnOnce() -> Result<()>,
        survives: f64,
        chance: &mut StdRng,
    ) -> Result<Option<Dropped>> {
        let mut inner = self.shared.lock();
        if inner.image.unsynced() < least {
            return Ok(None);
        }
        kill()?;
        inner.faults.dark = true;
        Ok(Some(inner.image.cut(survives, chance)))
    }

    /// The machine has power again.
    pub fn power_on(&self) {
        self.shared.lock().faults.dark = false;
    }

    /// How much a cut would drop now: pages, lengths and directory entries.
    pub fn unsynced(&self) -> u64 {
        self.shared.lock().image.unsynced()
    }

    /// Leaves room for so many bytes more.
    pub fn fill_up(&self, room: u64) {
        let image = &mut self.shared.lock().image;
        image.capacity = image.used() + room / PAGE as u64;
    }

    /// Every sync takes so much longer.
    pub fn slow_down(&self, delay: Duration) {
        self.shared.lock().faults.sync_delay = delay;
    }

    /// The next so many syncs fail.
    pub fn fail_syncs(&self, syncs: u64) {
        self.shared.lock().faults.failing_syncs = syncs;
    }

    /// All faults are over.
    pub fn mend(&self) {
        let mut inner = self.shared.lock();
        inner.image.capacity = AMPLE;
        let counts = inner.faults.counts;
        inner.faults = Faults {
            counts,
            ..Faults::default()
        };
    }

    /// What it did so far.
    pub fn counts(&self) -> Counts {
        self.shared.lock().faults.counts
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Detached, so that a file still open somewhere holds nobody up.
        self.ledger.undo(&Made::Mount(self.at.clone()));
        drop(self.session.take());
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{Read, Write};
    use std::os::unix::fs::FileExt;

    use rand::SeedableRng;

    use super::*;

    fn mounted() -> Option<(tempfile::TempDir, Disk)> {
        if !nix::unistd::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
            eprintln!("skipped: only root mounts, and /dev/fuse is needed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::mount(dir.path(), &Arc::new(Ledger::open().unwrap())).unwrap();
        Some((dir, disk))
    }

    fn cut(disk: &Disk) -> Dropped {
        let dropped = disk.cut(0, || Ok(()), 0.0, &mut StdRng::seed_from_u64(1));
        disk.power_on();
        dropped.unwrap().unwrap()
    }

    #[test]
    fn a_program_finds_what_it_synced_after_a_cut() {
        let Some((dir, disk)) = mounted() else { return };
        let path = dir.path().join("a");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"kept").unwrap();
        file.sync_data().unwrap();
        File::open(dir.path()).unwrap().sync_all().unwrap();
        file.write_at(b"lost", 0).unwrap();
        fs::write(dir.path().join("b"), b"lost too").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"lost");
        assert!(disk.unsynced() > 0);
        let dropped = cut(&disk);
        assert_eq!((dropped.pages, dropped.entries), (2, 1));
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        assert!(!dir.path().join("b").exists());
    }

    #[test]
    fn a_full_slow_or_failing_disk_is_one() {
        let Some((dir, disk)) = mounted() else { return };
        let path = dir.path().join("a");
        let mut file = File::create(&path).unwrap();
        disk.fill_up(8 << 10);
        let refused = file.write_all(&[1; 64 << 10]).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
        disk.mend();
        file.write_all(&[1; 64 << 10]).unwrap();
        disk.slow_down(Duration::from_millis(100));
        let begin = std::time::Instant::now();
        file.sync_data().unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(100));
        disk.mend();
        disk.fail_syncs(1);
        file.write_all(b"x").unwrap();
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        let counts = disk.counts();
        assert_eq!((counts.slow_syncs, counts.failed_syncs), (1, 1));
        assert!(counts.refused_writes > 0);
    }

    #[test]
    fn directories_list_and_rename_as_usual() {
        let Some((dir, _disk)) = mounted() else { return };
        let sub = dir.path().join("sub");
        fs::create_dir(&sub).unwrap();
        for number in 0..500 {
            fs::write(sub.join(format!("f{number}")), [7; 10]).unwrap();
        }
        assert_eq!(fs::read_dir(&sub).unwrap().count(), 500);
        fs::rename(sub.join("f0"), dir.path().join("moved")).unwrap();
        let mut text = Vec::new();
        File::open(dir.path().join("moved"))
            .unwrap()
            .read_to_end(&mut text)
            .unwrap();
        assert_eq!(text, [7; 10]);
        assert!(fs::remove_dir(&sub).is_err());
        fs::remove_dir_all(&sub).unwrap();
        assert!(!sub.exists());
    }
}
