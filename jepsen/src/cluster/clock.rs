//! A manager's wall clock, through libfaketime; the monotonic one is left alone, as it is on a real machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// Where Debian and its kin put the library; the variant for programs with threads.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// A clock that can be set.
#[derive(Debug)]
pub struct Clock {
    library: &'static str,
    file: PathBuf,
}

impl Clock {
    /// A clock that is right, kept in `dir`.
    ///
    /// # Errors
    /// The library is not installed, or the file cannot be written.
    pub fn make(dir: &Path) -> Result<Self> {
        let clock = Self {
            library: Self::library()?,
            file: dir.join("clock"),
        };
        clock.set(0.0)?;
        Ok(clock)
    }

    /// The library, which clocks need.
    ///
    /// # Errors
    /// It is not installed.
    pub fn library() -> Result<&'static str> {
        LIBRARIES
            .into_iter()
            .find(|path| Path::new(path).exists())
            .context("libfaketime is not installed (Debian: `apt install libfaketime`)")
    }

    /// Sets it so many seconds off.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, seconds: f64) -> Result<()> {
        // Renamed into place: the manager reads it at any moment.
        let fresh = self.file.with_extension("fresh");
        fs::write(&fresh, format!("{seconds:+.3}"))
            .and_then(|()| fs::rename(&fresh, &self.file))
            .with_context(|| format!("{} cannot be written", self.file.display()))
    }

    /// How far off this clock shows itself to be, to a program that was started like the manager.
    ///
    /// # Errors
    /// No such program runs, or the manager with this process id was started without the library.
    pub async fn probe(&self, manager: i32) -> Result<f64> {
        let maps = fs::read_to_string(format!("/proc/{manager}/maps")).context("the manager is gone")?;
        ensure!(
            maps.contains(self.library),
            "the manager runs without {}",
            self.library
        );
        let mut date = Command::new("date");
        let output = date
            .arg("+%s")
            .envs(self.environment())
            .output()
            .await
            .context("date does not run")?;
        let shown: f64 = String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .context("date shows no time")?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock is before 1970")?;
        Ok((shown - now.as_secs_f64()).round())
    }

    /// What a manager needs in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        let file = self.file.display().to_string();
        [
            ("LD_PRELOAD", self.library.to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            // The file is looked at again at most this often, in seconds.
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
