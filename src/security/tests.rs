//! Real handshakes for every kind of connection, and for everyone who must not get in.

mod papers;

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

type Seen = Result<Option<PeerIdentity>, rustls::Error>;

/// Connects, sends a byte each way, and says whom each side saw or why it gave up.
async fn shake(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> (Seen, Seen) {
    let (near, far) = duplex(16 << 10);
    let accept = async move {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        let seen = PeerIdentity::of(stream.get_ref().1).unwrap();
        stream.write_all(b"s").await?;
        stream.flush().await?;
        assert_eq!(stream.read_u8().await?, b'c');
        Ok(seen)
    };
    let connect = async move {
        let mut stream = TlsConnector::from(client).connect(name, near).await?;
        stream.write_all(b"c").await?;
        stream.flush().await?;
        // In TLS 1.3 a client learns only here that the server has refused its certificate.
        assert_eq!(stream.read_u8().await?, b's');
        Ok(PeerIdentity::of(stream.get_ref().1).unwrap())
    };
    let (server, client) = tokio::join!(accept, connect);
    (server.map_err(tls_error), client.map_err(tls_error))
}

fn tls_error(error: std::io::Error) -> rustls::Error {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    inner
        .cloned()
        .unwrap_or_else(|| rustls::Error::General(error.to_string()))
}

fn ca() -> Ca {
    Ca::generate("test").unwrap()
}

fn manager(ca: &Ca) -> Leaf {
    ca.issue_manager(1, &["192.0.2.1".into()]).unwrap()
}

fn runner_at(ca: &Ca, now: SystemTime) -> Leaf {
    let request = KeyRequest::generate().unwrap();
    Leaf::from_pem(
        &ca.sign_runner_at(&request.csr_pem, "c-1", now).unwrap(),
        &request.key_pem,
    )
    .unwrap()
}

fn runner(ca: &Ca) -> Leaf {
    runner_at(ca, SystemTime::now())
}

fn invalid(seen: Seen) -> CertificateError {
    match seen {
        Err(rustls::Error::InvalidCertificate(error)) => error,
        other => panic!("expected a refused certificate, not {other:?}"),
    }
}

#[tokio::test]
async fn managers_meet_on_the_peer_port() {
    let ca = ca();
    let other = ca.issue_manager(2, &[]).unwrap();
    let server = peer_server(&manager(&ca), ca.trust()).unwrap();
    let client = peer_client(&other, ca.trust()).unwrap();
    let (seen, by_client) = shake(server, client, manager_name()).await;
    let (seen, by_client) = (seen.unwrap().unwrap(), by_client.unwrap().unwrap());
    assert_eq!((seen.role, seen.manager_id()), (PeerRole::Manager, Some(2)));
    assert_eq!(by_client.manager_id(), Some(1));
    let left = seen.not_after.duration_since(SystemTime::now()).unwrap();
    assert!((364 * DAY..=365 * DAY).contains(&left), "{left:?}");
}

#[tokio::test]
async fn the_peer_port_takes_managers_only() {
    let ca = ca();
    let server = peer_server(&manager(&ca), ca.trust()).unwrap();
    let connect = |client| shake(Arc::clone(&server), client, manager_name());

    let (seen, by_client) = connect(session_client(ca.trust(), Some(&runner(&ca))).unwrap()).await;
    assert_eq!(invalid(seen), CertificateError::ApplicationVerificationFailure);
    assert_eq!(
        by_client,
        Err(rustls::Error::AlertReceived(AlertDescription::AccessDenied))
    );

    let (seen, _) = connect(session_client(ca.trust(), None).unwrap()).await;
    assert_eq!(seen, Err(rustls::Error::NoCertificatesPresented));

    let other = Ca::generate("other").unwrap();
    let (seen, by_client) = connect(peer_client(&manager(&other), ca.trust()).unwrap()).await;
    assert!(seen.is_err() && by_client.is_err(), "{seen:?} {by_client:?}");

    let past = SystemTime::now() - 400 * DAY;
    let expired = ca.issue_manager_at(2, &[], past).unwrap();
    let (seen, _) = connect(peer_client(&expired, ca.trust()).unwrap()).await;
    assert!(matches!(invalid(seen), CertificateError::ExpiredContext { .. }));
}

#[tokio::test]
async fn a_client_refuses_who_is_not_a_manager_of_its_cluster() {
    let (ca, other) = (ca(), Ca::generate("other").unwrap());
    let mine = manager(&ca);
    let past = SystemTime::now() - 400 * DAY;
    let connect = async |server: Leaf| {
        let server = session_server(&server, ca.trust()).unwrap();
        invalid(
            shake(server, peer_client(&mine, ca.trust()).unwrap(), manager_name())
                .await
                .1,
        )
    };
    assert_eq!(connect(manager(&other)).await, CertificateError::UnknownIssuer);
    let error = connect(ca.issue_manager_at(2, &[], past).unwrap()).await;
    assert!(
        matches!(error, CertificateError::ExpiredContext { .. }),
        "{error:?}"
    );
    // A runner that poses as a manager has neither the name nor the use.
    let error = connect(runner(&ca)).await;
    let told = matches!(
        error,
        CertificateError::NotValidForNameContext { .. } | CertificateError::InvalidPurposeContext { .. }
    );
    assert!(told, "{error:?}");
}

#[tokio::test]
async fn the_session_port_takes_runners_managers_and_strangers() {
    let ca = ca();
    let server = session_server(&manager(&ca), ca.trust()).unwrap();
    let connect = |client| shake(Arc::clone(&server), client, manager_name());

    let (seen, by_client) = connect(session_client(ca.trust(), Some(&runner(&ca))).unwrap()).await;
    let seen = seen.unwrap().unwrap();
    assert_eq!(
        (seen.role, seen.name.as_str(), seen.manager_id()),
        (PeerRole::Runner, "c-1", None)
    );
    let left = seen.not_after.duration_since(SystemTime::now()).unwrap();
    assert!(left <= DAY && left > DAY - Duration::from_secs(600), "{left:?}");
    assert_eq!(by_client.unwrap().unwrap().role, PeerRole::Manager);

    let (seen, by_client) = connect(session_client(ca.trust(), None).unwrap()).await;
    assert_eq!(seen, Ok(None));
    assert!(by_client.is_ok());

    let (seen, _) = connect(peer_client(&manager(&ca), ca.trust()).unwrap()).await;
    assert_eq!(seen.unwrap().unwrap().role, PeerRole::Manager);
}

#[tokio::test]
async fn the_session_port_refuses_bad_certificates() {
    let (ca, other) = (ca(), Ca::generate("other").unwrap());
    let server = session_server(&manager(&ca), ca.trust()).unwrap();
    let connect = async |leaf: Leaf| {
        let client = session_client(ca.trust(), Some(&leaf)).unwrap();
        shake(Arc::clone(&server), client, manager_name()).await.0
    };
    let expired = connect(runner_at(&ca, SystemTime::now() - 2 * DAY)).await;
    assert!(matches!(
        invalid(expired),
        CertificateError::ExpiredContext { .. }
    ));
    let early = connect(runner_at(&ca, SystemTime::now() + 2 * DAY)).await;
    assert!(matches!(
        invalid(early),
        CertificateError::NotValidYetContext { .. }
    ));
    // A client of another cluster finds itself not named in the server's request and shows nothing.
    let foreign = connect(runner(&other)).await;
    assert!(!matches!(foreign, Ok(Some(_))), "{foreign:?}");
}

#[tokio::test]
async fn strict_ports_never_resume() {
    let ca = ca();
    let server = session_server(&manager(&ca), ca.trust()).unwrap();
    let client = session_client(ca.trust(), Some(&runner(&ca))).unwrap();
    // A client that would resume if the server let it.
    let mut eager = (*client).clone();
    eager.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let eager = Arc::new(eager);
    for _ in 0..2 {
        let (near, far) = duplex(16 << 10);
        let (accepted, connected) = tokio::join!(
            async {
                let mut stream = TlsAcceptor::from(Arc::clone(&server)).accept(far).await.unwrap();
                stream.write_all(b"s").await.unwrap();
                stream
            },
            async {
                let connector = TlsConnector::from(Arc::clone(&eager));
                let mut stream = connector.connect(manager_name(), near).await.unwrap();
                stream.read_u8().await.unwrap();
                stream
            }
        );
        assert_eq!(
            accepted.get_ref().1.handshake_kind(),
            Some(rustls::HandshakeKind::Full)
        );
        assert_eq!(
            connected.get_ref().1.handshake_kind(),
            Some(rustls::HandshakeKind::Full)
        );
    }
}

#[tokio::test]
async fn a_pin_meets_its_cluster_under_any_address() {
    let ca = ca();
    let server = session_server(&manager(&ca), ca.trust()).unwrap();
    let client = pinned_client(ca.fingerprint()).unwrap();
    let (near, far) = duplex(16 << 10);
    let name = ServerName::try_from("198.51.100.7").unwrap();
    let (accepted, connected) = tokio::join!(
        TlsAcceptor::from(server).accept(far),
        TlsConnector::from(client).connect(name, near)
    );
    accepted.unwrap();
    let connected = connected.unwrap();
    let trust = pinned_ca(connected.get_ref().1, ca.fingerprint()).unwrap();
    assert_eq!(trust.certificate(), ca.trust().certificate());
    assert!(
        pinned_ca(
            connected.get_ref().1,
            Ca::generate("other").unwrap().fingerprint()
        )
        .is_err()
    );
}

#[tokio::test]
async fn a_pin_refuses_every_other_chain() {
    let (ca, other) = (ca(), Ca::generate("other").unwrap());
    let connect = async |chain: Leaf, pin| {
        let server = api_server(&chain).unwrap();
        invalid(shake(server, pinned_client(pin).unwrap(), manager_name()).await.1)
    };
    assert_eq!(
        connect(manager(&ca), other.fingerprint()).await,
        CertificateError::UnknownIssuer
    );

    // Another cluster's manager that shows the pinned CA certificate as well, or instead.
    let forged = other.issue_manager(1, &[]).unwrap();
    for extra in [
        vec![forged.chain_pem(), ca.trust().pem().into()],
        vec![trust::pem_of(&forged.chain()[0]), ca.trust().pem().into()],
    ] {
        let leaf = Leaf::from_pem(&extra.concat(), &key_pem(&forged)).unwrap();
        let error = connect(leaf, ca.fingerprint()).await;
        assert!(
            matches!(
                error,
                CertificateError::UnknownIssuer | CertificateError::BadSignature
            ),
            "{error:?}"
        );
    }
    // The right CA without the CA certificate in the chain, a runner, and an expired manager.
    let bare = manager(&ca);
    let bare = Leaf::from_pem(&trust::pem_of(&bare.chain()[0]), &key_pem(&bare)).unwrap();
    assert_eq!(
        connect(bare, ca.fingerprint()).await,
        CertificateError::UnknownIssuer
    );
    connect(runner(&ca), ca.fingerprint()).await;
    let expired = ca
        .issue_manager_at(1, &[], SystemTime::now() - 400 * DAY)
        .unwrap();
    let error = connect(expired, ca.fingerprint()).await;
    assert!(
        matches!(error, CertificateError::ExpiredContext { .. }),
        "{error:?}"
    );
}

/// A leaf's key, by way of the file it is kept in.
fn key_pem(leaf: &Leaf) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    leaf.save(&dir.path().join("chain"), &path).unwrap();
    files::read(&path).unwrap()
}

#[tokio::test]
async fn the_api_serves_under_its_advertised_hosts() {
    let ca = ca();
    let leaf = ca
        .issue_manager(
            1,
            &["192.0.2.1".into(), "[fd00::1]".into(), "M1.example.org".into()],
        )
        .unwrap();
    let server = api_server(&leaf).unwrap();
    let client = session_client(ca.trust(), None).unwrap();
    for name in [
        "192.0.2.1",
        "fd00::1",
        "m1.example.org",
        "localhost",
        "127.0.0.1",
        "::1",
    ] {
        let name = ServerName::try_from(name).unwrap();
        let (seen, by_client) = shake(Arc::clone(&server), Arc::clone(&client), name.clone()).await;
        assert_eq!(seen, Ok(None), "{name:?}");
        assert!(by_client.is_ok(), "{name:?} {by_client:?}");
    }
    let (_, by_client) = shake(server, client, ServerName::try_from("m2.example.org").unwrap()).await;
    assert!(matches!(
        invalid(by_client),
        CertificateError::NotValidForNameContext { .. }
    ));
}

#[tokio::test]
async fn the_api_offers_both_http_versions() {
    let ca = ca();
    let server = api_server(&manager(&ca)).unwrap();
    for offered in [&b"h2"[..], b"http/1.1"] {
        let mut client = (*session_client(ca.trust(), None).unwrap()).clone();
        client.alpn_protocols = vec![offered.to_vec()];
        let (near, far) = duplex(16 << 10);
        let (accepted, connected) = tokio::join!(
            TlsAcceptor::from(Arc::clone(&server)).accept(far),
            TlsConnector::from(Arc::new(client)).connect(manager_name(), near)
        );
        assert!(connected.is_ok());
        assert_eq!(accepted.unwrap().get_ref().1.alpn_protocol(), Some(offered));
    }
}

#[tokio::test]
async fn garbage_on_a_port_is_a_clean_error() {
    let ca = ca();
    for server in [
        peer_server(&manager(&ca), ca.trust()).unwrap(),
        session_server(&manager(&ca), ca.trust()).unwrap(),
        api_server(&manager(&ca)).unwrap(),
    ] {
        for garbage in [
            &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
            &[0; 64],
            &[0x16, 3, 1, 0xff, 0xff, 1],
            b"\x16",
        ] {
            let (mut near, far) = duplex(16 << 10);
            near.write_all(garbage).await.unwrap();
            near.shutdown().await.unwrap();
            let result = TlsAcceptor::from(Arc::clone(&server)).accept(far).await;
            assert!(result.is_err());
        }
    }
}
