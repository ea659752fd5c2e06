//! A cluster for tests of the harness: `quorate dev`, so that neither root nor namespaces are needed.

#![allow(dead_code)] // each test binary uses its part

#[path = "../../../tests/support/ports.rs"]
mod ports;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jepsen::workload::{Endpoint, Stage};
use quorate::client::Client;

use self::ports::Ports;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster that ends with this.
pub struct Dev {
    child: Child,
    _ports: Ports,
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Its managers end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The product's binary, which is built beside this test.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let beside = test
        .parent()
        .and_then(Path::parent)
        .expect("a test stands in `deps`");
    let path = std::env::var_os("QUORATE_BINARY").map_or_else(|| beside.join("quorate"), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is not there: `cargo build --bin quorate` makes it",
        path.display()
    );
    path
}

pub fn start(dir: &Path) -> Dev {
    // Three managers, ten ports apart, with three ports each.
    let ports = Ports::take(23);
    let mut child = Command::new(binary())
        .args([
            "dev",
            "--managers",
            "3",
            "--runners",
            "2",
            "--port",
            &ports.first.to_string(),
            "--data",
        ])
        .arg(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut ready = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("it was asked for"));
    out.read_line(&mut ready).expect("it says when it is ready");
    let dev = Dev { child, _ports: ports };
    assert!(ready.starts_with("ready"), "{ready}");
    dev
}

pub fn endpoints(dir: &Path) -> Vec<Endpoint> {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect(name);
    let (ca, token, urls) = (read("ca.pem"), read("admin.token"), read("endpoints"));
    (1..)
        .zip(urls.lines())
        .map(|(node, url)| Endpoint {
            node,
            url: url.to_owned(),
            ca: ca.clone(),
            token: token.clone(),
        })
        .collect()
}

/// Where agents act; `dir` is there.
pub fn stage(dir: &Path) -> Stage {
    let lives = dir.join("lives");
    std::fs::create_dir(&lives).expect("there is room");
    Stage {
        program: PathBuf::from(env!("CARGO_BIN_EXE_jepsen")),
        lives,
    }
}

/// A client of one manager, which tries again for a while.
pub fn client(endpoint: &Endpoint) -> Client {
    let builder = Client::builder().endpoint(&endpoint.url).ca_pem(&endpoint.ca);
    builder
        .token(&endpoint.token)
        .retry_for(PATIENCE)
        .build()
        .expect("its address is one")
}
