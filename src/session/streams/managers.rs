//! Streams from manager to manager: a connection to each other one, made when it is needed.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional_with_sizes},
    task::JoinSet,
};

use super::{ANSWER_BYTES, OpenError, Streams, answer, open_on};
use crate::{
    model::{ManagerId, StreamAnswer, StreamHeader},
    peers::{BoxedStream, Lane, Peers},
    wire::{
        self, WireError,
        streams::{Limits, Mux, Role, Stream},
    },
};

/// Who dials opens streams, and ends the connection when it needs none.
const DIALLED: Limits = Limits {
    incoming: 0,
    outgoing: 256,
    window: 32 << 10,
    widest: 512 << 10,
    bytes: 16 << 20,
    idle: Duration::from_secs(60),
    stream_idle: Duration::from_secs(300),
};

const CALLED: Limits = Limits {
    incoming: 256,
    outgoing: 0,
    idle: Duration::from_secs(180),
    ..DIALLED
};

/// Bytes of each direction's buffer of a stream that goes through.
const BUFFER: usize = 32 << 10;

/// The connections to other managers.
pub(super) struct Managers {
    peers: Peers,
    open: Mutex<BTreeMap<ManagerId, Arc<Mux>>>,
}

impl fmt::Debug for Managers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Managers")
    }
}

impl Managers {
    pub(super) fn new(peers: Peers) -> Self {
        Self {
            peers,
            open: Mutex::default(),
        }
    }

    /// A stream to a container whose session another manager holds. No manager is known to hold it, so all are
    /// asked at once: those that don't say so at once.
    pub(super) async fn open(&self, header: StreamHeader) -> Result<Stream, OpenError> {
        let others = self.peers.others();
        let mut asked: FuturesUnordered<_> = others.into_keys().map(|id| self.open_at(id, header)).collect();
        let mut refused = OpenError::NoSession;
        while let Some(opened) = asked.next().await {
            match opened {
                Ok(stream) => return Ok(stream),
                Err(OpenError::NoSession) => {}
                Err(error) => {
                    tracing::debug!(container = %header.container, %error, "a manager opened no stream");
                    refused = error;
                }
            }
        }
        Err(refused)
    }

    async fn open_at(&self, id: ManagerId, header: StreamHeader) -> Result<Stream, OpenError> {
        let mut stream = open_on(&*self.to(id).await?, header).await?;
        answer(&mut stream).await?;
        Ok(stream)
    }

    /// The connection to a manager.
    async fn to(&self, id: ManagerId) -> Result<Arc<Mux>, OpenError> {
        if let Some(open) = self.with(|open| live(open, id)) {
            return Ok(open);
        }
        let unreached = |source| OpenError::Manager { id, source };
        let others = self.peers.others();
        let gone = || unreached(std::io::Error::other("it is no member of this cluster"));
        let member = others.get(&id).ok_or_else(gone)?;
        let stream = self
            .peers
            .connect(Lane::STREAMS, id, member)
            .await
            .map_err(unreached)?;
        let fresh = Arc::new(Mux::new(stream, Role::Dialled, DIALLED));
        Ok(self.with(|open| {
            open.retain(|id, mux| others.contains_key(id) && mux.ended().is_none());
            // Another one may have been as quick.
            open.entry(id).or_insert(fresh).clone()
        }))
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<ManagerId, Arc<Mux>>) -> T) -> T {
        // Nothing panics while it is held.
        act(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_member(&self, id: ManagerId) -> bool {
        self.peers.others().contains_key(&id)
    }
}

fn live(open: &BTreeMap<ManagerId, Arc<Mux>>, id: ManagerId) -> Option<Arc<Mux>> {
    open.get(&id).filter(|mux| mux.ended().is_none()).cloned()
}

impl Streams {
    /// Serves the streams that another manager opens, until it ends the connection.
    pub(super) async fn serve(self: Arc<Self>, from: ManagerId, connection: BoxedStream) {
        let mux = Mux::new(connection, Role::Called, CALLED);
        // Ends with the connection, which bounds how many there are.
        let mut serving = JoinSet::new();
        loop {
            tokio::select! {
                opened = mux.accept::<StreamHeader>() => match opened {
                    // A connection may be older than the end of its manager.
                    Ok(_) if !self.managers.is_member(from) => {
                        return mux.close("this manager is no member of the cluster any more");
                    }
                    Ok((header, stream)) => drop(serving.spawn(self.clone().pass(header, stream))),
                    Err(over) => return tracing::debug!(manager = from, "{over}"),
                },
                Some(_) = serving.join_next() => {}
            }
        }
    }

    /// Puts a stream of another manager together with one to a container whose session is open here.
    async fn pass(self: Arc<Self>, header: StreamHeader, mut stream: Stream) {
        let carried = match self.here(header).await {
            Ok(mut inner) => {
                let carried = copy_bidirectional_with_sizes(&mut stream, &mut inner, BUFFER, BUFFER).await;
                carried.map(|_| ()).map_err(WireError::from)
            }
            Err(error) => refuse(stream, &error).await,
        };
        if let Err(error) = carried {
            tracing::debug!(container = %header.container, %error, "a stream through this manager was cut");
        }
    }
}

async fn refuse(mut stream: Stream, why: &OpenError) -> Result<(), WireError> {
    let answer = match why {
        OpenError::NoSession => StreamAnswer::NoSession,
        other => StreamAnswer::Refused {
            reason: other.to_string(),
        },
    };
    wire::write_frame(&mut stream, &answer, ANSWER_BYTES).await?;
    Ok(stream.shutdown().await?)
}
