//! Two hundred runners of one process, which speak the real protocol, at three real managers of which the
//! leader is killed: nobody is misjudged, and no agent notices.

mod support;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use quorate::{
    client::Page,
    model::{
        AgentId, AgentState, Capabilities, ContainerId, ContainerState, Labels, PlacementId, PlacementRole,
        ReplicaId, Resources, Revision,
        session::{Assignment, FromManager, FromRunner, Hello, MAX_FRAME_BYTES, PROTOCOL, PlacementReport},
    },
    security::{self, JoinToken, KeyRequest, Leaf, Trust},
    wire::{FramedReader, FramedWriter},
};
use support::Cluster;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

const RUNNERS: usize = 200;

/// As a runner has them (DESIGN section 7): between heartbeats, until another manager is tried, and until its
/// exclusive agents are stopped.
const HEARTBEAT: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(3);
const FENCED: Duration = Duration::from_secs(8);

/// Whoever is silent from the moment of the fault on is given up by then.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// Where all runners may go.
struct Doors {
    managers: Vec<String>,
    token: JoinToken,
    trust: Trust,
}

impl Doors {
    fn of(cluster: &Cluster, count: usize) -> Arc<Self> {
        let read = |name: &str| std::fs::read_to_string(cluster.bundle().join(name)).unwrap();
        let managers = (0..count).map(|at| format!("127.0.0.1:{}", cluster.session_port(at)));
        Arc::new(Self {
            managers: managers.collect(),
            token: read("join.token").trim().parse().unwrap(),
            trust: Trust::from_pem(&read("ca.pem")).unwrap(),
        })
    }
}

/// What a runner has to tell at the end.
#[derive(Debug, Default)]
struct Told {
    wrong: Vec<String>,
    sessions: u32,
    /// The longest that its lease was without a renewal.
    longest: Duration,
}

struct Runner {
    doors: Arc<Doors>,
    name: String,
    container: ContainerId,
    leaf: Leaf,
    /// Which manager is tried next.
    at: usize,
    seq: u64,
    reports: BTreeMap<ReplicaId, PlacementReport>,
    /// When the last heartbeat was sent that was acknowledged.
    counted: Option<Instant>,
    told: Told,
}

type Reader = FramedReader<ReadHalf<TlsStream<TcpStream>>>;
type Writer = FramedWriter<WriteHalf<TlsStream<TcpStream>>>;

async fn connect(address: &str, tls: Arc<rustls::ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(tls)
        .connect(security::manager_name(), stream)
        .await
}

async fn dial(address: &str, tls: Arc<rustls::ClientConfig>) -> std::io::Result<(Reader, Writer)> {
    let (read, write) = split(connect(address, tls).await?);
    Ok((
        FramedReader::new(read, MAX_FRAME_BYTES),
        FramedWriter::new(write, MAX_FRAME_BYTES),
    ))
}

fn hello(name: &str, placements: Vec<PlacementReport>) -> Hello {
    Hello {
        name: name.parse().unwrap(),
        boot: 7,
        engine_container: None,
        labels: Labels::default(),
        capabilities: Capabilities::default(),
        resources: Resources::default(),
        assessment: None,
        placements,
    }
}

/// An assignment that nobody gave.
fn invented(n: u64) -> Assignment {
    Assignment {
        placement: PlacementId(n),
        replica: ReplicaId {
            agent: AgentId(n),
            ordinal: 1,
        },
        epoch: n,
        generation: 1,
        role: PlacementRole::Active,
        run: true,
    }
}

fn runs(assigned: &Assignment) -> PlacementReport {
    PlacementReport {
        placement: assigned.placement,
        replica: assigned.replica,
        epoch: assigned.epoch,
        generation: assigned.generation,
        state: AgentState::Running,
        reason: "runs as process 7".into(),
        restarts: 0,
    }
}

impl Runner {
    async fn join(doors: Arc<Doors>, number: usize) -> Self {
        let name = format!("box-{number}");
        let at = number % doors.managers.len();
        let request = KeyRequest::generate().unwrap();
        let tls = security::pinned_client(doors.token.ca()).unwrap();
        let (mut reader, mut writer) = dial(&doors.managers[at], tls).await.unwrap();
        let enroll = FromRunner::Enroll {
            protocol: PROTOCOL,
            token: doors.token.to_string(),
            csr: request.csr_pem.clone(),
            hello: hello(&name, Vec::new()),
        };
        writer.send(&enroll).await.unwrap();
        let answer = reader.read().await.unwrap();
        let Some(FromManager::Certificate { container, chain }) = answer else {
            panic!("{name}: {answer:?}");
        };
        Self {
            leaf: Leaf::from_pem(&chain, &request.key_pem).unwrap(),
            doors,
            name,
            container,
            at,
            seq: 0,
            reports: BTreeMap::new(),
            counted: None,
            told: Told::default(),
        }
    }

    async fn live(mut self, end: CancellationToken) -> Told {
        while !end.is_cancelled() {
            let opened = timeout(PATIENCE, self.open()).await.ok().flatten();
            if let Some((reader, writer)) = opened {
                self.told.sessions += 1;
                self.serve(reader, writer, &end).await;
            }
            // The next one, as a runner does when a session breaks.
            self.at += 1;
            sleep(Duration::from_millis(50)).await;
        }
        self.told
    }

    async fn open(&mut self) -> Option<(Reader, Writer)> {
        let tls = security::session_client(&self.doors.trust, Some(&self.leaf)).unwrap();
        let managers = &self.doors.managers;
        let (mut reader, mut writer) = dial(&managers[self.at % managers.len()], tls).await.ok()?;
        let hello = FromRunner::Hello {
            protocol: PROTOCOL,
            hello: hello(&self.name, self.reports.values().cloned().collect()),
        };
        writer.send(&hello).await.ok()?;
        match reader.read().await.ok()?? {
            FromManager::Welcome { container, .. } => assert_eq!(container, self.container),
            FromManager::Refused { retry: true, .. } => return None,
            other => {
                self.told.wrong.push(format!("{}: {other:?}", self.name));
                return None;
            }
        }
        Some((reader, writer))
    }

    /// Until the session breaks, or no heartbeat is counted for too long.
    async fn serve(&mut self, mut reader: Reader, mut writer: Writer, end: &CancellationToken) {
        let mut waiting: VecDeque<(u64, Instant)> = VecDeque::new();
        let (mut beat_at, mut patient_until) = (Instant::now(), Instant::now() + PATIENCE);
        loop {
            let sent = tokio::select! {
                () = end.cancelled() => return,
                () = sleep_until(patient_until.into()) => return,
                () = sleep_until(beat_at.into()) => {
                    beat_at = Instant::now() + HEARTBEAT.mul_f64(rand::random_range(0.9..1.1));
                    self.seq += 1;
                    waiting.push_back((self.seq, Instant::now()));
                    writer.send(&FromRunner::Heartbeat { seq: self.seq, applied: 0 }).await
                }
                frame = reader.read() => match frame {
                    Ok(Some(FromManager::HeartbeatAck { seq })) => {
                        while let Some((_, at)) = waiting.front().copied().filter(|(known, _)| *known <= seq) {
                            waiting.pop_front();
                            self.acknowledged(at);
                            patient_until = Instant::now() + PATIENCE;
                        }
                        Ok(())
                    }
                    Ok(Some(FromManager::Spec { .. })) => Ok(()),
                    // So few that a list is one part.
                    Ok(Some(FromManager::Desired { placements, .. })) => {
                        let news: Vec<_> = placements.iter().filter_map(|a| self.assigned(a)).collect();
                        if placements.len() < self.reports.len() || placements.iter().any(|a| !a.run) {
                            self.told.wrong.push(format!("{} is to stop an agent", self.name));
                        }
                        let mut sent = Ok(());
                        for report in news {
                            sent = sent.and(writer.send(&FromRunner::Report(report)).await);
                        }
                        sent
                    }
                    Ok(Some(FromManager::Echo { number })) => writer.send(&FromRunner::Echo { number }).await,
                    _ => return,
                },
            };
            if sent.is_err() {
                return;
            }
        }
    }

    fn acknowledged(&mut self, sent: Instant) {
        if let Some(before) = self.counted {
            let lease = Instant::now() - before;
            self.told.longest = self.told.longest.max(lease);
            if lease > FENCED {
                let words = format!("{} would have stopped its agents: {lease:?}", self.name);
                self.told.wrong.push(words);
            }
        }
        self.counted = Some(sent);
    }

    /// What is to be reported of an agent that is to run.
    fn assigned(&mut self, assigned: &Assignment) -> Option<PlacementReport> {
        let report = runs(assigned);
        let before = self.reports.insert(assigned.replica, report.clone());
        let Some(before) = before else {
            return Some(report);
        };
        if before == report {
            return None;
        }
        let words = format!("it is to start anew: {report:?} and not {before:?}");
        self.told.wrong.push(words);
        Some(report)
    }
}

/// Agents with where they are, and under which epoch.
async fn places(cluster: &Cluster) -> BTreeMap<String, (Option<ContainerId>, Revision)> {
    let client = cluster.client_of_all();
    let (mut all, mut after) = (BTreeMap::new(), None);
    loop {
        let page = Page {
            after,
            limit: Some(100),
            ..Page::default()
        };
        let list = client.agents(&page).await.unwrap();
        let running = list
            .items
            .into_iter()
            .filter(|agent| agent.state == AgentState::Running);
        all.extend(running.map(|agent| (agent.name.to_string(), (agent.container, agent.epoch))));
        after = list.next;
        if after.is_none() {
            return all;
        }
    }
}

async fn ready(cluster: &Cluster) -> usize {
    let (client, mut ready, mut after) = (cluster.client_of_all(), 0, None);
    loop {
        let page = Page {
            after,
            limit: Some(100),
            ..Page::default()
        };
        let list = client.containers(&page).await.unwrap();
        ready += list
            .items
            .iter()
            .filter(|one| one.state == ContainerState::Ready)
            .count();
        after = list.next;
        if after.is_none() {
            return ready;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_misjudged_and_no_agent_restarted_when_the_leader_of_two_hundred_is_killed() {
    let mut cluster = Cluster::start(3).await;
    let doors = Doors::of(&cluster, 3);
    let (end, mut fleet) = (CancellationToken::new(), JoinSet::new());
    for number in 0..RUNNERS {
        let runner = Runner::join(doors.clone(), number).await;
        fleet.spawn(runner.live(end.clone()));
    }
    cluster
        .eventually("all are ready", async || ready(&cluster).await == RUNNERS)
        .await;
    let client = cluster.client_of_all();
    for number in 0..RUNNERS {
        let spec = serde_json::json!({"name": format!("a{number}"), "command": "sleep"});
        client
            .deploy_agent(&serde_json::from_value(spec).unwrap())
            .await
            .unwrap();
    }
    cluster
        .eventually("all agents run", async || places(&cluster).await.len() == RUNNERS)
        .await;
    let before = places(&cluster).await;
    let logs: Vec<_> = (0..3).map(|at| cluster.log(at).len()).collect();

    let leader = cluster.leader().await;
    let killed = Instant::now();
    cluster.kill(leader);
    let next = cluster.leader().await;
    eprintln!("another leader after {:?}", killed.elapsed());
    assert_ne!(next, leader);
    // Past the time after which whoever did not come back would have been given up.
    sleep_until((killed + GIVEN_UP + Duration::from_secs(3)).into()).await;
    end.cancel();
    let told = fleet.join_all().await;

    let wrong: Vec<_> = told.iter().flat_map(|one| &one.wrong).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let moved = told.iter().filter(|one| one.sessions > 1).count();
    let longest = told.iter().map(|one| one.longest).max().unwrap();
    eprintln!("{moved} sessions went elsewhere; the longest lease without a renewal: {longest:?}");
    assert!(moved >= RUNNERS / 3, "the killed one had sessions too");
    for (at, from) in logs.into_iter().enumerate() {
        let log = cluster.log(at).split_off(from);
        let judged: Vec<_> = log
            .lines()
            .filter(|line| line.contains("a container is judged"))
            .collect();
        assert!(judged.is_empty(), "manager {at}: {judged:?}");
    }
    assert_eq!(places(&cluster).await, before);
}

/// How long the crowd stays: nobody is asked who they are for longer than this.
const CROWD: Duration = Duration::from_secs(5);

/// Says what it may say, as fast as it is taken.
async fn flood(mut runner: Runner) {
    let (mut reader, mut writer) = runner.open().await.expect("it is let in");
    let answers = tokio::spawn(async move { while let Ok(Some(_)) = reader.read::<FromManager>().await {} });
    let flooding = async {
        for seq in 1.. {
            let beat = FromRunner::Heartbeat { seq, applied: 0 };
            let report = FromRunner::Report(runs(&invented(seq)));
            if writer.send(&beat).await.is_err() || writer.send(&report).await.is_err() {
                return;
            }
        }
    };
    // Being cut off for it would be fair too.
    let _ = timeout(CROWD, flooding).await;
    answers.abort();
}

/// Announces ten megabytes, labels say, and sends them.
async fn too_much(runner: &Runner) {
    let tls = security::session_client(&runner.doors.trust, Some(&runner.leaf)).unwrap();
    let mut stream = connect(&runner.doors.managers[0], tls).await.unwrap();
    let size = 10 << 20;
    let sent = async {
        stream.write_all(&u32::to_be_bytes(size)).await?;
        stream.write_all(&vec![b'x'; size as usize]).await?;
        stream.flush().await?;
        let mut answer = [0_u8; 1];
        stream.read(&mut answer).await
    };
    let answer = timeout(CROWD, sent).await.expect("it is cut off");
    assert!(matches!(answer, Ok(0) | Err(_)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_a_flood_and_too_much_at_once_disturb_nobody_else() {
    let cluster = Cluster::start(1).await;
    let doors = Doors::of(&cluster, 1);
    let quiet = Runner::join(doors.clone(), 1).await;
    let (loud, large) = (
        Runner::join(doors.clone(), 2).await,
        Runner::join(doors.clone(), 3).await,
    );
    let end = CancellationToken::new();
    let quiet = tokio::spawn(quiet.live(end.clone()));
    cluster
        .eventually("the first is ready", async || ready(&cluster).await == 1)
        .await;

    let began = Instant::now();
    let mut crowd = Vec::new();
    for _ in 0..1000 {
        crowd.push(TcpStream::connect(&doors.managers[0]).await.unwrap());
    }
    let loud = tokio::spawn(flood(loud));
    too_much(&large).await;
    // While all that goes on, somebody new comes.
    let new = timeout(PATIENCE, Runner::join(doors.clone(), 4))
        .await
        .expect("it gets in");
    let new = tokio::spawn(new.live(end.clone()));
    let came = began.elapsed();
    eprintln!("in after {came:?}");
    assert!(
        came < CROWD,
        "in after {came:?} only, when the crowd was sent away"
    );
    loud.await.unwrap();
    sleep_until((began + CROWD + PATIENCE).into()).await;
    end.cancel();
    for (who, told) in [("quiet", quiet.await.unwrap()), ("new", new.await.unwrap())] {
        eprintln!("{who}: the longest lease without a renewal: {:?}", told.longest);
        assert!(told.wrong.is_empty() && told.sessions == 1, "{who}: {told:?}");
    }
    let log = cluster.log(0);
    for line in [
        "ended a connection to the session port",
        "refused on the session port",
    ] {
        // All come from one address, and the test takes less than a minute or little more.
        assert!(log.matches(line).count() <= 2, "{line}: {log}");
    }
    drop(crowd);
}
