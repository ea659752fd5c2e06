//! A cluster of real manager processes on loopback, for tests to hurt.

#![allow(dead_code)] // each test binary uses its part

mod ports;

pub mod load;
pub mod runner;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{sys::signal::Signal, unistd::Pid};
use quorate::{
    client::Client,
    security::{Bundle, install_crypto},
};
use tempfile::TempDir;

use self::ports::Ports;

/// How long anything that must happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a client tries that tries for a while.
const TRIES: Duration = Duration::from_secs(20);

/// After the faults end a cluster is whole again within this, however busy the machine is.
pub const RECOVERY: Duration = Duration::from_secs(10);

/// Three manager processes, or however many were asked for.
pub struct Cluster {
    pub dir: TempDir,
    managers: Vec<Manager>,
    _ports: Ports,
}

struct Manager {
    id: u64,
    port: u16,
    dir: PathBuf,
    child: Option<Child>,
    /// What its next start finds in the environment.
    env: Vec<(&'static str, String)>,
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Manager {
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn start(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(["manager", "--config"])
            .arg(self.dir.join("manager.toml"))
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }
}

impl Cluster {
    /// Starts managers that form a cluster, and waits until each of them serves.
    pub async fn start(count: u64) -> Self {
        let cluster = Self::start_with(count, "", &[]);
        cluster.serving().await;
        cluster
    }

    /// Starts managers with these lines in their configuration and these variables in their environment.
    pub fn start_with(count: u64, config: &str, env: &[(&'static str, &str)]) -> Self {
        install_crypto();
        let dir = TempDir::new().unwrap();
        Bundle::create(&dir.path().join("bundle")).unwrap();
        let ports = Ports::take(3 * u16::try_from(count).unwrap());
        let managers: Vec<_> = (1..=count)
            .zip((ports.first..).step_by(3))
            .map(|(id, port)| Manager {
                id,
                port,
                dir: dir.path().join(format!("manager-{id}")),
                child: None,
                env: env
                    .iter()
                    .map(|(name, value)| (*name, (*value).to_owned()))
                    .collect(),
            })
            .collect();
        let mut cluster = Self {
            dir,
            managers,
            _ports: ports,
        };
        for at in 0..cluster.managers.len() {
            cluster.write_config(at, config);
            cluster.managers[at].start();
        }
        cluster
    }

    fn write_config(&self, at: usize, more: &str) {
        let Manager { id, port, dir, .. } = &self.managers[at];
        fs::create_dir_all(dir).unwrap();
        let mut config = format!(
            "data_dir = {:?}\nname = \"manager-{id}\"\n[api]\nlisten = \"127.0.0.1:{}\"\n[peers]\nlisten = \"127.0.0.1:{}\"\n[sessions]\nlisten = \"127.0.0.1:{}\"\n[bootstrap]\ndir = {:?}\nid = {id}\n",
            dir.join("data"),
            port,
            port + 1,
            port + 2,
            self.dir.path().join("bundle"),
        );
        for Manager { id, port, .. } in &self.managers {
            config += &format!(
                "[[bootstrap.peers]]\nid = {id}\napi = \"127.0.0.1:{}\"\npeer = \"127.0.0.1:{}\"\nsession = \"127.0.0.1:{}\"\n",
                port,
                port + 1,
                port + 2
            );
        }
        config += more;
        fs::write(dir.join("manager.toml"), config).unwrap();
    }

    /// A client of one manager only.
    pub fn client(&self, at: usize) -> Client {
        self.build(&[at], Duration::ZERO)
    }

    /// A client of one manager only, which tries for a while.
    pub fn patient_client(&self, at: usize) -> Client {
        self.build(&[at], TRIES)
    }

    /// A client of all managers, which tries for a while.
    pub fn client_of_all(&self) -> Client {
        self.client_from(0)
    }

    /// As [`Self::client_of_all`], but it asks this one first.
    pub fn client_from(&self, first: usize) -> Client {
        let count = self.managers.len();
        let order: Vec<_> = (first..first + count).map(|at| at % count).collect();
        self.build(&order, TRIES)
    }

    fn build(&self, at: &[usize], retry: Duration) -> Client {
        Client::builder()
            .endpoints(
                at.iter()
                    .map(|at| format!("https://127.0.0.1:{}", self.managers[*at].port)),
            )
            .token(fs::read_to_string(self.bundle().join("admin.token")).unwrap())
            .ca_pem(fs::read_to_string(self.bundle().join("ca.pem")).unwrap())
            .retry_for(retry)
            .build()
            .unwrap()
    }

    pub fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    pub fn session_port(&self, at: usize) -> u16 {
        self.managers[at].port + 2
    }

    pub fn peer_port(&self, at: usize) -> u16 {
        self.managers[at].port + 1
    }

    pub fn api_port(&self, at: usize) -> u16 {
        self.managers[at].port
    }

    pub fn data_dir(&self, at: usize) -> PathBuf {
        self.managers[at].dir.join("data")
    }

    pub fn log(&self, at: usize) -> String {
        fs::read_to_string(self.managers[at].dir.join("log")).unwrap_or_default()
    }

    /// Kills a manager with SIGKILL.
    pub fn kill(&mut self, at: usize) {
        self.managers[at].kill();
    }

    pub fn restart(&mut self, at: usize) {
        self.managers[at].start();
    }

    /// Sets or takes away what the next start of a manager finds in its environment.
    pub fn set_env(&mut self, at: usize, name: &'static str, value: Option<&str>) {
        let env = &mut self.managers[at].env;
        env.retain(|(known, _)| *known != name);
        env.extend(value.map(|value| (name, value.to_owned())));
    }

    /// Sends a manager a signal, such as SIGSTOP.
    pub fn signal(&self, at: usize, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid(at)).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub fn pid(&self, at: usize) -> u32 {
        self.managers[at].child.as_ref().unwrap().id()
    }

    /// How a manager ended, if it has.
    pub fn ended(&mut self, at: usize) -> Option<ExitStatus> {
        self.managers[at].child.as_mut().unwrap().try_wait().unwrap()
    }

    /// The exit code, once the manager has ended by itself.
    pub async fn exit_code(&mut self, at: usize) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.ended(at) {
                return status.code();
            }
            assert!(
                Instant::now() < deadline,
                "manager {at} did not end:\n{}",
                self.log(at)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every living manager answers linearizable reads.
    pub async fn serving(&self) {
        for (at, manager) in self.managers.iter().enumerate() {
            if manager.child.is_none() {
                continue;
            }
            let client = self.client(at);
            let what = format!("manager {} serves", manager.id);
            self.eventually(&what, async || {
                let status = client.cluster_status().await.ok();
                let founded = status.is_some_and(|s| s.cluster_id.is_some() && s.leader.is_some());
                founded && client.configs(&Default::default()).await.is_ok()
            })
            .await;
        }
    }

    /// Waits until every manager serves and all know the same leader. Call it at once when the last fault
    /// ended: it fails when that takes longer than [`RECOVERY`].
    pub async fn recovered(&self) {
        let began = Instant::now();
        self.serving().await;
        self.eventually("all know one leader", async || {
            let mut leaders = BTreeSet::new();
            for at in 0..self.managers.len() {
                let status = self.client(at).cluster_status().await;
                leaders.insert(status.ok().and_then(|status| status.leader));
            }
            leaders.len() == 1 && !leaders.contains(&None)
        })
        .await;
        let took = began.elapsed();
        eprintln!("recovered in {} ms", took.as_millis());
        if took > RECOVERY {
            self.show_logs();
            panic!("the cluster was whole again after {took:?} only, not within {RECOVERY:?}");
        }
    }

    fn show_logs(&self) {
        for at in 0..self.managers.len() {
            eprintln!("--- manager {}:\n{}", at + 1, tail(&self.log(at)));
        }
    }

    /// Which manager leads, by index.
    pub async fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for (at, manager) in self.managers.iter().enumerate() {
                if manager.child.is_none() {
                    continue;
                }
                let status = self.client(at).cluster_status().await.ok();
                if status.is_some_and(|s| s.leader == Some(manager.id)) {
                    return at;
                }
            }
            assert!(Instant::now() < deadline, "nobody leads");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until something holds, and shows the managers' logs if it never does.
    pub async fn eventually(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds().await {
            if Instant::now() > deadline {
                self.show_logs();
                panic!("in {PATIENCE:?} it was not so: {what}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// The bytes below a directory.
pub fn disk_usage(dir: &Path) -> u64 {
    let mut total = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let meta = entry.metadata().unwrap();
        total += if meta.is_dir() {
            disk_usage(&entry.path())
        } else {
            meta.len()
        };
    }
    total
}

/// One leader in the eyes of all managers, and linearizable answers from all of them. Says after how long,
/// or what is not so when `within` has passed.
pub async fn whole_again(cluster: &Cluster, within: Duration) -> Result<Duration, String> {
    let began = Instant::now();
    loop {
        let whole = async {
            let mut leaders = Vec::new();
            for at in 0..cluster.managers.len() {
                let client = cluster.client(at);
                let told = |error| format!("manager {at}: {error}");
                let leader = client.cluster_status().await.map_err(told)?.leader;
                leaders.push(leader.ok_or(format!("manager {at} knows no leader"))?);
                load::configs(&client).await.map_err(told)?;
            }
            match leaders.iter().all(|leader| *leader == leaders[0]) {
                true => Ok(began.elapsed()),
                false => Err(format!("they follow {leaders:?}")),
            }
        };
        match whole.await {
            Err(_) if began.elapsed() < within => tokio::time::sleep(Duration::from_millis(20)).await,
            result => return result,
        }
    }
}
