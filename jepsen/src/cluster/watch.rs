//! What managers say of themselves all the time, held against what must always be so: terms never go back, a term has
//! one leader, and what a running manager has applied never gets less.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{FutureExt, join_all};
use serde::Serialize;
use tokio::time::sleep;

use super::{Cluster, Seat};

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What was seen, and what must not have been.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// The leader of each term, by its own word.
    leaders: BTreeMap<u64, u64>,
    /// The term of each manager: of a seat, and how often its data was wiped.
    terms: BTreeMap<(u64, u64), u64>,
    /// What each process had applied.
    applied: BTreeMap<(u64, i32), u64>,
    looks: u64,
    contradictions: Vec<String>,
}

/// For the verdict.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Watched {
    /// Answers that were held against each other.
    pub looks: u64,
    /// Terms in which somebody said to lead.
    pub leaders: usize,
    pub contradictions: Vec<String>,
}

/// One manager's word.
#[derive(Debug, Clone, Copy)]
struct Word {
    seat: u64,
    wiped: u64,
    process: i32,
    manager: u64,
    leader: Option<u64>,
    term: u64,
    applied: u64,
}

impl Seen {
    fn hear(&mut self, word: Word) {
        self.looks += 1;
        if word.leader == Some(word.manager) {
            let known = *self.leaders.entry(word.term).or_insert(word.manager);
            if known != word.manager {
                self.contradictions.push(format!(
                    "managers {known} and {} both led in term {}",
                    word.manager, word.term
                ));
            }
        }
        let term = self.terms.entry((word.seat, word.wiped)).or_default();
        if word.term < *term {
            self.contradictions.push(format!(
                "manager {} went back from term {term} to {}",
                word.manager, word.term
            ));
        }
        *term = word.term.max(*term);
        let applied = self.applied.entry((word.seat, word.process)).or_default();
        if word.applied < *applied {
            self.contradictions.push(format!(
                "manager {} went back from revision {applied} to {}",
                word.manager, word.applied
            ));
        }
        *applied = word.applied.max(*applied);
    }
}

impl Watch {
    /// Looks at all managers until dropped.
    pub async fn look(cluster: Arc<Cluster>) {
        loop {
            join_all(
                cluster
                    .seats
                    .iter()
                    .map(|seat| cluster.watch.look_at(seat).boxed()),
            )
            .await;
            sleep(LOOK_EVERY).await;
        }
    }

    async fn look_at(&self, seat: &Seat) {
        let Some(before) = seat.identity() else { return };
        let Ok(status) = seat.status().await else {
            return;
        };
        // Between question and answer, another manager may have moved in.
        if seat.identity() != Some(before) {
            return;
        }
        let (wiped, process) = before;
        self.seen().hear(Word {
            seat: seat.number,
            wiped,
            process,
            manager: status.answered_by,
            leader: status.leader,
            term: status.term,
            applied: status.revision,
        });
    }

    /// What was seen so far.
    pub fn watched(&self) -> Watched {
        let seen = self.seen();
        Watched {
            looks: seen.looks,
            leaders: seen.leaders.len(),
            contradictions: seen.contradictions.clone(),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: Word = Word {
        seat: 1,
        wiped: 0,
        process: 100,
        manager: 1,
        leader: Some(1),
        term: 5,
        applied: 10,
    };

    fn contradictions(words: &[Word]) -> usize {
        let mut seen = Seen::default();
        for word in words {
            seen.hear(*word);
        }
        seen.contradictions.len()
    }

    #[test]
    fn what_must_not_be_is_noticed() {
        let follower = Word {
            seat: 2,
            manager: 2,
            ..WORD
        };
        assert_eq!(contradictions(&[WORD, WORD, follower]), 0);
        let usurper = Word {
            leader: Some(2),
            ..follower
        };
        assert_eq!(contradictions(&[WORD, usurper]), 1);
        assert_eq!(contradictions(&[WORD, Word { term: 4, ..WORD }]), 1);
        assert_eq!(contradictions(&[WORD, Word { applied: 9, ..WORD }]), 1);
    }

    #[test]
    fn a_restart_may_begin_behind_and_a_wiped_manager_anew() {
        let restarted = Word {
            process: 101,
            applied: 3,
            ..WORD
        };
        assert_eq!(contradictions(&[WORD, restarted]), 0);
        let wiped = Word {
            wiped: 1,
            process: 101,
            manager: 4,
            leader: None,
            term: 0,
            ..WORD
        };
        assert_eq!(contradictions(&[WORD, wiped]), 0);
    }
}
