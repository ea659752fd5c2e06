//! Networks that real managers scan, and what is there: real runners, a real engine without TLS, strangers.

mod support;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use quorate::{
    client::{
        Client, Condition, Page,
        types::{ApproveRequest, ContainerView, ScanRequest, ScanView},
    },
    model::{ContainerState, FindingKind, ScanId, ScanState},
    security::{Bundle, JoinToken},
};
use support::{Cluster, PATIENCE};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixStream},
    task::JoinSet,
};

/// Addresses on loopback that no other test has: /28 of 127.0.0.0/8, all of which is this machine.
struct Network {
    base: String,
    port: u16,
}

impl Network {
    fn random() -> Self {
        let third = |low: u8| rand::random_range(low..=250);
        Self {
            base: format!("127.{}.{}", third(2), third(1)),
            port: rand::random_range(10_000..20_000),
        }
    }

    fn cidr(&self) -> String {
        format!("{}.0/28", self.base)
    }

    fn host(&self, n: u8) -> SocketAddr {
        format!("{}.{n}:{}", self.base, self.port).parse().unwrap()
    }
}

/// A `quorate runner` that knows no manager and waits to be found.
struct Runner {
    child: Child,
    log: PathBuf,
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Runner {
    fn start(dir: &Path, name: &str, listen: SocketAddr, more: &[&str]) -> Self {
        let log = dir.join(format!("{name}.log"));
        let out = fs::File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(["runner", "--name", name, "--set", "managers=[]"])
            .arg("--data-dir")
            .arg(dir.join(name))
            .args(["--set", &format!("probe.listen={listen}")])
            .args(more)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

async fn listens(place: SocketAddr) {
    let reached = async {
        while TcpStream::connect(place).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached)
        .await
        .expect("nobody listens");
}

fn request(cidrs: &[&str], ports: &[u16]) -> ScanRequest {
    ScanRequest {
        cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
        ports: Some(ports.to_vec()),
    }
}

async fn scan_of(client: &Client, id: ScanId) -> Option<ScanView> {
    let view = client.discovery().await.ok()?;
    view.scans.into_iter().find(|scan| scan.id == id)
}

async fn scanned(cluster: &Cluster, client: &Client, request: &ScanRequest) -> ScanView {
    let asked = client.scan(request).await.unwrap();
    let mut last = None;
    cluster
        .eventually("the scan is over", async || {
            last = scan_of(client, asked.id).await;
            last.as_ref().is_some_and(|scan| scan.state.is_over())
        })
        .await;
    last.unwrap()
}

async fn named(client: &Client, name: &str, state: ContainerState) -> Option<ContainerView> {
    client
        .container(name)
        .await
        .ok()
        .filter(|known| known.state == state)
}

/// The only candidate that there is.
async fn candidate_of(client: &Client) -> Option<ContainerView> {
    let all = client.containers(&Page::default()).await.ok()?.items;
    all.into_iter()
        .find(|known| known.state == ContainerState::Candidate)
}

fn quorate(cluster: &Cluster, at: usize, words: &[&str]) -> Output {
    let bundle = cluster.bundle();
    Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(words)
        .args([
            "--endpoint",
            &format!("https://127.0.0.1:{}", cluster.api_port(at)),
        ])
        .arg("--token-file")
        .arg(bundle.join("admin.token"))
        .arg("--ca")
        .arg(bundle.join("ca.pem"))
        .output()
        .unwrap()
}

/// What reaches a Docker Engine that somebody opened to the network.
fn open_engine(listener: TcpListener) -> JoinSet<()> {
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut far = UnixStream::connect("/var/run/docker.sock").await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    task
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_finds_who_is_there_and_lets_nobody_in_who_should_not_be() {
    let cluster = Cluster::start(3).await;
    let net = Network::random();
    let dir = cluster.dir.path();
    let token = fs::read_to_string(cluster.bundle().join("join.token")).unwrap();
    let token: JoinToken = token.parse().unwrap();
    let other = Bundle::create(&dir.join("other")).unwrap();
    let ca = format!("probe.ca={}", token.ca());
    let by_file = |bundle: PathBuf| bundle.join("join.token").to_str().unwrap().to_owned();
    let (own, foreign) = (by_file(cluster.bundle()), by_file(dir.join("other")));
    assert_ne!(other.join.id(), token.id());

    let six: SocketAddr = format!("[::1]:{}", net.port).parse().unwrap();
    let proved = Runner::start(dir, "proved", net.host(5), &["--join-token-file", &own]);
    let stranger = Runner::start(dir, "stranger", net.host(7), &["--join-token-file", &foreign]);
    let candidate = Runner::start(dir, "candidate", six, &["--set", &ca]);
    let engine = open_engine(TcpListener::bind(net.host(9)).await.unwrap());
    let garbage = TcpListener::bind(net.host(11)).await.unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let (mut stream, _) = garbage.accept().await.unwrap();
            let _ = stream.write_all(&[7; 10_000]).await;
        }
    });
    for place in [net.host(5), net.host(7), six] {
        listens(place).await;
    }

    // Any manager is asked, and any manager shows it.
    let leader = cluster.leader().await;
    let (asked, shows) = (
        cluster.patient_client((leader + 1) % 3),
        cluster.patient_client((leader + 2) % 3),
    );
    let all = request(&[&net.cidr(), "::1"], &[net.port]);
    let scan = scanned(&cluster, &asked, &all).await;
    assert_eq!(
        (
            scan.state,
            scan.done,
            scan.total,
            scan.proven,
            scan.candidates,
            scan.findings
        ),
        (ScanState::Done, 17, 17, 1, 1, 2),
        "{}\n{}\n{}",
        proved.log(),
        stranger.log(),
        candidate.log()
    );
    let view = shows.discovery().await.unwrap();
    let found: Vec<_> = view.findings.iter().map(|f| (f.address, f.kind)).collect();
    assert_eq!(
        found,
        [
            (net.host(7), FindingKind::ForeignRunner),
            (net.host(9), FindingKind::OpenEngine)
        ]
    );
    assert!(
        view.findings[1].detail.starts_with("Docker Engine "),
        "{:?}",
        view.findings[1]
    );
    assert!(view.findings[1].advice.contains("close it"));
    cluster
        .eventually("who proved the token has joined", async || {
            named(&shows, "proved", ContainerState::Ready).await.is_some()
        })
        .await;
    assert!(shows.container("stranger").await.is_err());

    // Whoever has no token waits for approval of the key that its own log shows.
    let waits = candidate_of(&shows).await.unwrap();
    let key = waits.fingerprint.clone().unwrap();
    // What it calls itself is its own choice: a part of its key is always in its name.
    let name = waits.name.as_str();
    assert_eq!(name, format!("candidate-{}", &key[..16]));
    assert!(candidate.log().contains(&key), "{}", candidate.log());
    assert_eq!(waits.address.as_deref(), Some(six.to_string().as_str()));
    let wrong = ApproveRequest {
        fingerprint: "0".repeat(64),
    };
    let refused = asked.approve_container(name, &wrong, Condition::Any).await;
    assert!(refused.unwrap_err().to_string().contains("another key"));
    // Without a key nobody is approved, and there is no terminal to ask at.
    let unsaid = quorate(&cluster, leader, &["container", "approve", name]);
    assert_eq!(unsaid.status.code(), Some(2), "{unsaid:?}");
    assert!(String::from_utf8_lossy(&unsaid.stderr).contains("--fingerprint"));
    let approve = |at, name: &str| {
        let words = ["container", "approve", name, "--fingerprint", key.as_str()];
        quorate(&cluster, at, &words)
    };
    let refused = approve(leader, "proved");
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    let listed = quorate(&cluster, leader, &["discovery", "candidates"]);
    assert!(
        String::from_utf8_lossy(&listed.stdout).contains(&key),
        "{listed:?}"
    );
    let approved = approve((leader + 2) % 3, name);
    assert!(approved.status.success(), "{approved:?}\n{}", candidate.log());
    assert!(String::from_utf8_lossy(&approved.stdout).contains(&key));
    let mut joined = None;
    cluster
        .eventually("the candidate has joined", async || {
            joined = named(&shows, name, ContainerState::Ready).await;
            joined.is_some()
        })
        .await;
    let joined = joined.unwrap();
    assert_eq!((joined.id, &joined.fingerprint), (waits.id, &None));

    // Who has joined listens no more, and what is gone is shown no more.
    drop((engine, stranger));
    let scan = quorate(
        &cluster,
        leader,
        &[
            "discovery",
            "scan",
            &net.cidr(),
            "::1",
            "--port",
            &net.port.to_string(),
        ],
    );
    assert!(scan.status.success(), "{scan:?}");
    let view = shows.discovery().await.unwrap();
    let newest = &view.scans[0];
    assert_eq!(
        (newest.proven, newest.candidates, view.findings.len()),
        (0, 0, 0),
        "{view:?}"
    );
    assert!(named(&shows, name, ContainerState::Ready).await.is_some());

    let refused = quorate(&cluster, leader, &["discovery", "scan", "0.0.0.0/0"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("4294967296") && words.contains("65536"), "{words}");
}

/// The client's requests have keys: one whose answer was lost is repeated, and may find the candidate gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_that_reaches_nobody_says_so_and_is_repeated() {
    let cluster = Cluster::start(1).await;
    let net = Network::random();
    let dir = cluster.dir.path();
    let token = fs::read_to_string(cluster.bundle().join("join.token")).unwrap();
    let token: JoinToken = token.parse().unwrap();
    let ca = format!("probe.ca={}", token.ca());
    let start = || Runner::start(dir, "waits", net.host(3), &["--set", &ca]);
    let runner = start();
    listens(net.host(3)).await;
    let client = cluster.patient_client(0);
    let here = request(&[&net.cidr()], &[net.port]);
    assert_eq!(scanned(&cluster, &client, &here).await.candidates, 1);
    let waits = candidate_of(&client).await.unwrap();
    let asked = ApproveRequest {
        fingerprint: waits.fingerprint.clone().unwrap(),
    };
    drop(runner);
    let approve = async || {
        let approved = client
            .approve_container(&waits.name, &asked, Condition::Any)
            .await;
        approved.unwrap()
    };
    let unheard = approve().await;
    assert_eq!(unheard.id, waits.id);
    assert!(unheard.trouble.is_some(), "{unheard:?}");

    // A scan that misses it does not take the approval back.
    assert_eq!(scanned(&cluster, &client, &here).await.candidates, 0);
    let runner = start();
    listens(net.host(3)).await;
    let heard = approve().await;
    assert_eq!(heard.trouble, None, "{}", runner.log());
    cluster
        .eventually("it has joined", async || {
            named(&client, &waits.name, ContainerState::Ready).await.is_some()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_ends_with_its_leader_or_when_it_is_told_to() {
    let mut cluster = Cluster::start_with(3, "[discovery]\nrate = 2\n", &[]);
    cluster.serving().await;
    let client = cluster.client_of_all();
    let long = request(&["127.1.2.0/24"], &[9]);
    let asked = client.scan(&long).await.unwrap();
    let runs = async |client: &Client, id| {
        let scan = scan_of(client, id).await;
        scan.is_some_and(|scan| scan.state == ScanState::Running && scan.done > 0)
    };
    cluster
        .eventually("it runs", async || runs(&client, asked.id).await)
        .await;
    let leader = cluster.leader().await;
    cluster.kill(leader);
    let after = cluster.patient_client((leader + 1) % 3);
    cluster
        .eventually("it is told as interrupted", async || {
            let scan = scan_of(&after, asked.id).await;
            scan.is_some_and(|scan| scan.state == ScanState::Interrupted && scan.done > 0)
        })
        .await;

    let again = after.scan(&long).await.unwrap();
    cluster
        .eventually("the next runs", async || runs(&after, again.id).await)
        .await;
    let other = cluster.patient_client((leader + 2) % 3);
    other.cancel_scan(&again.id.to_string()).await.unwrap();
    let over = scan_of(&after, again.id).await.unwrap();
    assert_eq!(over.state, ScanState::Cancelled);
    let short = scanned(&cluster, &after, &request(&["127.1.2.3"], &[9])).await;
    assert_eq!((short.state, short.done), (ScanState::Done, 1));
}

/// Whoever holds the port up does so for a while only, fills no log, and the runner is found afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooded_port_is_told_of_once_and_serves_again() {
    let cluster = Cluster::start(1).await;
    let net = Network::random();
    let place = net.host(3);
    let token = cluster.bundle().join("join.token");
    let more = ["--join-token-file", token.to_str().unwrap()];
    let runner = Runner::start(cluster.dir.path(), "flooded", place, &more);
    listens(place).await;
    let mut flood = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(place).await.unwrap();
        let _ = match n % 3 {
            0 => stream.write_all(&[0xff; 2_000]).await,
            1 => stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await,
            _ => Ok(()),
        };
        flood.push(stream);
    }
    // Each is ended by the runner, those that say nothing too.
    for mut stream in flood {
        let ended = async { while stream.read(&mut [0; 256]).await.is_ok_and(|read| read > 0) {} };
        tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("one is held open");
    }
    let turned = runner.log().matches("turned a connection").count();
    assert_eq!(turned, 1, "{}", runner.log());
    assert!(runner.log().lines().count() < 20, "{}", runner.log());
    let client = cluster.patient_client(0);
    let scan = scanned(&cluster, &client, &request(&[&net.cidr()], &[net.port])).await;
    assert_eq!(scan.proven, 1, "{}", runner.log());
    cluster
        .eventually("it has joined", async || {
            named(&client, "flooded", ContainerState::Ready).await.is_some()
        })
        .await;
}

/// Networks of the configuration are scanned unasked; a runner that may be let in by anybody is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_networks_are_scanned_and_unsafe_runners_do_not_start() {
    let net = Network::random();
    let config = format!(
        "[discovery]\ncidrs = [\"{}\"]\nports = [{}]\ninterval = \"1s\"\n",
        net.cidr(),
        net.port
    );
    let cluster = Cluster::start_with(1, &config, &[]);
    cluster.serving().await;
    let token = cluster.bundle().join("join.token");
    let more = ["--join-token-file", token.to_str().unwrap()];
    let _runner = Runner::start(cluster.dir.path(), "unasked", net.host(2), &more);
    let client = cluster.patient_client(0);
    cluster
        .eventually("it was found and has joined", async || {
            named(&client, "unasked", ContainerState::Ready).await.is_some()
        })
        .await;

    let mut open = Runner::start(cluster.dir.path(), "open", net.host(4), &[]);
    let code = tokio::task::spawn_blocking(move || (open.child.wait().unwrap().code(), open.log()));
    let (code, log) = code.await.unwrap();
    assert_ne!(code, Some(0));
    assert!(log.contains("probe.ca") && log.contains("trust_first"), "{log}");
}
