//! A runner's second connection.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::server::TlsStream;

use super::Slot;
use crate::{
    model::{
        ContainerId, StreamTicket,
        session::{FromManager, MAX_FRAME_BYTES},
    },
    session::{Core, Refusal, accept::refuse, serve::stopping},
    wire::{
        self,
        streams::{Limits, Mux, Role},
    },
};

/// Connections for streams that a manager holds at a time. Those that nobody uses end.
pub(in crate::session) const CONNECTIONS: usize = 1024;

/// For the answer to go out.
const WRITE: Duration = Duration::from_secs(5);

/// Streams open towards a container, and none come from it.
const LIMITS: Limits = Limits {
    incoming: 0,
    outgoing: 64,
    window: 32 << 10,
    widest: 512 << 10,
    bytes: 8 << 20,
    idle: Duration::from_secs(60),
    stream_idle: Duration::from_secs(300),
};

/// What a runner's second connection says of itself. The container is the certificate's.
#[derive(Debug)]
pub(in crate::session) struct Claim {
    pub container: ContainerId,
    pub boot: u64,
    pub ticket: StreamTicket,
}

/// Serves the connection to its end.
pub(in crate::session) async fn serve(
    core: &Core,
    mut stream: TlsStream<TcpStream>,
    address: SocketAddr,
    claim: Claim,
) {
    let (container, session) = (claim.container, core.roster.session(claim.container));
    let session = session.filter(|session| session.boot == claim.boot);
    let Some(session) = session else {
        let why = "a connection for streams belongs to a session, and this one is not open here";
        return refuse(core, stream, address, Refusal::for_now(why)).await;
    };
    if !session.streams.redeem(&claim.ticket) {
        let why = "this is not the ticket that the session was told, or it was used, or it is too old";
        return refuse(core, stream, address, Refusal::for_now(why)).await;
    }
    let Ok(_place) = core.stream_places.try_acquire() else {
        let why = format!("this manager holds {CONNECTIONS} connections for streams already");
        return refuse(core, stream, address, Refusal::for_now(why)).await;
    };
    let opened = wire::write_frame(&mut stream, &FromManager::StreamsOpen, MAX_FRAME_BYTES);
    if !matches!(timeout(WRITE, opened).await, Ok(Ok(()))) {
        return;
    }
    let mux = Arc::new(Mux::new(stream, Role::Called, LIMITS));
    let closed = mux.closed();
    session.streams.fill(mux.clone());
    tracing::debug!(%container, %address, "a connection for streams is open");
    tokio::pin!(closed);
    let reason = tokio::select! {
        reason = &mut closed => reason,
        reason = over(core, &session.streams) => {
            mux.close(&reason);
            closed.await
        }
    };
    tracing::debug!(%container, %address, %reason, "a connection for streams is over");
}

/// Waits until the connection has to end, and gives the reason.
async fn over(core: &Core, slot: &Slot) -> String {
    tokio::select! {
        () = slot.over() => "the session of the runner is over".to_owned(),
        () = core.shutdown.cancelled() => stopping().reason,
    }
}
