//! The way to one member's client port: TCP with Nagle's algorithm off, then TLS when the round has it. The same for
//! both systems.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Ports that the kernel does not give to outgoing connections by default: a killed member's port must still be
/// free when it is started again, among a thousand clients that reconnect.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// HTTP/2 flow-control windows that no answer of ours can fill.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Bytes both ways, plain or inside TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection as hyper takes it.
type Io = TokioIo<Box<dyn Stream>>;

/// Sends requests over one HTTP/1.1 connection, one at a time.
pub type Http1 = http1::SendRequest<Full<Bytes>>;
/// Sends requests over one HTTP/2 connection, many at a time; clones share it.
pub type Http2 = http2::SendRequest<Full<Bytes>>;

/// A member's client port.
#[derive(Clone)]
pub struct Endpoint {
    pub address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Endpoint {
    /// The port without TLS.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// The port inside TLS: its certificate must come from `authority` (a PEM file); `protocol` is the ALPN name.
    ///
    /// # Errors
    /// The authority's certificate cannot be read.
    pub fn tls(address: SocketAddr, authority: &Path, protocol: &str) -> Result<Self> {
        let unreadable = || format!("{} is no certificate", authority.display());
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(authority).with_context(unreadable)?)
            .with_context(unreadable)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("ring has no protocol version in common with rustls")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(Self {
            address,
            tls: Some(TlsConnector::from(Arc::new(config))),
        })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// The member refuses it, or the TLS handshake fails.
    async fn open(&self) -> Result<Io> {
        let stream = TcpStream::connect(self.address)
            .await
            .with_context(|| format!("{} does not accept connections", self.address))?;
        stream.set_nodelay(true).context("TCP_NODELAY was refused")?;
        let Some(tls) = &self.tls else {
            return Ok(TokioIo::new(Box::new(stream)));
        };
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = tls
            .connect(name, stream)
            .await
            .with_context(|| format!("no TLS session with {}", self.address))?;
        Ok(TokioIo::new(Box::new(stream)))
    }

    /// Opens an HTTP/1.1 connection.
    ///
    /// # Errors
    /// The member refuses it, or the TLS handshake fails.
    pub async fn open_http1(&self) -> Result<Http1> {
        let io = self.open().await?;
        let (sender, connection) = http1::handshake(io)
            .await
            .with_context(|| format!("no HTTP/1.1 with {}", self.address))?;
        // Ends with its sender; what went wrong is told to the request under way.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Opens an HTTP/2 connection.
    ///
    /// # Errors
    /// The member refuses it, or the TLS or HTTP/2 handshake fails.
    pub async fn open_http2(&self) -> Result<Http2> {
        let io = self.open().await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(io)
            .await
            .with_context(|| format!("no HTTP/2 with {}", self.address))?;
        // Ends when every clone of the sender is gone; what went wrong is told to the requests under way.
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// `N` ports of loopback that nobody listens on now.
///
/// # Errors
/// There are not that many.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut found = [0; N];
    // Begin at another place in each process, so that two runs on one machine do not race for the same ports.
    let span = usize::from(PORTS.end - PORTS.start);
    let offset = std::process::id() as usize * 61 % span;
    let mut candidates = (0..span)
        .map(|step| PORTS.start + ((offset + step) % span) as u16)
        .filter(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    for port in &mut found {
        match candidates.next() {
            Some(free) => *port = free,
            None => bail!("fewer than {N} free ports on loopback"),
        }
    }
    Ok(found)
}
