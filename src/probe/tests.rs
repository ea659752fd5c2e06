//! Both sides over real sockets, and those who do not keep to it.

mod odd;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, server::TlsStream};

use super::{
    message::{Ask, Refusal, Reply, Say, Tell, read, write},
    *,
};
use crate::security::{self, Fingerprint, JoinToken, Leaf};

const WAIT: Duration = Duration::from_secs(30);

fn ca(byte: u8) -> Fingerprint {
    Fingerprint::of(&[byte].as_slice().into())
}

fn key() -> Leaf {
    security::install_crypto();
    let dir = tempfile::tempdir().unwrap();
    security::probe_key(dir.path()).unwrap()
}

/// A runner at a port, and what it was invited to.
struct Runner {
    place: SocketAddr,
    key: Fingerprint,
    keeps: tempfile::TempDir,
    invited: Arc<Mutex<Vec<Invitation>>>,
    task: JoinHandle<()>,
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Runner {
    async fn start(address: &str, token: Option<JoinToken>, ca: Option<Fingerprint>) -> Self {
        security::install_crypto();
        let keeps = tempfile::tempdir().unwrap();
        let leaf = security::probe_key(keeps.path()).unwrap();
        let key = leaf.fingerprint().unwrap();
        let host = Host {
            name: "box".parse().unwrap(),
            key,
            token,
            ca,
        };
        let invited = Arc::new(Mutex::new(Vec::new()));
        let told = invited.clone();
        let (place, task) = serve(address, leaf, move |mut stream| {
            let (host, told) = (host.clone(), told.clone());
            async move {
                let take = |invitation| {
                    told.lock().unwrap().push(invitation);
                    true
                };
                let _ = answer(&mut stream, &host, take).await;
                let _ = stream.shutdown().await;
            }
        })
        .await;
        Self {
            place,
            key,
            keeps,
            invited,
            task,
        }
    }

    fn invited(&self) -> usize {
        self.invited.lock().unwrap().len()
    }
}

/// Speaks TLS as a runner does, and then whatever `talk` says.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    address: &str,
    leaf: Leaf,
    talk: impl Fn(TlsStream<TcpStream>) -> F + Send + Sync + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let place = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(security::probe_server(&leaf).unwrap());
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                talk(stream).await;
            }
        }
    });
    (place, task)
}

/// Speaks no TLS.
async fn raw<F: Future<Output = ()> + Send + 'static>(
    talk: impl Fn(TcpStream) -> F + Send + Sync + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            talk(listener.accept().await.unwrap().0).await;
        }
    });
    (place, task)
}

fn managers() -> Vec<String> {
    vec!["10.0.0.1:7402".into()]
}

async fn visit(place: SocketAddr, known: Option<[u8; 32]>) -> Seen {
    let prober = Prober::new().unwrap();
    timeout(WAIT, prober.visit(place, |_| known, managers()))
        .await
        .expect("no end")
}

#[tokio::test]
async fn whoever_shares_the_token_is_invited_and_nobody_learns_it() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let token = JoinToken::generate(ca(1)).unwrap();
        let runner = Runner::start(address, Some(token.clone()), None).await;
        let seen = visit(runner.place, Some(token.hash())).await;
        assert!(
            matches!(&seen, Seen::Proven { name, invited: Ok(()) } if name.as_str() == "box"),
            "{seen:?}"
        );
        let invited = runner.invited.lock().unwrap().pop().unwrap();
        assert_eq!(invited.managers, managers());
        assert_eq!(invited.token.to_string(), token.to_string());
    }
}

#[tokio::test]
async fn a_scanner_without_the_token_moves_nothing() {
    let token = JoinToken::generate(ca(1)).unwrap();
    let runner = Runner::start("127.0.0.1:0", Some(token.clone()), None).await;
    for known in [None, Some([7; 32])] {
        let seen = visit(runner.place, known).await;
        assert!(matches!(seen, Seen::Foreign { .. }), "{seen:?}");
    }
    // Nor does an invitation instead of the proof, with whatever token.
    let prober = Prober::new().unwrap();
    for handed in [None, Some(JoinToken::generate(ca(1)).unwrap().to_string())] {
        let opened = prober.again(runner.place, &runner.key.to_string()).await;
        assert!(matches!(opened, Err(ProbeError::HasToken)), "{opened:?}");
        let mut stream = dialled(runner.place).await;
        let _: Tell = greet(&mut stream, 1).await;
        let token = handed.clone();
        write(
            &mut stream,
            &Say::Invite {
                managers: managers(),
                token,
            },
        )
        .await
        .unwrap();
        let reply: Reply = read(&mut stream).await.unwrap();
        assert!(matches!(reply, Reply::Refused(_)), "{reply:?}");
    }
    // Nor does a proof that is none, whatever follows it.
    let mut stream = dialled(runner.place).await;
    let _: Tell = greet(&mut stream, 1).await;
    write(&mut stream, &Say::Prove([7; 32])).await.unwrap();
    let managers = managers();
    let _ = write(
        &mut stream,
        &Say::Invite {
            managers,
            token: None,
        },
    )
    .await;
    let reply: Reply = read(&mut stream).await.unwrap();
    assert!(matches!(reply, Reply::Refused(Refusal::Unproven)), "{reply:?}");
    assert_eq!(runner.invited(), 0);
}

async fn dialled(place: SocketAddr) -> tokio_rustls::client::TlsStream<TcpStream> {
    let stream = TcpStream::connect(place).await.unwrap();
    let connector = TlsConnector::from(security::probe_client().unwrap());
    connector.connect(security::manager_name(), stream).await.unwrap()
}

async fn greet(stream: &mut tokio_rustls::client::TlsStream<TcpStream>, protocol: u32) -> Tell {
    let nonce = [5; 32];
    write(stream, &Ask { protocol, nonce }).await.unwrap();
    read(stream).await.unwrap()
}

/// Whoever stands between a manager and a runner passes on what both say, over two connections: with a key of
/// its own, and with the runner's, which somebody has stolen.
#[tokio::test]
async fn a_proof_that_is_passed_on_proves_nothing() {
    let token = JoinToken::generate(ca(1)).unwrap();
    let runner = Runner::start("127.0.0.1:0", Some(token.clone()), None).await;
    let there = runner.place;
    for shown in [key(), security::probe_key(runner.keeps.path()).unwrap()] {
        let passed = Arc::new(Mutex::new(0));
        let count = passed.clone();
        let (place, task) = serve("127.0.0.1:0", shown, move |mut near| {
            let count = count.clone();
            async move {
                let mut far = dialled(there).await;
                let ask: Ask = read(&mut near).await.unwrap();
                write(&mut far, &ask).await.unwrap();
                let tell: Tell = read(&mut far).await.unwrap();
                write(&mut near, &tell).await.unwrap();
                let say: Say = read(&mut near).await.unwrap();
                assert!(matches!(say, Say::Prove(_)));
                write(&mut far, &say).await.unwrap();
                let reply: Reply = read(&mut far).await.unwrap();
                assert!(matches!(reply, Reply::Refused(_)), "{reply:?}");
                *count.lock().unwrap() += 1;
                write(&mut near, &reply).await.unwrap();
            }
        })
        .await;
        let seen = visit(place, Some(token.hash())).await;
        assert!(matches!(seen, Seen::Foreign { .. }), "{seen:?}");
        assert_eq!((*passed.lock().unwrap(), runner.invited()), (1, 0));
        task.abort();
    }
}

/// It can't do what the manager did, nor send the manager's own proof back.
#[tokio::test]
async fn a_runner_that_pretends_is_not_proven() {
    for echo in [true, false] {
        let (place, task) = serve("127.0.0.1:0", key(), move |mut stream| async move {
            let _: Ask = read(&mut stream).await.unwrap();
            let tell = Tell::Runner {
                name: "box".parse().unwrap(),
                token: Some(3),
                nonce: [1; 32],
            };
            write(&mut stream, &tell).await.unwrap();
            let Ok(Say::Prove(proof)) = read(&mut stream).await else {
                panic!("no proof");
            };
            let shown = if echo { proof } else { [0; 32] };
            write(&mut stream, &Reply::Proved(shown)).await.unwrap();
            // It is not told where the managers are.
            assert!(read::<Say>(&mut stream).await.is_err());
        })
        .await;
        let seen = visit(place, Some([7; 32])).await;
        assert!(matches!(seen, Seen::Foreign { .. }), "{seen:?}");
        task.abort();
    }
}

#[tokio::test]
async fn a_candidate_is_invited_by_its_key_into_the_cluster_it_knows() {
    let runner = Runner::start("127.0.0.1:0", None, Some(ca(1))).await;
    let seen = visit(runner.place, None).await;
    assert!(
        matches!(&seen, Seen::Candidate { key, .. } if *key == runner.key),
        "{seen:?}"
    );

    let prober = Prober::new().unwrap();
    let other = prober.again(runner.place, &"0".repeat(64)).await;
    assert!(other.unwrap_err().to_string().contains("another key"));
    let key = runner.key.to_string();
    for (token, managers, why) in [
        (
            Some(JoinToken::generate(ca(2)).unwrap().to_string()),
            managers(),
            "another cluster",
        ),
        (Some("qjt_nonsense".to_owned()), managers(), "token"),
        (None, managers(), "token"),
        (
            Some(JoinToken::generate(ca(1)).unwrap().to_string()),
            vec![],
            "addresses",
        ),
        (
            Some(JoinToken::generate(ca(1)).unwrap().to_string()),
            vec!["\n".into()],
            "addresses",
        ),
    ] {
        let opened = prober.again(runner.place, &key).await.unwrap();
        let refused = opened.invite(managers, token).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(runner.invited(), 0);
    let token = JoinToken::generate(ca(1)).unwrap();
    let opened = prober.again(runner.place, &key).await.unwrap();
    opened.invite(managers(), Some(token.to_string())).await.unwrap();
    assert_eq!(runner.invited.lock().unwrap()[0].token.id(), token.id());
}

#[tokio::test]
async fn the_key_stays_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let first = security::probe_key(dir.path()).unwrap().fingerprint();
    assert_eq!(security::probe_key(dir.path()).unwrap().fingerprint(), first);
    assert_ne!(key().fingerprint(), first);
}
