//! Both sides over real sockets, and those who do not keep to it.

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
    message::{Ask, Reply, Say, Tell, read, write},
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
        let leaf = key();
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

/// Whoever stands between a manager and a runner passes on what both say, over two connections.
#[tokio::test]
async fn a_proof_that_is_passed_on_proves_nothing() {
    let token = JoinToken::generate(ca(1)).unwrap();
    let runner = Runner::start("127.0.0.1:0", Some(token.clone()), None).await;
    let there = runner.place;
    let passed = Arc::new(Mutex::new(0));
    let count = passed.clone();
    let (place, task) = serve("127.0.0.1:0", key(), move |mut near| {
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

#[tokio::test]
async fn another_version_is_told_as_one_on_both_sides() {
    let runner = Runner::start("127.0.0.1:0", None, Some(ca(1))).await;
    let mut stream = dialled(runner.place).await;
    assert_eq!(greet(&mut stream, PROTOCOL + 1).await, Tell::Version(PROTOCOL));
    let (place, task) = serve("127.0.0.1:0", key(), |mut stream| async move {
        let _: Ask = read(&mut stream).await.unwrap();
        write(&mut stream, &Tell::Version(9)).await.unwrap();
    })
    .await;
    let Seen::Odd(odd) = visit(place, None).await else {
        panic!("not odd");
    };
    assert!(
        odd.to_string().contains("version 9") && odd.to_string().contains("upgrade"),
        "{odd}"
    );
    task.abort();
}

/// The frame of a `Tell::Runner` with this name, as whoever obeys no rule writes it.
fn named(name: &str) -> Vec<u8> {
    // The number of the variant, and its fields.
    let body = postcard::to_stdvec(&(1_u8, name, None::<u64>, [0_u8; 32])).unwrap();
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

#[tokio::test]
async fn hostile_words_are_odd_and_never_shown() {
    let long = "x".repeat(5_000);
    for frame in [
        named("../../etc\n\x1b[2J"),
        named(""),
        named(&long),
        vec![0, 0, 0, 3, 0xff, 0xff, 0xff],
        vec![0xff; 64],
    ] {
        let (place, task) = serve("127.0.0.1:0", key(), move |mut stream| {
            let frame = frame.clone();
            async move {
                let _ = stream.write_all(&frame).await;
                let _ = stream.flush().await;
                let _ = stream.read(&mut [0; 256]).await;
            }
        })
        .await;
        let Seen::Odd(odd) = visit(place, None).await else {
            panic!("not odd");
        };
        assert!(
            odd.to_string().len() < 200 && !odd.to_string().contains("etc"),
            "{odd}"
        );
        task.abort();
    }
}

#[tokio::test]
async fn garbage_is_nothing() {
    let (garbage, first) = raw(|mut stream| async move {
        let _ = stream.write_all(&[b'x'; 4096]).await;
    })
    .await;
    let (closes, second) = raw(|_| async {}).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    for place in [garbage, closes, closed] {
        let seen = visit(place, None).await;
        assert!(matches!(seen, Seen::Nothing), "{seen:?}");
    }
    first.abort();
    second.abort();
}

/// The bounds of time are promises: a scan goes on although others hold it up as long as they can.
#[tokio::test]
async fn who_says_nothing_and_who_never_stops_is_left_in_time() {
    let (silent, first) = raw(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let (endless, second) =
        raw(|mut stream| async move { while stream.write_all(&[0x16, 3, 3, 0x40, 0]).await.is_ok() {} })
            .await;
    let (slow, third) = serve("127.0.0.1:0", key(), |mut stream| async move {
        // A frame that is announced and comes byte by byte.
        let _ = stream.write_all(&[0, 0, 0x3f, 0xff]).await;
        while stream.write_all(&[1]).await.is_ok() && stream.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let begun = Instant::now();
    let visits = [silent, endless, slow].map(|place| visit(place, None));
    for seen in futures::future::join_all(visits).await {
        assert!(matches!(seen, Seen::Nothing | Seen::Odd(_)), "{seen:?}");
    }
    // Twice, as it may have been an engine.
    assert!(begun.elapsed() < 2 * (CONNECT + TALK) + Duration::from_secs(3));
    for task in [first, second, third] {
        task.abort();
    }
}

#[tokio::test]
async fn an_open_engine_is_told_from_other_servers() {
    let answer = |body: &'static str| {
        move |mut stream: TcpStream| async move {
            let mut asked = [0; 512];
            let read = stream.read(&mut asked).await.unwrap_or(0);
            let answer = match asked[..read].starts_with(b"GET /version ") {
                true => format!("HTTP/1.0 200 OK\r\n\r\n{body}"),
                false => "HTTP/1.0 400 Bad Request\r\n\r\n".to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    };
    let (engine, first) = raw(answer(r#"{"Version":"28.1.1","ApiVersion":"1.49"}"#)).await;
    let (other, second) = raw(answer("<html>hello</html>")).await;
    let seen = visit(engine, None).await;
    assert!(
        matches!(&seen, Seen::OpenEngine { version } if version == "28.1.1"),
        "{seen:?}"
    );
    let seen = visit(other, None).await;
    assert!(matches!(seen, Seen::Nothing), "{seen:?}");
    first.abort();
    second.abort();
}

/// Its answer was thrown away with the time that was up.
#[tokio::test]
async fn an_engine_that_keeps_the_connection_is_told_all_the_same() {
    let (engine, task) = raw(|mut stream| async move {
        let mut asked = [0; 512];
        let read = stream.read(&mut asked).await.unwrap_or(0);
        if asked[..read].starts_with(b"GET /version ") {
            for part in [
                "HTTP/1.1 200 OK\r\n\r\n{\"Version\":\"28",
                ".1.1\",\"ApiVersion\":\"1.49\"}\n",
            ] {
                stream.write_all(part.as_bytes()).await.unwrap();
            }
            std::future::pending::<()>().await;
        }
    })
    .await;
    let seen = visit(engine, None).await;
    assert!(
        matches!(&seen, Seen::OpenEngine { version } if version == "28.1.1"),
        "{seen:?}"
    );
    task.abort();
}

#[tokio::test]
async fn what_could_not_be_dialled_is_not_nothing() {
    // An address of one link, and nobody says which.
    for port in [1, crate::model::OPEN_ENGINE_PORT] {
        let seen = visit(format!("[fe80::1]:{port}").parse().unwrap(), None).await;
        assert!(matches!(seen, Seen::NotLooked { .. }), "{seen:?}");
    }
}
