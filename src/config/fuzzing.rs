//! Any text as a configuration file.

use std::io::Write;

use nix::sys::memfd::{MFdFlags, memfd_create};
use std::{fs::File, os::fd::AsRawFd};

use super::{ConfigError, Layered, ManagerConfig, RunnerConfig, Sources};

/// Reads a file as a manager and as a runner would.
///
/// # Panics
/// When something does not hold.
pub fn config_file(data: &[u8]) {
    tried::<ManagerConfig>(data);
    tried::<RunnerConfig>(data);
}

/// What loads can be printed, and what was printed loads and prints the same.
fn tried<T: Layered>(text: &[u8]) {
    match load::<T>(text) {
        Ok(config) => {
            let once = config.print().expect("what was loaded can be printed");
            // What is hidden when printed, a secret, may be refused.
            if let Ok(again) = load::<T>(once.as_bytes()) {
                assert_eq!(again.print().expect("printed once before"), once);
            }
        }
        // Whoever wrote the file must be told something, whatever is in it.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn load<T: Layered>(text: &[u8]) -> Result<T, ConfigError> {
    let file = memfd_create(c"config", MFdFlags::empty()).expect("a file in memory");
    let mut file = File::from(file);
    file.write_all(text).expect("memory");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Sources::default().file(Some(path)).load()
}

/// Inputs to begin with.
pub fn config_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        "name = \"m\"\n[api]\nlisten = \"127.0.0.1:1\"\n[raft]\nsnapshot_every = 10\nheartbeat = \"50ms\"\n",
        "[bootstrap]\nid = 1\n[[bootstrap.peers]]\nid = 1\napi = \"a:1\"\npeer = \"a:2\"\nsession = \"a:3\"\n",
        "[labels]\nzone = \"a\"\n[capacity]\nmemory = \"1GiB\"\n",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect::<Vec<_>>();
    seeds.extend(ManagerConfig::default().print().map(String::into_bytes));
    seeds.extend(RunnerConfig::default().print().map(String::into_bytes));
    seeds
}
