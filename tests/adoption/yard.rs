//! Managers that adopt, and containers of all kinds on the real engine.

use std::{
    cell::RefCell,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::unistd::Pid;
use quorate::{
    client::{
        Client,
        types::{ContainerView, EngineRequest},
    },
    dev::docker::{docker, missing},
    model::ContainerState,
};
use tempfile::TempDir;

use crate::support::{Cluster, PATIENCE};

pub const ENABLE: [&str; 2] = ["--label", "quorate.enable=true"];

/// Managers that adopt, watching this machine's engine, and what was made on it.
pub struct Yard {
    pub cluster: Cluster,
    pub managers: usize,
    pub client: Client,
    /// What this test's own containers have.
    pub label: String,
    pub work: TempDir,
    pub images: RefCell<Vec<String>>,
    pub containers: RefCell<Vec<String>>,
    pub volumes: RefCell<Vec<String>>,
}

impl Drop for Yard {
    fn drop(&mut self) {
        // What they are copying in would keep the engine from removing the container.
        (0..self.managers).for_each(|at| self.cluster.kill(at));
        let tell = |removed: io::Result<String>| {
            if let Err(error) = removed {
                eprintln!("{error}");
            }
        };
        for name in self.containers.borrow().iter() {
            tell(docker(&["rm", "--force", "--volumes", name]));
        }
        for name in self.volumes.borrow().iter() {
            tell(docker(&["volume", "rm", "--force", name]));
        }
        for name in self.images.borrow().iter() {
            tell(docker(&["rmi", "--force", name]));
        }
    }
}

/// The static binary; `None`, with the reason printed, where it or the engine is missing. In CI that fails.
pub fn program() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/static/quorate");
    let why = match missing() {
        None if built.exists() => return Some(built),
        None => "there is no static binary: run `make static`".to_owned(),
        Some(why) => why,
    };
    assert!(std::env::var_os("CI").is_none(), "nothing to test with: {why}");
    eprintln!("skipped: {why}");
    None
}

pub fn unique(what: &str) -> String {
    format!("quorate-adopt-{what}-{:08x}", rand::random::<u32>())
}

impl Yard {
    pub async fn new(managers: u64) -> Option<Self> {
        let program = program()?;
        // Other tests have containers on the same engine, and other managers.
        let label = format!("quorate.test={:016x}", rand::random::<u64>());
        let config = format!(
            "[adoption]\nenabled = true\nbinary = {program:?}\nselector = {label:?}\ngrace = \"1s\"\n"
        );
        let cluster = Cluster::start_with(managers, &config, &[]);
        cluster.serving().await;
        let client = cluster.client_of_all();
        Some(Self {
            cluster,
            managers: usize::try_from(managers).unwrap(),
            client,
            label,
            work: TempDir::new().unwrap(),
            images: RefCell::default(),
            containers: RefCell::default(),
            volumes: RefCell::default(),
        })
    }

    /// From now on this machine's engine is watched.
    pub async fn watch(&self) {
        self.client
            .add_engine(&EngineRequest {
                name: "local".parse().unwrap(),
                url: "unix:///var/run/docker.sock".parse().unwrap(),
            })
            .await
            .unwrap();
    }

    /// An image of one static program and nothing else.
    pub fn scratch(&self) -> String {
        let root = self.root();
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("install busybox-static");
        self.import(&root)
    }

    /// An image as small ones are: one program under many names, and users.
    pub fn small(&self) -> String {
        let root = self.root();
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("install busybox-static");
        for name in ["sh", "cat", "mkdir", "mv", "chmod", "sleep"] {
            std::os::unix::fs::symlink("/bin/busybox", root.join("bin").join(name)).unwrap();
        }
        let users = "root:x:0:0::/:/bin/sh\napp:x:1234:1234::/:/bin/sh\n";
        fs::write(root.join("etc/passwd"), users).unwrap();
        self.import(&root)
    }

    /// An image with this machine's own shell and C library.
    pub fn large(&self) -> String {
        let tag = unique("debian");
        let root = self.root();
        fs::create_dir_all(root.join("bin")).unwrap();
        for program in ["/bin/bash", "/bin/sleep"] {
            fs::copy(program, root.join(&program[1..])).unwrap();
            let told = Command::new("ldd").arg(program).output().unwrap();
            let told = String::from_utf8(told.stdout).unwrap();
            for library in told.split_whitespace().filter(|word| word.starts_with('/')) {
                let target = root.join(&library[1..]);
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::copy(library, target).unwrap();
            }
        }
        self.import_as(&root, &tag)
    }

    pub fn root(&self) -> PathBuf {
        let root = self.work.path().join(unique("root"));
        fs::create_dir_all(root.join("tmp")).unwrap();
        root
    }

    pub fn import(&self, root: &Path) -> String {
        self.import_as(root, &unique("image"))
    }

    pub fn import_as(&self, root: &Path, tag: &str) -> String {
        self.images.borrow_mut().push(tag.to_owned());
        piped(
            Command::new("tar").arg("-C").arg(root).args([
                "--numeric-owner",
                "--owner=0",
                "--group=0",
                "-c",
                ".",
            ]),
            Command::new("docker").args(["import", "-", tag]),
        );
        tag.to_owned()
    }

    /// Starts a container and gives its name. `args` come before the image, `command` after it.
    pub fn run(&self, args: &[&str], image: &str, command: &[&str]) -> String {
        let name = unique("box");
        self.containers.borrow_mut().push(name.clone());
        let mut all = vec!["run", "--detach", "--network", "host", "--name", &name];
        all.extend(ENABLE);
        all.extend(["--label", &self.label]);
        all.extend(args);
        all.push(image);
        all.extend(command);
        docker(&all).unwrap();
        name
    }

    pub async fn find(&self, name: &str) -> Option<ContainerView> {
        self.client.container(name).await.ok()
    }

    /// Waits until a container's record is as it should be.
    pub async fn until(&self, name: &str, what: &str, is: impl Fn(&ContainerView) -> bool) -> ContainerView {
        let mut seen = None;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            seen = self.find(name).await;
            if let Some(view) = seen.as_ref().filter(|view| is(view)) {
                return view.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let at = self.cluster.leader().await;
        panic!("{name} is never {what}: {seen:#?}\n{}", self.cluster.log(at));
    }

    pub async fn adopted(&self, name: &str) -> ContainerView {
        self.until(name, "adopted", |view| {
            view.adopted && view.state == ContainerState::Ready
        })
        .await
    }
}

pub fn piped(from: &mut Command, to: &mut Command) {
    let mut from = from.stdout(Stdio::piped()).spawn().unwrap();
    let to = to.stdin(from.stdout.take().unwrap()).output().unwrap();
    assert!(to.status.success(), "{}", String::from_utf8_lossy(&to.stderr));
    assert!(from.wait().unwrap().success());
}

/// The ids, on this machine, of a container's runners.
pub fn runners(name: &str) -> Vec<Pid> {
    runners_and_users(name).into_iter().map(|(pid, _)| pid).collect()
}

/// Whether anything of what is brought in runs.
pub fn brought(name: &str) -> bool {
    docker(&["top", name, "-eo", "pid,args"])
        .unwrap()
        .contains("/.quorate/quorate")
}

/// What a runner starts is none, though it may carry its name: `quorate runner-exec` asks interpreters for their versions,
/// and a child has its parent's command line until it has its own. Neither is one that is only tried out.
fn runners_and_users(name: &str) -> Vec<(Pid, u32)> {
    let told = docker(&["top", name, "-eo", "pid,ppid,uid,args"]).unwrap();
    let all: Vec<_> = told
        .lines()
        .filter(|line| line.contains("/.quorate/quorate runner ") && !line.contains("--print-config"))
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut number = || words.next().unwrap().parse::<u32>().unwrap();
            [number(), number(), number()]
        })
        .collect();
    let started = |parent: u32| all.iter().any(|[pid, ..]| *pid == parent);
    all.iter()
        .filter(|[_, parent, _]| !started(*parent))
        .map(|[pid, _, user]| (Pid::from_raw(pid.cast_signed()), *user))
        .collect()
}

/// The one runner of a container, and the user it runs as.
pub fn only_runner_and_user(name: &str) -> (Pid, u32) {
    let all = runners_and_users(name);
    assert_eq!(all.len(), 1, "{}", docker(&["top", name]).unwrap());
    all[0]
}

pub fn only_runner(name: &str) -> Pid {
    only_runner_and_user(name).0
}

pub const SLEEP: [&str; 3] = ["/bin/busybox", "sleep", "1000"];
