//! A real redis-server on a free port and in a directory of its own, for tests to hurt.

#![allow(dead_code)] // each test binary uses its part

#[allow(clippy::duplicate_mod)] // `support`, where it is beside this, has it too
#[path = "ports.rs"]
mod ports;

use std::{
    fs::File,
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{sys::signal::Signal, unistd::Pid};
use tempfile::TempDir;

use self::ports::Ports;

/// How long it may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct RedisServer {
    dir: TempDir,
    port: u16,
    _ports: Ports,
    child: Option<Child>,
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

impl RedisServer {
    pub fn start() -> Self {
        // Held while it is stopped, too.
        let ports = Ports::take(1);
        let mut server = Self {
            dir: TempDir::new().unwrap(),
            port: ports.first,
            _ports: ports,
            child: None,
        };
        server.run();
        server
    }

    /// Starts it again on the same port, with what it had saved.
    pub fn run(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let port = self.port.to_string();
        let child = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A stopped process is killed like any other; it may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.as_ref().unwrap().id()).unwrap();
        nix::sys::signal::kill(Pid::from_raw(pid), signal).unwrap();
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// What a command answers.
    pub async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        let mut connection = self.connect().await;
        command.query_async(&mut connection).await.unwrap()
    }
}
