//! Snapshots on their way from one manager to another: a connection for each, one part after the other.
//!
//! What was begun and not ended leaves no trace.

use std::{io::Read, sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::raft::SnapshotResponse;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{
    core::Core,
    runtime::blocking,
    snapshot_store::{Incoming, SnapshotError},
    types::{Snapshot, SnapshotMeta, TypeConfig, Vote},
};
use crate::{
    model::{ManagerId, Member},
    peers::{AskError, BoxedStream, Channel, Lane, Peers},
};

/// Bytes of a snapshot sent at a time.
const PART: usize = 1 << 20;

/// One part of a snapshot, or its installation, may take this long.
pub(super) const STEP: Duration = Duration::from_secs(60);

/// A peer that takes none of our answers for this long is gone.
const STUCK: Duration = Duration::from_secs(5);

/// What is sent, each answered before the next.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Piece {
    /// The head.
    Begin {
        /// The vote of the leader that sends it.
        vote: Vote,
        /// What the snapshot is of.
        meta: SnapshotMeta,
    },
    /// The next bytes.
    Part(Bytes),
    /// That was all.
    End,
}

/// The answer to a piece.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Taken {
    /// Go on.
    More,
    /// It is in place.
    Installed(SnapshotResponse<TypeConfig>),
    /// It failed, and why.
    Failed(String),
}

/// Sends a snapshot and waits until it is in place.
///
/// # Errors
/// [`AskError`].
pub(super) async fn send(
    peers: &Peers,
    target: ManagerId,
    member: &Member,
    vote: Vote,
    snapshot: Snapshot,
) -> Result<SnapshotResponse<TypeConfig>, AskError> {
    let not_sent = |error: std::io::Error| AskError::NotSent(error.to_string());
    let stream = peers.connect(Lane::SNAPSHOT, target, member).await;
    let mut channel: Channel = stream.map_err(not_sent)?.into();
    let meta = snapshot.meta;
    step(&mut channel, &Piece::Begin { vote, meta }).await?;
    let mut file = snapshot.snapshot.raw_reader();
    loop {
        let read = move || {
            let mut part = Vec::with_capacity(PART);
            (&mut file)
                .take(PART as u64)
                .read_to_end(&mut part)
                .map(|_| (file, part))
        };
        let (left, part) = blocking(read).await.flatten().map_err(not_sent)?;
        if part.is_empty() {
            break;
        }
        file = left;
        step(&mut channel, &Piece::Part(part.into())).await?;
    }
    match step(&mut channel, &Piece::End).await? {
        Taken::Installed(answer) => Ok(answer),
        Taken::More | Taken::Failed(_) => Err(AskError::Refused("it did not say that it is in place".into())),
    }
}

async fn step(channel: &mut Channel, piece: &Piece) -> Result<Taken, AskError> {
    let Channel { reader, writer } = channel;
    let lost = |why: String| AskError::Lost(why);
    let exchange = async {
        writer.send(piece).await?;
        reader.read::<Taken>().await
    };
    match timeout(STEP, exchange).await {
        Ok(Ok(Some(Taken::Failed(why)))) => Err(AskError::Refused(why)),
        Ok(Ok(Some(taken))) => Ok(taken),
        Ok(Ok(None)) => Err(lost("the connection ended".into())),
        Ok(Err(error)) => Err(lost(error.to_string())),
        Err(_) => Err(lost(format!("none within {STEP:?}"))),
    }
}

/// A snapshot on its way in.
struct Arriving {
    vote: Vote,
    meta: SnapshotMeta,
    receiver: Incoming,
}

/// Takes snapshots in.
pub(super) async fn serve(core: Arc<Core>, stream: BoxedStream) {
    let Channel {
        mut reader,
        mut writer,
    } = stream.into();
    let mut arriving: Option<Arriving> = None;
    while let Ok(Ok(Some(piece))) = timeout(STEP, reader.read::<Piece>()).await {
        core.heard();
        let taken = match take(&core, &mut arriving, piece).await {
            Ok(taken) => taken,
            Err(why) => Taken::Failed(why),
        };
        if writer.push(&taken).is_err() || !matches!(timeout(STUCK, writer.flush()).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn take(core: &Core, arriving: &mut Option<Arriving>, piece: Piece) -> Result<Taken, String> {
    match (piece, arriving.take()) {
        (Piece::Begin { vote, meta }, _) => {
            let snapshots = core.snapshots.clone();
            let receiver = file_work(move || snapshots.receive()).await?;
            *arriving = Some(Arriving { vote, meta, receiver });
            Ok(Taken::More)
        }
        (Piece::Part(part), Some(mut begun)) => {
            *arriving = Some(file_work(move || begun.receiver.append(&part).map(|()| begun)).await?);
            Ok(Taken::More)
        }
        (Piece::End, Some(Arriving { vote, meta, receiver })) => {
            core.install(vote, meta, receiver).await.map(Taken::Installed)
        }
        (Piece::Part(_) | Piece::End, None) => Err("no snapshot was begun, or a part of it failed".into()),
    }
}

/// Does file work where it holds nobody up.
async fn file_work<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, String> {
    match blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
