//! Against the kernel: real connections of this process and of another.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::*;

const PORT: u16 = 7700;
/// What is called silence here.
const SILENT: Duration = Duration::from_millis(400);
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

async fn net(seats: u64) -> Loopback {
    Loopback::make(seats, &[PORT]).await.unwrap()
}

/// Answers every byte of every connection with itself.
fn echo(at: Ipv4Addr) {
    let listener = TcpListener::bind((at, PORT + BEHIND)).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn dial(to: Ipv4Addr) -> TcpStream {
    let stream = TcpStream::connect((to, PORT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// What comes back within a time.
fn hear(stream: &mut TcpStream, within: Duration) -> std::io::Result<Option<u8>> {
    stream.set_read_timeout(Some(within)).unwrap();
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(byte[0])),
        Err(error) => Err(error),
    }
}

fn is_silent(stream: &mut TcpStream) -> bool {
    let heard = hear(stream, SILENT);
    heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// A byte there and back.
fn ask(stream: &mut TcpStream, byte: u8) -> Duration {
    let begin = Instant::now();
    stream.write_all(&[byte]).unwrap();
    assert_eq!(hear(stream, PATIENCE).unwrap(), Some(byte));
    begin.elapsed()
}

/// Another process, with a connection: what is written to it is sent, and what comes back is printed.
struct Other {
    child: Child,
    said: mpsc::Receiver<String>,
}

impl Other {
    fn start(to: Ipv4Addr) -> Self {
        let script = "exec 3<>/dev/tcp/$0/$1; while read -r line; do echo $line >&3; read -r back <&3; echo $back; done";
        let mut child = Command::new("bash")
            .args(["-c", script, &to.to_string(), &PORT.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, said) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(std::result::Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, said }
    }

    fn send(&mut self, line: &str) {
        let mut stdin = self.child.stdin.as_ref().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hear(&self, within: Duration) -> Option<String> {
        self.said.recv_timeout(within).ok()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until so much was held, over all links.
async fn held(net: &Loopback, count: u64) {
    let begin = Instant::now();
    loop {
        let blocked = net.blocked().await.unwrap();
        let sum: u64 = blocked.iter().map(|link| link.count).sum();
        if sum == count {
            return;
        }
        assert!(sum < count && begin.elapsed() < PATIENCE, "{blocked:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const CLIENTS: (End, End) = (End::Clients, End::Seat(1));

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_link_is_silent_and_counts_and_a_mended_one_carries_what_was_held() {
    let net = net(1).await;
    let (_, at) = net.places()[0];
    echo(at);
    let mut stream = dial(at);
    ask(&mut stream, 1);
    net.cut(&[CLIENTS]).await.unwrap();
    stream.write_all(&[2]).unwrap();
    assert!(is_silent(&mut stream));
    // A new one is as silent.
    let mut fresh = dial(at);
    fresh.write_all(&[3]).unwrap();
    assert!(is_silent(&mut fresh));
    // The byte, and the connection.
    held(&net, 2).await;
    net.mend(&[CLIENTS]).await.unwrap();
    assert_eq!(hear(&mut stream, PATIENCE).unwrap(), Some(2));
    assert_eq!(hear(&mut fresh, PATIENCE).unwrap(), Some(3));
    assert!(net.blocked().await.unwrap().is_empty());
    // The way back, and healing.
    let (from, to) = CLIENTS;
    net.cut(&[(to, from)]).await.unwrap();
    stream.write_all(&[4]).unwrap();
    held(&net, 1).await;
    assert!(is_silent(&mut stream));
    net.heal().await.unwrap();
    assert_eq!(hear(&mut stream, PATIENCE).unwrap(), Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_known_by_the_process_that_has_it() {
    let net = net(2).await;
    let (_, at) = net.places()[0];
    echo(at);
    let mut other = Other::start(at);
    net.moved_in(2, other.child.id() as i32);
    other.send("one");
    assert_eq!(other.hear(PATIENCE).as_deref(), Some("one"));
    net.cut(&[(End::Seat(2), End::Seat(1))]).await.unwrap();
    other.send("two");
    assert_eq!(other.hear(SILENT), None);
    held(&net, 1).await;
    // Clients are not concerned.
    ask(&mut dial(at), 1);
    net.heal().await.unwrap();
    assert_eq!(other.hear(PATIENCE).as_deref(), Some("two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_nowhere() {
    let net = net(1).await;
    let (_, at) = net.places()[0];
    echo(at);
    let mut other = Other::start(at);
    other.send("one");
    // An empty line is what `read` has when the connection broke.
    assert_ne!(other.hear(PATIENCE).as_deref(), Some("one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_narrow_links_delay_connections_that_exist() {
    let net = net(2).await;
    let (_, at) = net.places()[0];
    echo(at);
    let mut other = Other::start(at);
    net.moved_in(2, other.child.id() as i32);
    other.send("one");
    assert!(other.hear(PATIENCE).is_some());
    let slow = Shape {
        delay: Duration::from_millis(150),
        jitter: Duration::from_millis(10),
        ..Shape::default()
    };
    net.shape(&[(1, 2), (2, 1)], slow).await.unwrap();
    let begin = Instant::now();
    other.send("two");
    assert_eq!(other.hear(PATIENCE).as_deref(), Some("two"));
    assert!(
        begin.elapsed() >= Duration::from_millis(300),
        "{:?}",
        begin.elapsed()
    );
    let counts = net.counts().await.unwrap();
    assert!(counts.delayed >= 2 && counts.carried >= 2, "{counts:?}");
    let narrow = Shape {
        rate: Some(1000),
        ..Shape::default()
    };
    net.shape(&[(2, 1)], narrow).await.unwrap();
    let begin = Instant::now();
    other.send(&"x".repeat(499));
    assert!(other.hear(PATIENCE).is_some());
    assert!(
        begin.elapsed() >= Duration::from_millis(650),
        "{:?}",
        begin.elapsed()
    );
    net.unshape().await.unwrap();
    let before = net.counts().await.unwrap();
    other.send("three");
    assert_eq!(other.hear(PATIENCE).as_deref(), Some("three"));
    assert_eq!(net.counts().await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_is_gone_is_told_but_not_through_a_cut_link() {
    let net = net(1).await;
    let (_, at) = net.places()[0];
    // Nobody listens.
    let broken = hear(&mut dial(at), PATIENCE).unwrap_err();
    assert_eq!(broken.kind(), ErrorKind::ConnectionReset);
    let listener = TcpListener::bind((at, PORT + BEHIND)).unwrap();
    let mut stream = dial(at);
    let (accepted, _) = listener.accept().unwrap();
    net.cut(&[(End::Seat(1), End::Clients)]).await.unwrap();
    drop(accepted);
    held(&net, 1).await;
    assert!(is_silent(&mut stream));
    net.heal().await.unwrap();
    assert_eq!(hear(&mut stream, PATIENCE).unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_given_up_is_not_connected_later() {
    let net = net(1).await;
    let (_, at) = net.places()[0];
    let listener = TcpListener::bind((at, PORT + BEHIND)).unwrap();
    net.cut(&[CLIENTS]).await.unwrap();
    let given_up = dial(at);
    let mut patient = dial(at);
    held(&net, 2).await;
    drop(given_up);
    tokio::time::sleep(SILENT).await;
    net.heal().await.unwrap();
    patient.write_all(&[1]).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    assert_eq!(hear(&mut accepted, PATIENCE).unwrap(), Some(1));
    listener.set_nonblocking(true).unwrap();
    tokio::time::sleep(SILENT).await;
    assert!(listener.accept().is_err());
}

#[tokio::test]
async fn packets_are_not_to_be_had() {
    let lossy = Shape {
        loss: 0.1,
        ..Shape::default()
    };
    let refused = net(2).await.shape(&[(1, 2)], lossy).await.unwrap_err();
    assert!(refused.to_string().contains("namespaces"));
}
