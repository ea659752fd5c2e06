//! Answers by idempotency key, so that a retry has one effect and one answer.
//!
//! Kept for 24 h of log time or the last million, replicated and in snapshots: a retry through
//! another manager, after a failover or a restart, meets the same table.

use std::{borrow::Borrow, cmp::Ordering, sync::Arc, time::Duration};

use imbl::{OrdSet, Vector};
use serde::{Deserialize, Serialize};

use crate::{
    command::{Rejection, Reply, RequestKey},
    model::{Millis, TokenId},
};

const KEEP_FOR: Duration = Duration::from_secs(24 * 3600);
const KEEP_AT_MOST: usize = 1_000_000;

/// An answer with the request it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answer {
    key: RequestKey,
    at: Millis,
    reply: Reply,
}

/// What tells requests apart: the principal and its key, not what was asked for.
trait Scoped {
    fn scope(&self) -> (TokenId, &str);
}

impl Scoped for RequestKey {
    fn scope(&self) -> (TokenId, &str) {
        (self.principal, &self.key)
    }
}

impl PartialEq for dyn Scoped {
    fn eq(&self, other: &Self) -> bool {
        self.scope() == other.scope()
    }
}

impl Eq for dyn Scoped {}

impl PartialOrd for dyn Scoped {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Scoped {
    fn cmp(&self, other: &Self) -> Ordering {
        self.scope().cmp(&other.scope())
    }
}

/// An answer where it is found by its key. Looked up by a borrowed one, so that finding copies nothing.
#[derive(Debug, Clone)]
struct ByKey(Arc<Answer>);

impl Borrow<dyn Scoped> for ByKey {
    fn borrow(&self) -> &(dyn Scoped + 'static) {
        &self.0.key
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key.scope() == other.0.key.scope()
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.scope().cmp(&other.0.key.scope())
    }
}

/// The table: each answer once, oldest first, and found by its key. Only the order of age goes into
/// snapshots; it is the order of the log, so equal tables give equal bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Arc<Answer>>", into = "Vector<Arc<Answer>>")]
pub(super) struct Answers {
    by_key: OrdSet<ByKey>,
    by_age: Vector<Arc<Answer>>,
}

/// Of a `Vec`, which unlike a `Vector` is read without asking for all the room that the bytes claim to need.
impl From<Vec<Arc<Answer>>> for Answers {
    fn from(by_age: Vec<Arc<Answer>>) -> Self {
        let by_age = Vector::from(by_age);
        let by_key = by_age.iter().map(|answer| ByKey(Arc::clone(answer))).collect();
        Self { by_key, by_age }
    }
}

impl From<Answers> for Vector<Arc<Answer>> {
    fn from(answers: Answers) -> Self {
        answers.by_age
    }
}

impl Answers {
    /// The first answer to this key, or that the key was used for something else.
    pub(super) fn find(&self, key: &RequestKey) -> Option<Result<Reply, Rejection>> {
        let ByKey(answer) = self.by_key.get(key as &dyn Scoped)?;
        Some(if answer.key.fingerprint == key.fingerprint {
            Ok(answer.reply.clone())
        } else {
            Err(Rejection::KeyReused)
        })
    }

    /// Keeps the answer to a key that [`find`](Self::find) did not know.
    pub(super) fn remember(&mut self, key: &RequestKey, reply: &Reply, now: Millis) {
        let answer = Arc::new(Answer {
            key: key.clone(),
            at: now,
            reply: reply.clone(),
        });
        self.by_age.push_back(Arc::clone(&answer));
        self.by_key.insert(ByKey(answer));
    }

    /// Drops what is over the bounds. Called with each keyed entry, so it drops about one at a time.
    pub(super) fn forget_old(&mut self, now: Millis) {
        while let Some(oldest) = self.by_age.front() {
            let full = self.by_key.len() >= KEEP_AT_MOST;
            if !full && now.since(oldest.at) < KEEP_FOR {
                return;
            }
            if let Some(oldest) = self.by_age.pop_front() {
                self.by_key.remove(&oldest.key as &dyn Scoped);
            }
        }
    }

    pub(super) fn len(&self) -> (usize, usize) {
        (self.by_key.len(), self.by_age.len())
    }
}
