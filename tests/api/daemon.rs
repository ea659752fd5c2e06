//! A second Docker Engine, a real one, started for a test: over TCP or TLS, killed and started again.

use std::{
    fs::{self, File},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{docker::docker_at, ports::Ports, proxy::Papers};

const PORT: u16 = 2376;

/// How long it may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// An engine with a directory and a network of its own: an engine makes itself at home wherever it starts, and takes
/// the bridge of another one away.
pub struct Daemon {
    dir: TempDir,
    host: Host,
    tls: bool,
    engine: Child,
    // Apart from the engine, as on most machines: what it runs for the engine outlives that.
    containerd: Child,
}

impl Daemon {
    /// `None`, with the reason printed, where none can be started; in CI that is a failure.
    pub fn start(papers: Option<&Papers>) -> Option<Self> {
        match Self::try_start(papers) {
            Ok(daemon) => Some(daemon),
            Err(why) if std::env::var_os("CI").is_some() => panic!("no second engine to test with: {why}"),
            Err(why) => {
                eprintln!("skipped: no second engine to test with: {why}");
                None
            }
        }
    }

    fn try_start(papers: Option<&Papers>) -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("only root starts one".into());
        }
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let host = Host::make()?;
        // Containers outlive their engine; nothing of the machine's own engine is read.
        fs::write(dir.path().join("daemon.json"), r#"{"live-restore": true}"#).map_err(|e| e.to_string())?;
        if let Some(papers) = papers {
            papers.put_server(&dir.path().join("tls"), &host.there());
        }
        let tls = papers.is_some();
        let containerd = spawn_containerd(&dir)?;
        let engine = spawn_engine(&dir, &host, tls).inspect_err(|_| end(&containerd))?;
        let daemon = Self {
            dir,
            host,
            tls,
            engine,
            containerd,
        };
        daemon.until_up()?;
        Ok(daemon)
    }

    /// As a manager is told of it.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "tls" } else { "tcp" };
        format!("{scheme}://{}:{PORT}", self.host.there())
    }

    /// As the docker command reaches it, without TLS.
    pub fn socket(&self) -> String {
        format!("unix://{}", self.dir.path().join("docker.sock").display())
    }

    /// SIGKILL; its containers go on.
    pub fn kill(&mut self) {
        self.engine.kill().unwrap();
        self.engine.wait().unwrap();
    }

    pub fn restart(&mut self) {
        let _ = fs::remove_file(self.dir.path().join("docker.pid"));
        self.engine = spawn_engine(&self.dir, &self.host, self.tls).unwrap();
        self.until_up().unwrap();
    }

    fn until_up(&self) -> Result<(), String> {
        let began = Instant::now();
        loop {
            match docker_at(&self.socket(), &["version", "--format", "{{.Server.Version}}"]) {
                Ok(_) => return Ok(()),
                Err(why) if began.elapsed() > PATIENCE => {
                    let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                    return Err(format!("{why}\n{log}"));
                }
                Err(_) => sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// A network namespace, joined to this one by a cable.
struct Host {
    name: String,
    // Holds the number that name and addresses are made of.
    ports: Ports,
}

impl Host {
    fn make() -> Result<Self, String> {
        let ports = Ports::take(1);
        let name = format!("qt{}", ports.first);
        let host = Self { name, ports };
        let (name, near, far) = (host.name.as_str(), host.cable(), "eth0");
        // Left over from a run that was killed: whoever has the number has the name.
        let _ = ip(&["link", "del", &near]);
        let _ = ip(&["netns", "del", name]);
        ip(&["netns", "add", name])?;
        ip(&[
            "link", "add", &near, "type", "veth", "peer", "name", far, "netns", name,
        ])?;
        ip(&["addr", "add", &format!("{}/30", host.address(1)), "dev", &near])?;
        ip(&["link", "set", &near, "up"])?;
        ip(&[
            "-n",
            name,
            "addr",
            "add",
            &format!("{}/30", host.there()),
            "dev",
            far,
        ])?;
        ip(&["-n", name, "link", "set", far, "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        Ok(host)
    }

    fn cable(&self) -> String {
        format!("{}a", self.name)
    }

    /// The address of the other side.
    fn there(&self) -> String {
        self.address(2)
    }

    fn address(&self, host: u16) -> String {
        let number = self.ports.first % 16_384 * 4 + host;
        format!("10.93.{}.{}", number >> 8, number & 255)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for gone in [["link", "del", &self.cable()], ["netns", "del", &self.name]] {
            if let Err(why) = ip(&gone) {
                eprintln!("{gone:?}: {why}");
            }
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output();
    let output = output.map_err(|e| format!("ip: {e}"))?;
    let why = String::from_utf8_lossy(&output.stderr);
    let succeeded = output.status.success().then_some(());
    succeeded.ok_or_else(|| format!("ip {}: {}", args.join(" "), why.trim()))
}

/// Starts a program with these arguments, which writes into the log.
fn spawn(dir: &TempDir, mut command: Command) -> Result<Child, String> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.path().join("log"));
    let both = log.and_then(|log| Ok((log.try_clone()?, log)));
    let (out, err) = both.map_err(|e| e.to_string())?;
    let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
    child.map_err(|e| format!("{}: {e}", command.get_program().display()))
}

fn spawn_containerd(dir: &TempDir) -> Result<Child, String> {
    let config = r#"version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
"#;
    let file = dir.path().join("containerd.toml");
    fs::write(&file, config).map_err(|e| e.to_string())?;
    let mut command = Command::new("containerd");
    command.arg("--config").arg(file);
    for (option, name) in [
        ("--root", "containerd"),
        ("--state", "containerd-state"),
        ("--address", "containerd.sock"),
    ] {
        command.arg(option).arg(dir.path().join(name));
    }
    spawn(dir, command)
}

fn spawn_engine(dir: &TempDir, host: &Host, tls: bool) -> Result<Child, String> {
    let at = |name: &str| dir.path().join(name);
    // `ip netns exec` would hide the control groups from it.
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{}", host.name))
        .arg("dockerd");
    for (option, name) in [
        ("--config-file", "daemon.json"),
        ("--data-root", "data"),
        ("--exec-root", "exec"),
        ("--pidfile", "docker.pid"),
        ("--containerd", "containerd.sock"),
    ] {
        command.arg(option).arg(at(name));
    }
    command
        .args([
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--storage-driver=vfs",
        ])
        .arg(format!("--host=unix://{}", at("docker.sock").display()))
        .arg(format!("--host=tcp://{}:{PORT}", host.there()));
    if tls {
        command.arg("--tlsverify");
        for (option, name) in [
            ("--tlscacert", "ca.pem"),
            ("--tlscert", "cert.pem"),
            ("--tlskey", "key.pem"),
        ] {
            command.arg(option).arg(at("tls").join(name));
        }
    } else {
        command.arg("--tls=false");
    }
    spawn(dir, command)
}

/// SIGTERM.
fn end(child: &Child) {
    let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
}

impl Drop for Daemon {
    fn drop(&mut self) {
        end(&self.engine);
        let began = Instant::now();
        while matches!(self.engine.try_wait(), Ok(None)) && began.elapsed() < PATIENCE {
            sleep(Duration::from_millis(20));
        }
        // Nothing runs in it any more that it would have to end.
        for child in [&mut self.engine, &mut self.containerd] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
