//! The `quorate dev` that the demonstration plays on.

use std::{
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, timeout},
};

use crate::{
    client::Client,
    process::end::while_doing,
    security::{ADMIN_TOKEN_FILE, CA_CERT_FILE},
};

/// How long the cluster may take to serve, on a slow machine.
const SERVES_WITHIN: Duration = Duration::from_secs(60);

/// More than its own grace for its children.
const STOPS_WITHIN: Duration = Duration::from_secs(30);

/// The ports of three managers, from the first one's API port on.
const PORTS: [u16; 9] = [0, 1, 2, 10, 11, 12, 20, 21, 22];

/// A running cluster.
pub(super) struct Stage {
    dir: PathBuf,
    dev: Child,
    /// The managers' APIs, by id from 1 on.
    endpoints: Vec<String>,
}

impl Stage {
    /// Starts three managers and, with `runners`, two runners. What is killed stays down.
    pub async fn start(work: &Path, port: Option<u16>, runners: bool) -> io::Result<Self> {
        let dir = work.join("cluster");
        let port = port.map_or_else(free_port, Ok)?.to_string();
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["dev", "--managers", "3", "--port", &port, "--data"])
            .arg(&dir);
        command.args(["--die-with", &std::process::id().to_string()]);
        // What is killed stays down: there would be nothing to show otherwise.
        command.arg("--no-restart");
        command.args(["--runners", if runners { "2" } else { "0" }]);
        let log = fs::File::create(work.join("dev.log"))?;
        let begin = Instant::now();
        // A Ctrl-C is for the demonstration, which ends the cluster in order.
        let mut dev = command
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(dev.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?).lines();
        let line = timeout(SERVES_WITHIN, lines.next_line()).await;
        let line = line.map_err(|_| io::Error::other("the cluster did not serve in time"))??;
        let line =
            line.ok_or_else(|| io::Error::other("`quorate dev` ended before it served; dev.log says why"))?;
        let endpoints: Vec<_> = line.split_whitespace().skip(1).map(str::to_owned).collect();
        println!(
            "      they serve, {:.1?} after the start: {}",
            begin.elapsed(),
            endpoints.join(" ")
        );
        Ok(Self { dir, dev, endpoints })
    }

    /// A client of these managers only, which tries for so long.
    pub fn client(&self, managers: impl IntoIterator<Item = u64>, retry: Duration) -> io::Result<Client> {
        let read = |file| fs::read_to_string(self.dir.join(file)).map_err(while_doing(file));
        let builder = Client::builder().endpoints(managers.into_iter().filter_map(|id| self.endpoint(id)));
        let builder = builder.token(read(ADMIN_TOKEN_FILE)?).ca_pem(read(CA_CERT_FILE)?);
        builder.retry_for(retry).build().map_err(io::Error::other)
    }

    fn endpoint(&self, id: u64) -> Option<String> {
        let index = usize::try_from(id.checked_sub(1)?).ok()?;
        self.endpoints.get(index).cloned()
    }

    /// The managers' ids.
    pub fn ids(&self) -> impl Iterator<Item = u64> + use<> {
        (1..).take(self.endpoints.len())
    }

    /// Where runners find the managers, and the token they join with.
    pub fn for_runners(&self) -> io::Result<(String, String)> {
        let config = self.dir.join("endpoints");
        let sessions = fs::read_to_string(&config)?;
        let sessions = sessions.lines().filter_map(|url| {
            let (_, port) = url.rsplit_once(':')?;
            Some(format!("127.0.0.1:{}", port.parse::<u16>().ok()? + 2))
        });
        let token = fs::read_to_string(self.dir.join("bundle/join.token"))?;
        Ok((sessions.collect::<Vec<_>>().join(","), token.trim().to_owned()))
    }

    /// Kills a process of the cluster, `manager-1` say, as `kill -9` does.
    pub fn kill(&self, name: &str) -> io::Result<()> {
        let path = self.dir.join(format!("{name}.pid"));
        let text = fs::read_to_string(&path).map_err(while_doing(path.display()))?;
        let id = text.trim().parse().map_err(io::Error::other)?;
        Ok(kill(Pid::from_raw(id), Signal::SIGKILL)?)
    }

    /// Ends the cluster in order.
    pub async fn stop(mut self) {
        if let Some(id) = self.dev.id().and_then(|id| i32::try_from(id).ok()) {
            // It may have ended in this moment.
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        if timeout(STOPS_WITHIN, self.dev.wait()).await.is_err() {
            println!("the cluster did not stop in time; it is killed");
        }
    }
}

fn free_port() -> io::Result<u16> {
    let free = |base: &u16| {
        PORTS
            .iter()
            .all(|above| TcpListener::bind(("127.0.0.1", base + above)).is_ok())
    };
    (7400..9000)
        .step_by(100)
        .find(free)
        .ok_or_else(|| io::Error::other("no free ports were found; choose some with --port"))
}
