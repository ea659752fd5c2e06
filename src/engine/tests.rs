//! Against the real engine of this machine, and against listeners that are no engine at all.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{Endpoint, EngineNews, watch};
use crate::model::{EngineUrl, Found, FoundState};

const SOCKET: &str = "/var/run/docker.sock";

/// How long anything may take before a test gives up; the bars are checked apart from it.
const PATIENCE: Duration = Duration::from_secs(30);

fn docker(args: &[&str]) -> Result<String, String> {
    let output = Command::new("docker")
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

/// An image with busybox in it, and the containers made of it; all gone when dropped, panic or not.
struct Yard {
    image: String,
    made: std::cell::RefCell<Vec<String>>,
}

impl Yard {
    /// `None`, with the reason printed, where no engine answers; in CI that is a failure.
    fn new() -> Option<Self> {
        let image = format!("quorate-test-{:016x}", rand::random::<u64>());
        match Self::import(&image) {
            Ok(()) => Some(Self {
                image,
                made: Default::default(),
            }),
            Err(why) if std::env::var_os("CI").is_some() => panic!("no engine to test with: {why}"),
            Err(why) => {
                eprintln!("skipped: no engine to test with: {why}");
                None
            }
        }
    }

    fn import(image: &str) -> Result<(), String> {
        docker(&["version", "--format", "{{.Server.Version}}"])?;
        let tar = Command::new("tar")
            .args(["-C", "/", "-c", "bin/busybox"])
            .stderr(Stdio::null())
            .output()
            .map_err(|e| format!("tar: {e}"))?;
        if !tar.status.success() {
            return Err("there is no static /bin/busybox: install busybox-static".into());
        }
        let mut import = Command::new("docker")
            .args(["import", "-", image])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())?;
        import
            .stdin
            .take()
            .unwrap()
            .write_all(&tar.stdout)
            .map_err(|e| e.to_string())?;
        let status = import.wait().map_err(|e| e.to_string())?;
        status
            .success()
            .then_some(())
            .ok_or("docker import failed".into())
    }

    fn run(&self, labels: &[&str]) -> String {
        let name = format!("Quorate_Test-{:016x}", rand::random::<u64>());
        let mut args = vec!["run", "-d", "--name", &name];
        labels.iter().for_each(|label| args.extend(["--label", label]));
        args.extend([self.image.as_str(), "/bin/busybox", "sleep", "1000"]);
        self.made.borrow_mut().push(name.clone());
        docker(&args).unwrap()
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        for name in self.made.borrow().iter() {
            let _ = docker(&["rm", "-f", name]);
        }
        if let Err(error) = docker(&["rmi", "-f", &self.image]) {
            eprintln!("the image {} stays: {error}", self.image);
        }
    }
}

struct Watched {
    news: mpsc::Receiver<EngineNews>,
    _task: JoinSet<()>,
}

impl Watched {
    fn new(url: EngineUrl) -> Self {
        Self::with(Endpoint {
            url,
            certificates: "/nowhere".into(),
        })
    }

    fn with(endpoint: Endpoint) -> Self {
        let (tell, news) = mpsc::channel(64);
        let mut task = JoinSet::new();
        task.spawn(watch(endpoint, tell, Arc::new(Notify::new())));
        Self { news, _task: task }
    }

    async fn next(&mut self) -> EngineNews {
        timeout(PATIENCE, self.news.recv())
            .await
            .expect("no news")
            .unwrap()
    }

    /// The next word about one container, be it by an event or a list.
    async fn about(&mut self, container: &str) -> Found {
        loop {
            let told = match self.next().await {
                EngineNews::Told { found, .. } => vec![found],
                EngineNews::Listed { found, .. } => found,
                EngineNews::Unreachable { reason } => panic!("{reason}"),
            };
            if let Some(found) = told.into_iter().find(|f| f.container == container) {
                return found;
            }
        }
    }

    async fn until(&mut self, container: &str, state: FoundState) -> Found {
        loop {
            let found = self.about(container).await;
            if found.state == state {
                return found;
            }
        }
    }

    async fn listed(&mut self) -> Vec<Found> {
        loop {
            if let EngineNews::Listed { found, .. } = self.next().await {
                return found;
            }
        }
    }
}

fn here() -> Watched {
    Watched::new(EngineUrl::Unix(SOCKET.into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_container_is_told_as_it_happens() {
    let Some(yard) = Yard::new() else { return };
    let mut watched = here();
    watched.listed().await;
    watched.listed().await;

    let id = yard.run(&["quorate.enable=true", "zone=a"]);
    let begun = Instant::now();
    let found = watched.until(&id, FoundState::Running).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(found.name.starts_with("quorate_test-"), "{}", found.name);
    assert_eq!(found.labels.get("zone"), Some("a"));
    assert_eq!(found.labels.iter().count(), 2, "{:?}", found.labels);

    docker(&["pause", &id]).unwrap();
    assert_eq!(watched.about(&id).await.state, FoundState::Paused);
    docker(&["unpause", &id]).unwrap();
    assert_eq!(watched.about(&id).await.state, FoundState::Running);

    docker(&["kill", &id]).unwrap();
    let begun = Instant::now();
    let found = watched.until(&id, FoundState::Dead).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(found.detail, "exited (137)");

    docker(&["start", &id]).unwrap();
    assert_eq!(watched.about(&id).await.state, FoundState::Running);
    docker(&["rm", "-f", &id]).unwrap();
    assert_eq!(watched.until(&id, FoundState::Dead).await.detail, "exited (137)");
    assert_eq!(watched.about(&id).await.detail, "removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_without_the_label_is_never_told_of() {
    let Some(yard) = Yard::new() else { return };
    let before = yard.run(&[]);
    let refused = yard.run(&["quorate.enable=false"]);
    let there = yard.run(&["quorate.enable=true"]);
    let mut watched = here();
    let listed = watched.listed().await;
    assert!(
        listed
            .iter()
            .any(|f| f.container == there && f.state == FoundState::Running)
    );
    assert!(
        !listed
            .iter()
            .any(|f| f.container == before || f.container == refused)
    );

    docker(&["kill", &before]).unwrap();
    docker(&["kill", &refused]).unwrap();
    docker(&["kill", &there]).unwrap();
    // Events come in order: whatever was to be told of the other two would have been told before.
    loop {
        match watched.next().await {
            EngineNews::Told { found, .. } => {
                // Others' containers are here too.
                assert!(
                    found.container != before && found.container != refused,
                    "{found:?}"
                );
                if found.container == there {
                    return;
                }
            }
            EngineNews::Listed { .. } => {}
            EngineNews::Unreachable { reason } => panic!("{reason}"),
        }
    }
}

/// Starts a listener that treats each connection with `answer`, and expects it to be called
/// unreachable, twice, and nothing to be said of any container.
async fn is_unreachable(answer: Option<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(answer) = answer {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer).await;
            } else {
                held.push(stream);
            }
        }
    });
    let mut watched = Watched::new(url.parse().unwrap());
    let mut reasons = Vec::new();
    while reasons.len() < 2 {
        match watched.next().await {
            EngineNews::Unreachable { reason } => reasons.push(reason),
            other => panic!("{other:?}"),
        }
    }
    reasons.remove(0)
}

#[tokio::test]
async fn an_engine_that_hangs_says_nothing_of_its_containers() {
    let reason = is_unreachable(None).await;
    assert!(reason.contains("did not answer"), "{reason}");
}

#[tokio::test]
async fn nonsense_is_no_answer() {
    is_unreachable(Some(b"220 mail.example.org ESMTP\r\n")).await;
    is_unreachable(Some(
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n\xff\xfe{\"a\":[[",
    ))
    .await;
    is_unreachable(Some(b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops")).await;
    is_unreachable(Some(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")).await;
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_named() {
    let mut watched = Watched::new(EngineUrl::Unix("/nowhere/docker.sock".into()));
    let EngineNews::Unreachable { reason } = watched.next().await else {
        panic!()
    };
    assert!(reason.contains("/nowhere/docker.sock"), "{reason}");
}

#[tokio::test]
async fn a_watcher_ends_when_nobody_listens() {
    let mut watched = Watched::new("tcp://127.0.0.1:1".parse().unwrap());
    watched.next().await;
    watched.news.close();
    timeout(PATIENCE, watched._task.join_next()).await.unwrap();
}
