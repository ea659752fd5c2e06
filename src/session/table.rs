//! The open sessions of this manager: one a container.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::slot::{Over, Slot};
use crate::{model::ContainerId, telemetry::SESSIONS};

#[derive(Debug, Default)]
pub(super) struct Table(Mutex<HashMap<ContainerId, Arc<Slot>>>);

impl Table {
    /// Puts a session in; an earlier one of the same container ends.
    pub(super) fn insert(&self, slot: Arc<Slot>) {
        let mut all = self.lock();
        if let Some(earlier) = all.insert(slot.container, slot) {
            earlier.end(Over::Replaced);
        }
        show(all.len());
    }

    /// Takes a session out, unless a later one has its place.
    pub(super) fn remove(&self, slot: &Arc<Slot>) {
        let mut all = self.lock();
        if all
            .get(&slot.container)
            .is_some_and(|held| Arc::ptr_eq(held, slot))
        {
            all.remove(&slot.container);
        }
        show(all.len());
    }

    pub(super) fn all(&self) -> Vec<Arc<Slot>> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContainerId, Arc<Slot>>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn show(count: usize) {
    // No manager holds so many that a float could not count them.
    metrics::gauge!(SESSIONS).set(count as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_later_session_takes_the_place_and_keeps_it() {
        let table = Table::default();
        let (one, two) = (
            Arc::new(Slot::new(ContainerId(1), 1)),
            Arc::new(Slot::new(ContainerId(1), 2)),
        );
        table.insert(one.clone());
        table.insert(two.clone());
        assert_eq!(one.take().await.over, Some(Over::Replaced));
        table.remove(&one);
        assert_eq!(table.len(), 1);
        table.remove(&two);
        assert_eq!(table.len(), 0);
    }
}
