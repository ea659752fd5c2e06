//! A proxy in front of the real engine, over TCP or TLS, that can be told to fail in each way an engine can.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, copy_bidirectional, split},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::docker::SOCKET;

/// What the engine behind the proxy seems to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It works.
    Pass,
    /// It takes connections and never says a word; those that are open say none either.
    Deaf,
    /// It ends every connection with a reset.
    Reset,
    /// It answers what is no HTTP.
    Garbage,
    /// It answers with bytes that never end.
    Flood,
    /// It does what it is asked to, and the answers to changes get lost.
    Swallow,
}

/// A proxy; it ends when dropped.
pub struct Proxy {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    tls: Option<TlsAcceptor>,
    open: Arc<AtomicUsize>,
    accepting: JoinSet<()>,
}

impl Proxy {
    pub async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut proxy = Self {
            address: listener.local_addr().unwrap(),
            mode: watch::channel(Mode::Pass).0,
            tls,
            open: Arc::default(),
            accepting: JoinSet::new(),
        };
        proxy.accept(listener);
        proxy
    }

    fn accept(&mut self, listener: TcpListener) {
        let (mode, tls, open) = (self.mode.subscribe(), self.tls.clone(), self.open.clone());
        self.accepting.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (mode, tls, open) = (mode.clone(), tls.clone(), open.clone());
                serving.spawn(async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    serve(stream, tls, mode).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
    }

    /// From now on. A connection that does not fit the mode any more ends, except that before `Deaf` all stay.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// The engine is gone: nobody listens.
    pub async fn vanish(&mut self) {
        self.accepting.shutdown().await;
        self.open.store(0, Ordering::SeqCst);
    }

    /// It is back, at the same address.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.accept(listener);
    }

    /// Waits until nobody has a connection any more.
    pub async fn until_left(&self) {
        while self.open.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, mut mode: watch::Receiver<Mode>) {
    let now = *mode.borrow_and_update();
    if now == Mode::Reset {
        // What was never read makes the end a reset.
        let _ = stream.readable().await;
        return;
    }
    match tls {
        None => behave(stream, now, mode).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                behave(stream, now, mode).await;
            }
        }
    }
}

async fn behave<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    now: Mode,
    mut mode: watch::Receiver<Mode>,
) {
    match now {
        Mode::Reset => {}
        Mode::Deaf => {
            let _ = tokio::time::timeout(Duration::from_secs(3600), drain(&mut stream)).await;
        }
        Mode::Garbage => {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"220 mail.example.org ESMTP\r\n").await;
        }
        Mode::Flood => {
            let _ = stream.read(&mut [0; 4096]).await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
            let mut sent = stream.write_all(head).await;
            while sent.is_ok() {
                sent = stream.write_all(&[b' '; 65536]).await;
            }
        }
        Mode::Swallow => swallow(stream).await,
        Mode::Pass => {
            let Ok(mut engine) = UnixStream::connect(SOCKET).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut stream, &mut engine) => return,
                _ = mode.changed() => {}
            }
            if *mode.borrow() == Mode::Deaf {
                drain(&mut stream).await;
            }
        }
    }
}

/// Reads until the other side ends, and says nothing.
async fn drain<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
}

/// Passes questions on both ways, and changes one way.
async fn swallow<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let Ok(mut engine) = UnixStream::connect(SOCKET).await else {
        return;
    };
    let mut first = vec![0; 65536];
    let Ok(n) = stream.read(&mut first).await else {
        return;
    };
    if engine.write_all(&first[..n]).await.is_err() {
        return;
    }
    if first.starts_with(b"GET ") {
        let _ = copy_bidirectional(&mut stream, &mut engine).await;
    } else {
        let (mut questions, _answers) = split(stream);
        let (mut unheard, mut asked) = split(engine);
        tokio::join!(drain(&mut unheard), async {
            let _ = copy(&mut questions, &mut asked).await;
            let _ = asked.shutdown().await;
        });
    }
}

/// A CA of an engine, and what both sides need of it.
pub struct Papers {
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Papers {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = params.self_signed(&key).unwrap().pem();
        Self {
            ca_pem,
            issuer: Issuer::new(params, key),
        }
    }

    fn signed(&self, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// The engine's side: it takes only clients of this CA.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let (certificate, key) = self.signed(&["127.0.0.1"]);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// The manager's side: the files that Docker's own client would take.
    pub fn put(&self, dir: &Path) {
        self.write(dir, "client");
    }

    /// The side of an engine at this address.
    pub fn put_server(&self, dir: &Path, address: &str) {
        self.write(dir, address);
    }

    fn write(&self, dir: &Path, name: &str) {
        std::fs::create_dir_all(dir).unwrap();
        let (certificate, key) = self.signed(&[name]);
        for (name, text) in [
            ("ca.pem", &self.ca_pem),
            ("cert.pem", &certificate),
            ("key.pem", &key),
        ] {
            std::fs::write(dir.join(name), text).unwrap();
        }
    }
}
