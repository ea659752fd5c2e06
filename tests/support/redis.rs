//! A real redis-server on a free port and in a directory of its own, for tests to hurt.

#![allow(dead_code)] // each test binary uses its part

#[allow(clippy::duplicate_mod)] // `support`, where it is beside this, has it too
#[path = "ports.rs"]
mod ports;

use std::{
    fs::{self, File},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{sys::signal::Signal, unistd::Pid};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use redis::{Client, TlsCertificates};
use tempfile::TempDir;

use self::ports::Ports;

/// How long it may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What clients have to say to the one with TLS.
const PASSWORD: &str = "open-sesame";

pub struct RedisServer {
    dir: TempDir,
    /// The directory of its certificate and of the CA that signed it, where it speaks TLS.
    papers: Option<PathBuf>,
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
        let mut server = Self::new();
        server.run();
        server
    }

    /// One that speaks TLS only and wants a password; [`ca_file`](Self::ca_file) is whom to believe.
    pub fn start_secured() -> Self {
        let mut server = Self::new();
        server.certify("true");
        server.run();
        server
    }

    fn new() -> Self {
        // Held while it is stopped, too.
        let ports = Ports::take(1);
        Self {
            dir: TempDir::new().unwrap(),
            papers: None,
            port: ports.first,
            _ports: ports,
            child: None,
        }
    }

    /// From its next start on it shows a certificate of the CA of this name, which is made if there is none.
    pub fn certify(&mut self, ca: &str) {
        let dir = self.dir.path().join(ca);
        if !dir.exists() {
            fs::create_dir(&dir).unwrap();
            let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
            let mut ca = CertificateParams::default();
            ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            fs::write(dir.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
            let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
            let server = server.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
            fs::write(dir.join("cert.pem"), server.pem()).unwrap();
            fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
        }
        self.papers = Some(dir);
    }

    pub fn ca_file(&self) -> PathBuf {
        self.papers.as_ref().expect("it speaks TLS").join("ca.pem")
    }

    /// Starts it again on the same port, with what it had saved.
    pub fn run(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--dir"]);
        command.arg(self.dir.path());
        match &self.papers {
            None => command.args(["--port", &port]),
            Some(papers) => command
                .args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"])
                .args(["--requirepass", PASSWORD])
                .arg("--tls-cert-file")
                .arg(papers.join("cert.pem"))
                .arg("--tls-key-file")
                .arg(papers.join("key.pem"))
                .arg("--tls-ca-cert-file")
                .arg(papers.join("ca.pem")),
        };
        let child = command
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
        match self.papers {
            None => format!("redis://127.0.0.1:{}", self.port),
            Some(_) => format!("rediss://:{PASSWORD}@127.0.0.1:{}", self.port),
        }
    }

    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let client = match self.papers {
            None => Client::open(self.url()),
            Some(_) => {
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(fs::read(self.ca_file()).unwrap()),
                };
                Client::build_with_tls(self.url(), certificates)
            }
        };
        client.unwrap().get_multiplexed_async_connection().await.unwrap()
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
