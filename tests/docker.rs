//! Runners in real containers: how soon it is noticed what becomes of them.

mod support;

use std::{
    env, fs, io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use quorate::{
    client::{
        Client,
        types::{ContainerView, EngineRequest},
    },
    dev::docker::{self, docker},
    model::ContainerState,
};
use support::Cluster;

/// How far from its second a verdict may be.
const TOLERANCE: Duration = Duration::from_secs(1);

/// An image, a network and containers, which go with this.
struct Made {
    tag: String,
    network: String,
    containers: Vec<String>,
}

impl Drop for Made {
    fn drop(&mut self) {
        for name in &self.containers {
            let _ = docker(&["rm", "--force", "--volumes", name]);
        }
        let _ = docker(&["network", "rm", &self.network]);
        let _ = docker(&["rmi", "--force", &self.tag]);
    }
}

impl Made {
    fn new(cluster: &Cluster) -> Self {
        let id = std::process::id();
        let made = Self {
            tag: format!("quorate-test:{id}"),
            network: format!("quorate-test-{id}"),
            containers: Vec::new(),
        };
        let program = env!("CARGO_BIN_EXE_quorate");
        docker::make_image(program.as_ref(), &made.tag, cluster.dir.path()).unwrap();
        docker(&["network", "create", &made.network]).unwrap();
        made
    }

    /// The machine's own address in the network.
    fn gateway(&self) -> String {
        let format = "{{range .IPAM.Config}}{{.Gateway}}{{end}}";
        docker(&["network", "inspect", "--format", format, &self.network]).unwrap()
    }

    /// Runs a runner; gives the container's name, and when the engine started it, in nanoseconds.
    fn start(&mut self, letter: &str, managers: &str, token: &str) -> (String, u128) {
        let name = format!("quorate-test-{}-{letter}", std::process::id());
        self.containers.push(name.clone());
        let start = ["run", "--detach", "--network", &self.network, "--name", &name];
        let label = [
            "--label",
            "quorate.enable=true",
            "--env",
            "QUORATE_JOIN_TOKEN",
            &self.tag,
        ];
        let runner = [
            "runner",
            "--name",
            &name,
            "--managers",
            managers,
            "--data-dir",
            "/data",
        ];
        let args = [&start[..], &label, &runner].concat();
        docker::docker_with(("QUORATE_JOIN_TOKEN", token), &args).unwrap();
        let at = docker(&["inspect", "--format", "{{.State.StartedAt}}", &name]).unwrap();
        let date = Command::new("date")
            .args(["--date", &at, "+%s%N"])
            .output()
            .unwrap();
        let at = String::from_utf8(date.stdout).unwrap().trim().parse().unwrap();
        (name, at)
    }
}

/// Carries connections to `to`; gives where it listens.
fn forward(on: &str, to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((on, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for from in listener.incoming().flatten() {
            let Ok(to) = TcpStream::connect(to) else { continue };
            for (mut read, mut write) in [(from.try_clone().unwrap(), to.try_clone().unwrap()), (to, from)] {
                thread::spawn(move || {
                    // Either end may break off.
                    let _ = io::copy(&mut read, &mut write);
                    let _ = write.shutdown(Shutdown::Write);
                });
            }
        }
    });
    address
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

/// Waits until the container is in this state.
async fn until(cluster: &Cluster, client: &Client, name: &str, state: ContainerState) -> ContainerView {
    let mut found = None;
    cluster
        .eventually(&format!("{name} is {state:?}"), async || {
            found = client.container(name).await.ok().filter(|one| one.state == state);
            found.is_some()
        })
        .await;
    found.unwrap()
}

/// When it was suspect and lost, after `since`.
async fn given_up(cluster: &Cluster, client: &Client, name: &str, since: Instant) -> (Duration, Duration) {
    until(cluster, client, name, ContainerState::Suspect).await;
    let suspect = since.elapsed();
    until(cluster, client, name, ContainerState::Lost).await;
    (suspect, since.elapsed())
}

fn about(what: &str, took: Duration, seconds: u64) {
    eprintln!("{what} after {took:?}");
    let off = took.abs_diff(Duration::from_secs(seconds));
    assert!(off <= TOLERANCE, "{what} after {took:?}, not {seconds} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_containers_is_noticed_in_time_and_they_come_back_as_themselves() {
    if let Some(why) = docker::missing() {
        assert!(env::var_os("CI").is_none(), "no engine to test with: {why}");
        eprintln!("skipped: no engine to test with: {why}");
        return;
    }
    let cluster = Cluster::start(3).await;
    let client = cluster.client(cluster.leader().await);
    let mut made = Made::new(&cluster);
    let engine = EngineRequest {
        name: "here".parse().unwrap(),
        url: "unix:///var/run/docker.sock".parse().unwrap(),
    };
    client.add_engine(&engine).await.unwrap();
    let gateway = made.gateway();
    let managers = (0..3).map(|at| {
        let port = cluster.session_port(at);
        forward(&gateway, ([127, 0, 0, 1], port).into()).to_string()
    });
    let managers = managers.collect::<Vec<_>>().join(",");
    let token = fs::read_to_string(cluster.bundle().join("join.token")).unwrap();

    let (name, started) = made.start("a", &managers, token.trim());
    let itself = until(&cluster, &client, &name, ContainerState::Ready).await.id;
    let took = Duration::from_nanos(u64::try_from(now() - started).unwrap());
    eprintln!("ready after {took:?}");
    assert!(took <= Duration::from_secs(1), "ready after {took:?}");

    // Cut off: its engine says that it runs, and nobody hears it.
    let cut = Instant::now();
    docker(&["network", "disconnect", &made.network, &name]).unwrap();
    let (suspect, lost) = given_up(&cluster, &client, &name, cut).await;
    about("cut off: suspect", suspect, 3);
    about("cut off: lost", lost, 6);
    docker(&["network", "connect", &made.network, &name]).unwrap();
    let back = until(&cluster, &client, &name, ContainerState::Ready).await;
    assert_eq!(back.id, itself);

    // Paused: its engine says so at once, and no verdict of death comes of that.
    let paused = Instant::now();
    docker(&["pause", &name]).unwrap();
    let (suspect, lost) = given_up(&cluster, &client, &name, paused).await;
    eprintln!("paused: suspect after {suspect:?}");
    assert!(suspect <= TOLERANCE, "suspect after {suspect:?} only");
    about("paused: lost", lost, 6);
    docker(&["unpause", &name]).unwrap();
    let back = until(&cluster, &client, &name, ContainerState::Ready).await;
    assert_eq!(back.id, itself);

    let killed = Instant::now();
    docker(&["kill", &name]).unwrap();
    let gone = until(&cluster, &client, &name, ContainerState::Lost).await;
    let took = killed.elapsed();
    eprintln!("killed: lost after {took:?}");
    assert!(took <= Duration::from_secs(1), "lost after {took:?} only");
    assert!(gone.fenced, "its engine's word is proof: {}", gone.reason);
}
