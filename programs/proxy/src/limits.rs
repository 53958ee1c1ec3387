//! How many connections there are, in all and on each listener; nobody waits for a place.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A number of places that are taken; clones count the same ones.
#[derive(Clone, Debug, Default)]
pub struct Count {
    taken: Arc<AtomicUsize>,
}

impl Count {
    /// Takes a place if fewer than `limit` are taken.
    #[must_use]
    pub fn take(&self, limit: usize) -> Option<Place> {
        let one_more = |taken: usize| (taken < limit).then(|| taken.saturating_add(1));
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()
            .map(|_| Place { taken: Arc::clone(&self.taken) })
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// A place; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    taken: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
