//! Connections that each client may use at the same time: half of them, so that one client alone
//! cannot keep the others away from a slow server.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use alts_serving::limits::Key;
use tokio::sync::Semaphore;

/// The shares of all clients.
pub struct Shares {
    each: usize,
    /// Of clients that use connections, and of some that did.
    by: Mutex<HashMap<Key, Weak<Semaphore>>>,
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").field("each", &self.each).finish_non_exhaustive()
    }
}

impl Shares {
    /// Those of this many connections.
    #[must_use]
    pub fn of(connections: usize) -> Self {
        Self { each: connections.div_ceil(2).min(Semaphore::MAX_PERMITS), by: Mutex::default() }
    }

    /// The share of one client: a permit for each connection.
    #[must_use]
    pub fn of_client(&self, client: &Key) -> Arc<Semaphore> {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = by.get(client).and_then(Weak::upgrade) {
            return share;
        }
        if by.len() == by.capacity() {
            by.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Semaphore::new(self.each));
        by.insert(client.clone(), Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_has_gone_is_forgotten() {
        let shares = Shares::of(3);
        let held = shares.of_client(&Key::User(0));
        let permit = held.try_acquire().unwrap();
        for uid in 1..10_000 {
            assert_eq!(shares.of_client(&Key::User(uid)).available_permits(), 2);
        }
        assert_eq!(shares.of_client(&Key::User(0)).available_permits(), 1);
        assert!(shares.by.lock().unwrap().len() < 100);
        drop(permit);
    }
}
