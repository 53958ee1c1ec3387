//! Slots that are shared fairly: nobody can take so many that the next one gets none.
//!
//! A caller may hold as many slots as are still free, and never more than its own limit. One
//! caller alone thus gets at most half of them; `n` busy ones settle at `1/(n + 1)` each, with one
//! share left over for whoever comes next. Nobody waits: a caller that is over its share is told
//! so at once, because clients and servers that wait in one queue may wait for each other.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Who counts as one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A user of this machine.
    User(u32),
    /// All callers from one address whose users are not known.
    Address(Option<IpAddr>),
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The caller holds as many as it may.
    Caller,
    /// So many are taken in all that the caller's share has shrunk to what it holds.
    Total,
}

impl Full {
    /// The label in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller_limit",
            Self::Total => "total_limit",
        }
    }
}

/// A number of slots for all callers together.
#[derive(Clone, Debug)]
pub struct Slots {
    taken: Arc<Mutex<Taken>>,
    total: usize,
    each: usize,
}

#[derive(Debug, Default)]
struct Taken {
    in_all: usize,
    by: HashMap<Key, usize>,
}

impl Slots {
    /// `total` slots, of which one caller never has more than `each`.
    #[must_use]
    pub fn new(total: usize, each: usize) -> Self {
        Self { taken: Arc::default(), total, each }
    }

    /// Takes one for a caller.
    ///
    /// # Errors
    ///
    /// When the caller has its share already.
    pub fn take(&self, key: Key) -> Result<Slot, Full> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by.get(&key).copied().unwrap_or(0);
        if own >= self.each {
            return Err(Full::Caller);
        }
        if own >= self.total.saturating_sub(taken.in_all) {
            return Err(Full::Total);
        }
        taken.in_all = taken.in_all.saturating_add(1);
        taken.by.insert(key, own.saturating_add(1));
        Ok(Slot { taken: Arc::clone(&self.taken), key })
    }
}

/// A slot; dropping it gives it back.
#[derive(Debug)]
pub struct Slot {
    taken: Arc<Mutex<Taken>>,
    key: Key,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.in_all = taken.in_all.saturating_sub(1);
        let left = taken.by.get(&self.key).map_or(0, |own| own.saturating_sub(1));
        if left == 0 {
            taken.by.remove(&self.key);
        } else {
            taken.by.insert(self.key, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(slots: &Slots, key: Key) -> Vec<Slot> {
        core::iter::from_fn(|| slots.take(key).ok()).collect()
    }

    #[test]
    fn one_caller_leaves_half() {
        let slots = Slots::new(16, 100);
        let first = take_all(&slots, Key::User(1));
        assert_eq!(first.len(), 8);
        assert_eq!(slots.take(Key::User(1)).unwrap_err(), Full::Total);
        assert_eq!(take_all(&slots, Key::User(2)).len(), 4);
    }

    #[test]
    fn floods_one_after_the_other_leave_something_each_time() {
        let slots = Slots::new(1024, 1024);
        let mut held = Vec::new();
        for user in 0..9 {
            let own = take_all(&slots, Key::User(user));
            assert!(!own.is_empty(), "user {user} got nothing");
            held.push(own);
        }
        // As slots come back and are taken again, all end up with the same.
        for _ in 0..2000 {
            for (user, own) in held.iter_mut().enumerate() {
                own.pop();
                own.extend(slots.take(Key::User(u32::try_from(user).unwrap())).ok());
            }
        }
        let newcomer = take_all(&slots, Key::User(100));
        assert!(newcomer.len() >= 30, "{}", newcomer.len());
    }

    #[test]
    fn the_callers_own_limit_holds_and_slots_come_back() {
        let slots = Slots::new(100, 3);
        let mut own = take_all(&slots, Key::User(1));
        assert_eq!(own.len(), 3);
        assert_eq!(slots.take(Key::User(1)).unwrap_err(), Full::Caller);
        own.pop();
        assert!(slots.take(Key::User(1)).is_ok());
        drop(own);
        assert!(slots.taken.lock().unwrap().by.is_empty(), "nothing is kept of who is gone");
    }
}
