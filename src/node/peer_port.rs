//! The peer port: TLS over TCP, in both directions.

use std::{io, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use rustls::{ClientConfig, ServerConfig};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::{
    peers::{BoxedStream, Dial, Peers},
    security::{self, PeerIdentity},
};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Peer connections at a time. Five managers need some dozens.
const CONNECTIONS: usize = 256;

/// Dials other managers.
#[derive(Debug)]
pub(super) struct TlsDial {
    config: Arc<ClientConfig>,
}

impl TlsDial {
    pub fn new(config: Arc<ClientConfig>) -> Self {
        Self { config }
    }
}

impl Dial for TlsDial {
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<BoxedStream>> {
        let connector = TlsConnector::from(self.config.clone());
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream = connector.connect(security::manager_name(), stream).await?;
            Ok(Box::new(stream) as BoxedStream)
        })
    }
}

/// Accepts connections from other managers until `end`.
pub(super) async fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    peers: Peers,
    end: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(config);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = end.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, say: waiting helps, ending does not.
                warn!(%error, "can't accept a peer connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, peers, end) = (acceptor.clone(), peers.clone(), end.clone());
        connections.spawn(async move {
            tokio::select! {
                () = serve(stream, acceptor, peers) => {}
                () = end.cancelled() => {}
            }
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, peers: Peers) {
    let from = stream.peer_addr().map_or_else(|_| "?".into(), |a| a.to_string());
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a peer connection ended at once");
        return;
    }
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return warn!(%from, %error, "refused a peer connection"),
        Err(_) => return warn!(%from, "a peer connection did not finish its handshake"),
    };
    let identity = PeerIdentity::of(stream.get_ref().1).ok().flatten();
    // The TLS configuration lets only managers' certificates pass.
    let Some(id) = identity.and_then(|identity| identity.manager_id()) else {
        return warn!(%from, "refused a peer connection: its certificate names no manager");
    };
    peers.serve(Box::new(stream), id).await;
}
