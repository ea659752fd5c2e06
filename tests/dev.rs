//! `quorate dev` and `quorate demo`, as people and scripts use them.

#[path = "support/ports.rs"]
mod ports;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use quorate::dev::docker;
use tempfile::TempDir;

use ports::Ports;

const QUORATE: &str = env!("CARGO_BIN_EXE_quorate");

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A `quorate dev` and what it printed when it was ready.
struct Dev {
    child: Child,
    dir: PathBuf,
    ready: String,
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Its children end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Dev {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let mut child = dev(dir, args).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut ready).unwrap();
        let dir = dir.to_owned();
        Self { child, dir, ready }
    }

    fn pid(&self, name: &str) -> Option<i32> {
        let text = fs::read_to_string(self.dir.join(format!("{name}.pid"))).ok()?;
        Some(text.trim().parse().unwrap())
    }

    fn pids(&self) -> Vec<i32> {
        let names = ["manager-1", "manager-2", "manager-3", "runner-1"];
        names.map(|name| self.pid(name).unwrap()).to_vec()
    }

    /// The exit code after SIGTERM.
    fn stop(mut self) -> Option<i32> {
        signal(i32::try_from(self.child.id()).unwrap(), Signal::SIGTERM);
        self.child.wait().unwrap().code()
    }

    /// What a noun of the command line prints.
    fn ask(&self, args: &[&str]) -> String {
        self.try_ask(args)
            .unwrap_or_else(|output| panic!("{args:?}: {output:?}"))
    }

    fn try_ask(&self, args: &[&str]) -> Result<String, Output> {
        let mut command = Command::new(QUORATE);
        let output = command.arg("--dir").arg(&self.dir).args(args).output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(output)
        }
    }
}

fn dev(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(QUORATE);
    command
        .args(["dev", "--runners", "1", "--data"])
        .arg(dir)
        .args(args);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// The exit code and the words of a `quorate dev` that is to refuse.
fn refused(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut child = dev(dir, args).stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(20));
    }
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn lives(pid: i32) -> bool {
    // One that nobody has waited for yet is dead all the same.
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status
        .rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Room for the ports of three managers: the first one's API is at the first.
fn free_ports() -> Ports {
    Ports::take(23)
}

#[test]
fn a_cluster_serves_goes_on_and_ends_whole() {
    let dir = TempDir::new().unwrap();
    let place = dir.path().join("place");
    let ports = free_ports();
    let port = ports.first;
    let text = port.to_string();
    let dev = Dev::start(&place, &["--port", &text]);
    let urls = [port, port + 10, port + 20].map(|port| format!("https://127.0.0.1:{port}"));
    assert_eq!(dev.ready, format!("ready {}\n", urls.join(" ")));
    assert_eq!(
        fs::read_to_string(place.join("endpoints")).unwrap(),
        urls.join("\n") + "\n"
    );
    let mode = fs::metadata(place.join("admin.token"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    dev.ask(&["config", "put", "kept", "--value", "yes"]);

    let (code, words) = refused(&place, &[]);
    assert!(
        code == Some(1) && words.contains("another `quorate dev` runs on"),
        "{words}"
    );

    let before = dev.pid("manager-1").unwrap();
    signal(before, Signal::SIGKILL);
    until("manager-1 to be started again", || {
        dev.pid("manager-1").is_some_and(|pid| pid != before)
    });
    until("all to be well again", || {
        dev.try_ask(&["cluster", "health"]).is_ok()
    });

    let pids = dev.pids();
    assert_eq!(dev.stop(), Some(0));
    assert!(pids.iter().all(|pid| !lives(*pid)), "a child outlived it");

    let (code, words) = refused(&place, &["--managers", "1"]);
    assert!(
        code == Some(2) && words.contains("was made with --managers 3"),
        "{words}"
    );

    let mut dev = Dev::start(&place, &[]);
    assert_eq!(dev.ask(&["config", "get", "kept"]), "yes");
    let pids = dev.pids();
    dev.child.kill().unwrap();
    dev.child.wait().unwrap();
    until("the children to end with it", || {
        pids.iter().all(|pid| !lives(*pid))
    });
}

#[test]
fn a_taken_port_is_named() {
    let dir = TempDir::new().unwrap();
    let ports = free_ports();
    let port = ports.first;
    let _taken = TcpListener::bind(("127.0.0.1", port + 11)).unwrap();
    let (code, words) = refused(dir.path(), &["--port", &port.to_string()]);
    let named = format!(
        "port {}, for the other managers of manager 2, is taken",
        port + 11
    );
    assert!(code == Some(1) && words.contains(&named), "{words}");
    // The directory is not bound to ports that it never had.
    assert!(!dir.path().join("dev.toml").exists());
}

/// What a demonstration said, and its process id.
fn demo(args: &[&str]) -> (String, u32) {
    let ports = free_ports();
    let port = ports.first.to_string();
    let mut child = Command::new(QUORATE)
        .args(["demo", "--once", "--port", &port])
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut words = String::new();
    child.stdout.take().unwrap().read_to_string(&mut words).unwrap();
    assert!(child.wait().unwrap().success(), "{words}");
    (words, child.id())
}

#[test]
fn the_demonstration_works_with_processes() {
    let (words, _) = demo(&["--no-docker"]);
    assert!(
        words.contains("No Docker Engine is used") && words.contains("All steps were seen"),
        "{words}"
    );
}

#[test]
fn the_demonstration_works_with_containers_and_leaves_none() {
    if let Some(why) = docker::missing() {
        assert!(std::env::var_os("CI").is_none(), "no engine to test with: {why}");
        eprintln!("skipped: no engine to test with: {why}");
        return;
    }
    let (words, pid) = demo(&[]);
    assert!(
        words.contains("(docker kill)") && words.contains("All steps were seen"),
        "{words}"
    );
    let containers = format!("label=quorate.demo={pid}");
    let left = docker::docker(&["ps", "--all", "--quiet", "--filter", &containers]);
    assert_eq!(left.unwrap(), "", "a container was left over");
    let image = docker::docker(&["images", "--quiet", &format!("quorate-demo:{pid}")]);
    assert_eq!(image.unwrap(), "", "the image was left over");
}
