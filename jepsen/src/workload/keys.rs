//! Objects that are worked on: a few at a time, each with a bounded number of operations, and fresh ones as they fill.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::Rng;

/// Hands out objects.
#[derive(Debug)]
pub struct Keys<T> {
    prefix: &'static str,
    at_once: usize,
    most: u64,
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    open: Vec<Arc<Key<T>>>,
    names: Vec<String>,
}

/// One object.
#[derive(Debug)]
pub struct Key<T> {
    /// Its name.
    pub name: String,
    /// The operations it has seen.
    used: AtomicU64,
    /// Values written to it so far; each is written once.
    next: AtomicU64,
    /// What clients share about it.
    pub known: T,
}

impl<T> Key<T> {
    /// A value that was never written to it, from 1.
    pub fn fresh_value(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl<T: Default> Keys<T> {
    /// `at_once` objects named `prefix` and a number, with at most about `most` operations each.
    pub fn new(prefix: &'static str, at_once: usize, most: u64) -> Self {
        Self {
            prefix,
            at_once,
            most,
            inner: Mutex::new(Inner {
                open: Vec::new(),
                names: Vec::new(),
            }),
        }
    }

    /// One of the objects that have room, for one operation.
    pub fn take(&self, rng: &mut impl Rng) -> Arc<Key<T>> {
        let mut inner = self.inner();
        inner
            .open
            .retain(|key| key.used.load(Ordering::Relaxed) < self.most);
        while inner.open.len() < self.at_once.max(1) {
            let name = format!("{}{}", self.prefix, inner.names.len());
            inner.names.push(name.clone());
            inner.open.push(Arc::new(Key {
                name,
                used: AtomicU64::new(0),
                next: AtomicU64::new(0),
                known: T::default(),
            }));
        }
        let place = rng.random_range(0..inner.open.len());
        let key = inner.open[place].clone();
        key.used.fetch_add(1, Ordering::Relaxed);
        key
    }

    /// Every object there ever was.
    pub fn names(&self) -> Vec<String> {
        self.inner().names.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        // Names are added before they are used: what a panicking holder leaves behind is a name without operations.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn full_objects_make_place_for_fresh_ones() {
        let keys = Keys::<()>::new("r", 3, 10);
        let mut rng = StdRng::seed_from_u64(1);
        let mut used: BTreeMap<String, u64> = BTreeMap::new();
        for _ in 0..100 {
            *used.entry(keys.take(&mut rng).name.clone()).or_default() += 1;
        }
        assert!(used.values().all(|count| *count <= 10), "{used:?}");
        assert!((10..=13).contains(&used.len()), "{used:?}");
        assert_eq!(keys.names().len(), keys.inner().names.len());
        let key = keys.take(&mut rng);
        assert_ne!(key.fresh_value(), key.fresh_value());
    }
}
