//! Heartbeats on their way to the leader, and the leader's word that they count.
//!
//! The leader counts a digest first and has a quorum confirm it afterwards: only then is the digest
//! acknowledged. A new leader can only be elected after that round, and starts a full window.

use std::{fmt, sync::Arc, time::Duration};

use metrics::{Counter, counter};

use super::pulse::Heartbeat;
use crate::{
    consensus::Consensus,
    control::liveness::Digest,
    peers::{AskError, Lane, Peers},
    telemetry::{DIGEST_BYTES, DIGESTS},
};

/// For the leader's quorum round, and the way there and back.
const ANSWER: Duration = Duration::from_millis(600);

/// Counts a digest as heard now, on the leader.
pub type Count = Arc<dyn Fn(&Digest) + Send + Sync>;

/// Takes digests to whoever leads, and counts those of others while this manager does.
pub(super) struct FanIn {
    consensus: Consensus,
    peers: Peers,
    count: Count,
    digests: Counter,
    digest_bytes: Counter,
}

impl fmt::Debug for FanIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FanIn")
    }
}

impl FanIn {
    /// From here on digests of other managers are answered.
    pub(super) fn start(consensus: Consensus, peers: Peers, count: Count) -> Arc<Self> {
        let fan_in = Arc::new(Self {
            consensus,
            peers: peers.clone(),
            count,
            digests: counter!(DIGESTS),
            digest_bytes: counter!(DIGEST_BYTES),
        });
        peers.answer(Lane::FORWARD, &fan_in, |fan_in, _, digest: Digest| async move {
            fan_in.count(&digest).await.map_err(|error| error.to_string())
        });
        fan_in
    }

    /// Sends heartbeats to the leader. They count once this returns well.
    ///
    /// # Errors
    /// When no confirmed leader took them; they may have been counted all the same.
    pub(super) async fn send(&self, heartbeats: Vec<Heartbeat>) -> Result<(), AskError> {
        let me = self.consensus.id();
        let digest = Digest { from: me, heartbeats };
        match self.consensus.leader() {
            Some(leader) if leader == me => self.count(&digest).await,
            Some(leader) => {
                self.digests.increment(1);
                // One that can't be measured can't be sent either.
                if let Ok(size) = postcard::experimental::serialized_size(&digest) {
                    self.digest_bytes.increment(size as u64);
                }
                self.peers.ask(leader, &digest, ANSWER).await
            }
            None => Err(AskError::NotSent("no leader is known".into())),
        }
    }

    /// Fails unless this manager led all the while.
    async fn count(&self, digest: &Digest) -> Result<(), AskError> {
        (self.count)(digest);
        let confirmed = self.consensus.confirm_leading().await;
        confirmed.map_err(|error| AskError::Lost(error.to_string()))
    }
}
