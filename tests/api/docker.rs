//! The real engine of this machine, and what a test makes on it; all gone when dropped, panic or not.

use std::{
    cell::RefCell,
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    process::{Command, Stdio},
};

pub const SOCKET: &str = "/var/run/docker.sock";

pub fn docker(args: &[&str]) -> Result<String, String> {
    docker_at(&format!("unix://{SOCKET}"), args)
}

/// What the docker command says of the engine at `host`.
pub fn docker_at(host: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new("docker")
        .args(["--host", host])
        .args(args)
        .output()
        .map_err(|e| e.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// An image with a shell in it, and what was made on the engine.
pub struct Yard {
    host: String,
    image: String,
    made: RefCell<Vec<String>>,
    networks: RefCell<Vec<String>>,
}

impl Yard {
    /// `None`, with the reason printed, where no engine answers; in CI that is a failure.
    pub fn new() -> Option<Self> {
        Self::at(format!("unix://{SOCKET}"))
    }

    /// On the engine at `host`.
    pub fn at(host: String) -> Option<Self> {
        let image = fresh("quorate-test");
        match import(&host, &image) {
            Ok(()) => Some(Self {
                host,
                image,
                made: RefCell::default(),
                networks: RefCell::default(),
            }),
            Err(why) if std::env::var_os("CI").is_some() => panic!("no engine to test with: {why}"),
            Err(why) => {
                eprintln!("skipped: no engine to test with: {why}");
                None
            }
        }
    }

    /// Starts a labelled container with these options, and returns its name and the engine's id of it.
    pub fn run(&self, options: &[&str]) -> (String, String) {
        let name = fresh("quorate-test");
        let mut args = vec!["run", "-d", "--name", &name, "--label", "quorate.enable=true"];
        args.extend(options);
        args.extend([self.image.as_str(), "/bin/sleep", "1000"]);
        self.made.borrow_mut().push(name.clone());
        let id = self.docker(&args).unwrap();
        (name, id)
    }

    pub fn docker(&self, args: &[&str]) -> Result<String, String> {
        docker_at(&self.host, args)
    }

    /// A name for a network, which is removed at the end if it is there.
    pub fn network(&self) -> String {
        let name = fresh("quorate-net");
        self.networks.borrow_mut().push(name.clone());
        name
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        for name in self.made.borrow().iter() {
            let _ = self.docker(&["rm", "-f", name]);
        }
        for name in self.networks.borrow().iter() {
            let _ = self.docker(&["network", "rm", name]);
        }
        if let Err(error) = self.docker(&["rmi", "-f", &self.image]) {
            eprintln!("the image {} stays: {error}", self.image);
        }
    }
}

fn fresh(kind: &str) -> String {
    format!("{kind}-{:016x}", rand::random::<u64>())
}

fn import(host: &str, image: &str) -> Result<(), String> {
    docker_at(host, &["version", "--format", "{{.Server.Version}}"])?;
    let root = tempfile::tempdir().map_err(|e| e.to_string())?;
    let bin = root.path().join("bin");
    fs::create_dir(&bin).map_err(|e| e.to_string())?;
    fs::copy("/bin/busybox", bin.join("busybox"))
        .map_err(|e| format!("there is no static /bin/busybox: install busybox-static: {e}"))?;
    for applet in [
        "sh", "sleep", "test", "touch", "rm", "mkdir", "cat", "chmod", "mv",
    ] {
        symlink("busybox", bin.join(applet)).map_err(|e| e.to_string())?;
    }
    let tar = Command::new("tar")
        .arg("-C")
        .arg(root.path())
        .args(["-c", "bin"])
        .output()
        .map_err(|e| format!("tar: {e}"))?;
    let mut import = Command::new("docker")
        .args(["--host", host, "import", "-", image])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    let mut input = import.stdin.take().ok_or("no standard input")?;
    input.write_all(&tar.stdout).map_err(|e| e.to_string())?;
    drop(input);
    let status = import.wait().map_err(|e| e.to_string())?;
    status
        .success()
        .then_some(())
        .ok_or("docker import failed".into())
}
