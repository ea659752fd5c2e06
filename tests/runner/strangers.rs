//! Who has no certificate, or does not even speak the language, at a real manager's session port.

use std::time::Duration;

use quorate::{
    model::{
        ContainerState, Versions,
        session::{FromManager, FromRunner, PROTOCOL},
    },
    security::{Fingerprint, JoinToken, KeyRequest},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{manager::Manager, scripted::Running};

const WAIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_get_nothing_without_the_token() {
    let manager = Manager::start().await;
    let csr = KeyRequest::generate().unwrap().csr_pem;
    let good = manager.token.to_string();
    let wrong_secret = JoinToken::generate(manager.ca.fingerprint()).unwrap().to_string();
    let (prefix, rest) = good.split_at("qjt_".len() + 13);
    let (_, secret_and_ca) = wrong_secret.split_at("qjt_".len() + 13);
    let forged = format!("{prefix}{secret_and_ca}");
    assert_ne!(rest, secret_and_ca);
    let foreign = JoinToken::generate(Fingerprint::of(&[1, 2, 3].as_slice().into())).unwrap();

    let later = Versions::only(900);
    for (token, csr, protocol, why) in [
        ("nonsense", csr.as_str(), PROTOCOL, "begins with"),
        (&wrong_secret, &csr, PROTOCOL, "is not valid"),
        (&forged, &csr, PROTOCOL, "is not valid"),
        (&foreign.to_string(), &csr, PROTOCOL, "another cluster"),
        (&good, "no request", PROTOCOL, "certificate request"),
        (&good, &csr, later, "upgrade this manager first"),
    ] {
        let answer = manager.enroll(token, csr, protocol).await;
        let Some(FromManager::Refused { reason, retry }) = answer else {
            panic!("{why}: {answer:?}");
        };
        assert_eq!(retry, protocol == later, "only another version may come to fit");
        assert!(reason.contains(why), "{reason}");
        assert!(!reason.contains(secret_and_ca));
    }
    let join = FromRunner::JoinManager {
        protocol: PROTOCOL,
        token: good.clone(),
        incarnation: 1,
    };
    let answer = manager.ask(&join).await;
    assert!(
        matches!(answer, Some(FromManager::Refused { retry: false, .. })),
        "{answer:?}"
    );
    // A session without a certificate, or what is no first frame, has no effect.
    let beat = FromRunner::Heartbeat { seq: 1, applied: 0 };
    let answer = manager.ask(&beat).await;
    assert!(
        matches!(answer, None | Some(FromManager::Refused { retry: false, .. })),
        "{answer:?}"
    );
    assert_eq!(manager.consensus.state().containers(None).count(), 0);

    let answer = manager.enroll(&good, &csr, PROTOCOL).await;
    assert!(
        matches!(answer, Some(FromManager::Certificate { .. })),
        "{answer:?}"
    );
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_closes_the_connection_and_nothing_else() {
    let manager = Manager::start().await;
    let mut raw = TcpStream::connect(manager.address.to_string()).await.unwrap();
    raw.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    // An end or a reset: closed it is.
    let _ = timeout(WAIT, raw.read_to_end(&mut rest))
        .await
        .expect("still open");

    let huge = u32::MAX.to_be_bytes();
    let nonsense = [&8u32.to_be_bytes()[..], &[0xff; 8]].concat();
    for bytes in [&huge[..], &nonsense] {
        let mut stream = manager.stranger().await;
        stream.write_all(bytes).await.unwrap();
        let read = timeout(WAIT, stream.read(&mut [0; 1])).await.expect("still open");
        assert!(matches!(read, Ok(0) | Err(_)));
    }
    // Half a request, and then nothing: the time for it ends.
    let mut slow = manager.stranger().await;
    slow.write_all(&[0, 0]).await.unwrap();
    let read = timeout(WAIT, slow.read(&mut [0; 1])).await.expect("still open");
    assert!(matches!(read, Ok(0) | Err(_)));

    let runner = Running::start(manager.runner());
    manager.container(ContainerState::Ready).await;
    runner.shutdown.cancel();
    runner.end().await.unwrap();
    manager.stop().await;
}
