//! Answers by idempotency key, so that a retry has one effect and one answer.
//!
//! Kept for 24 h of log time or the last million, replicated and in snapshots: a retry through
//! another manager, after a failover or a restart, meets the same table.

use std::time::Duration;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::{
    command::{Rejection, Reply, RequestKey},
    model::{Millis, Revision, TokenId},
};

const KEEP_FOR: Duration = Duration::from_secs(24 * 3600);
const KEEP_AT_MOST: usize = 1_000_000;

type Key = (TokenId, String);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answer {
    fingerprint: u64,
    reply: Reply,
}

/// The table, with the order in which answers grow old.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Answers {
    by_key: OrdMap<Key, Answer>,
    by_age: OrdMap<Revision, (Millis, Key)>,
}

impl Answers {
    /// The first answer to this key, or that the key was used for something else.
    pub(super) fn find(&self, key: &RequestKey) -> Option<Result<Reply, Rejection>> {
        let answer = self.by_key.get(&(key.principal, key.key.clone()))?;
        Some(if answer.fingerprint == key.fingerprint {
            Ok(answer.reply.clone())
        } else {
            Err(Rejection::KeyReused)
        })
    }

    pub(super) fn remember(&mut self, key: &RequestKey, reply: &Reply, now: Millis) {
        let full = (key.principal, key.key.clone());
        self.by_age.insert(reply.revision, (now, full.clone()));
        self.by_key.insert(
            full,
            Answer {
                fingerprint: key.fingerprint,
                reply: reply.clone(),
            },
        );
    }

    /// Drops what is over the bounds. Called with each keyed entry, so it drops about one at a time.
    pub(super) fn forget_old(&mut self, now: Millis) {
        while let Some((revision, (at, key))) = self.by_age.get_min() {
            let full = self.by_key.len() >= KEEP_AT_MOST;
            if !full && now.since(*at) < KEEP_FOR {
                return;
            }
            let (revision, key) = (*revision, key.clone());
            self.by_age.remove(&revision);
            self.by_key.remove(&key);
        }
    }

    pub(super) fn len(&self) -> (usize, usize) {
        (self.by_key.len(), self.by_age.len())
    }
}
