//! Runners in real containers: how soon it is noticed what becomes of them.
//!
//! When something became of a container is the engine's word: what a command to the engine takes on a loaded machine is
//! nobody's delay.

mod support;

use std::{
    env, fs, io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use quorate::{
    client::{
        Client,
        types::{ContainerView, EngineRequest},
    },
    dev::docker::{self, docker},
    model::ContainerState,
};
use support::{Cluster, PATIENCE};

/// How far from its second a verdict may be.
const TOLERANCE: Duration = Duration::from_secs(1);

/// An image, a network and containers, which go with this.
struct Made {
    id: String,
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
        let id = format!("quorate-test-{:08x}", rand::random::<u32>());
        let made = Self {
            tag: format!("{id}:latest"),
            network: id.clone(),
            id,
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
        let name = format!("{}-{letter}", self.id);
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

/// Nanoseconds since 1970.
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

fn since(moment: u128) -> Duration {
    Duration::from_nanos(u64::try_from(now() - moment).unwrap())
}

/// Something that was done to a container by its engine.
struct Done {
    asked: u128,
    happened: u128,
}

/// Does it, and asks the engine when it happened.
fn act(command: &[&str], filters: [String; 2]) -> Done {
    let asked = now();
    docker(command).unwrap();
    let stamp = |moment: u128| format!("{}.{:09}", moment / 1_000_000_000, moment % 1_000_000_000);
    let [first, second] = filters;
    let only = [
        "--filter",
        &first,
        "--filter",
        &second,
        "--format",
        "{{.TimeNano}}",
    ];
    // It may be told a moment after it is done.
    while since(asked) < PATIENCE {
        let (from, to) = (stamp(asked), stamp(now()));
        let told = docker(&[&["events", "--since", &from, "--until", &to], &only[..]].concat()).unwrap();
        if let Some(happened) = told.lines().next() {
            let happened = happened.parse().unwrap();
            return Done { asked, happened };
        }
    }
    panic!("the engine never tells of {command:?}");
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

/// When something was noticed, as moments of `now`.
struct GivenUp {
    suspect: u128,
    lost: u128,
}

async fn given_up(cluster: &Cluster, client: &Client, name: &str) -> GivenUp {
    until(cluster, client, name, ContainerState::Suspect).await;
    let suspect = now();
    until(cluster, client, name, ContainerState::Lost).await;
    GivenUp { suspect, lost: now() }
}

/// It was noticed so many seconds after what was done. Silence counts from the last heartbeat, which may have been a
/// second before that: so it is not too early if it is not so after the command was given.
fn about(what: &str, done: &Done, noticed: u128, seconds: u64) {
    let took = |from: u128| Duration::from_nanos(u64::try_from(noticed.saturating_sub(from)).unwrap());
    eprintln!(
        "{what} after {:?}, asked for {:?} ago",
        took(done.happened),
        took(done.asked)
    );
    let second = Duration::from_secs(seconds);
    assert!(
        took(done.happened) <= second + TOLERANCE && took(done.asked) >= second.saturating_sub(TOLERANCE),
        "{what} after {:?}, not {seconds} s",
        took(done.happened)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_containers_is_noticed_in_time_and_they_come_back_as_themselves() {
    if let Some(why) = docker::missing() {
        assert!(env::var_os("CI").is_none(), "no engine to test with: {why}");
        eprintln!("skipped: no engine to test with: {why}");
        return;
    }
    // A new leader gives everyone a fresh window, which is for other tests: one that loses its place here, because the
    // machine is busy, would be late by right.
    let patient = "[raft]\nelection_min = \"3s\"\nelection_max = \"4s\"\n";
    let cluster = Cluster::start_with(3, patient, &[]);
    cluster.serving().await;
    let client = cluster.client_from(cluster.leader().await);
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
    let took = since(started);
    eprintln!("ready after {took:?}");
    assert!(took <= TOLERANCE, "ready after {took:?}");

    // Cut off: its engine says that it runs, and nobody hears it.
    let filters = |event: &str| [format!("container={name}"), format!("event={event}")];
    let cut = act(
        &["network", "disconnect", &made.network, &name],
        [format!("network={}", made.network), "event=disconnect".to_owned()],
    );
    let given = given_up(&cluster, &client, &name).await;
    about("cut off: suspect", &cut, given.suspect, 3);
    about("cut off: lost", &cut, given.lost, 6);
    docker(&["network", "connect", &made.network, &name]).unwrap();
    let back = until(&cluster, &client, &name, ContainerState::Ready).await;
    assert_eq!(back.id, itself);

    // Paused: its engine says so at once, and no verdict of death comes of that.
    let paused = act(&["pause", &name], filters("pause"));
    let given = given_up(&cluster, &client, &name).await;
    about("paused: suspect", &paused, given.suspect, 0);
    about("paused: lost", &paused, given.lost, 6);
    docker(&["unpause", &name]).unwrap();
    let back = until(&cluster, &client, &name, ContainerState::Ready).await;
    assert_eq!(back.id, itself);

    let killed = act(&["kill", &name], filters("die"));
    let gone = until(&cluster, &client, &name, ContainerState::Lost).await;
    about("killed: lost", &killed, now(), 0);
    assert!(gone.fenced, "its engine's word is proof: {}", gone.reason);
}
