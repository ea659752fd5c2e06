//! Real runner processes.

use std::{
    fs::File,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::Cluster;

/// A `quorate runner`; it ends with this.
pub struct Runner {
    child: Child,
}

impl Drop for Runner {
    fn drop(&mut self) {
        // A stopped process is killed like any other.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Runner {
    /// Starts one that knows all managers of the cluster.
    pub fn start(cluster: &Cluster, name: &str) -> Self {
        let dir = cluster.dir.path();
        let managers: Vec<_> = (0..cluster.managers.len())
            .map(|at| format!("127.0.0.1:{}", cluster.session_port(at)))
            .collect();
        let log = File::create(dir.join(format!("{name}.log"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(["runner", "--name", name, "--managers", &managers.join(",")])
            .arg("--data-dir")
            .arg(dir.join(name))
            .arg("--join-token-file")
            .arg(cluster.bundle().join("join.token"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child }
    }

    /// Sends it a signal, such as SIGSTOP.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}
