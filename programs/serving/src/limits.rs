//! Slots that are shared fairly: nobody can take so many that the next one gets none.
//!
//! A caller may hold as many slots as are still free, and never more than its own limit. One
//! caller thus gets at most half of them; `n` busy ones settle at `1/(n + 1)` each, with one
//! share left over for the next one. Nobody waits: a caller that is over its share is refused at
//! once, because clients and servers that wait in one queue may wait for each other.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What counts as one caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A user of this machine.
    User(u32),
    /// A service account that a handshake has proved.
    Account(Arc<str>),
    /// All callers from one network whose users are not known: an IPv4 address, or the /64 of an
    /// IPv6 address, in which one machine has as many addresses as it likes.
    Address(Option<IpAddr>),
}

impl Key {
    /// The key of callers from an address.
    #[must_use]
    pub fn of_address(address: IpAddr) -> Self {
        Self::Address(Some(match address.to_canonical() {
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
            canonical @ IpAddr::V4(_) => canonical,
        }))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => write!(f, "uid {uid}"),
            Self::Account(account) => f.write_str(account),
            Self::Address(Some(IpAddr::V6(address))) => write!(f, "{address}/64"),
            Self::Address(Some(IpAddr::V4(address))) => address.fmt(f),
            Self::Address(None) => f.write_str("unknown"),
        }
    }
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

/// A number of slots for all callers together; clones share them.
#[derive(Clone, Debug)]
pub struct Slots {
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug)]
struct Taken {
    total: usize,
    each: usize,
    in_all: usize,
    by: HashMap<Key, usize>,
}

impl Taken {
    fn take(&mut self, key: &Key, count: usize) -> Result<(), Full> {
        let own = self.by.get(key).copied().unwrap_or(0).saturating_add(count);
        if own > self.each {
            return Err(Full::Caller);
        }
        // As if they were taken one after the other.
        let others = self.in_all.saturating_add(count.saturating_sub(1));
        if own > self.total.saturating_sub(others) {
            return Err(Full::Total);
        }
        self.in_all = self.in_all.saturating_add(count);
        self.by.insert(key.clone(), own);
        Ok(())
    }

    fn give_back(&mut self, key: &Key, count: usize) {
        self.in_all = self.in_all.saturating_sub(count);
        let left = self.by.get(key).map_or(0, |own| own.saturating_sub(count));
        if left == 0 {
            self.by.remove(key);
        } else if let Some(own) = self.by.get_mut(key) {
            *own = left;
        }
    }
}

impl Slots {
    /// `total` slots, no more than `each` of which one caller ever has.
    #[must_use]
    pub fn new(total: usize, each: usize) -> Self {
        let taken = Taken { total, each, in_all: 0, by: HashMap::new() };
        Self { taken: Arc::new(Mutex::new(taken)) }
    }

    /// Changes how many there are. Those that are taken stay so.
    pub fn resize(&self, total: usize, each: usize) {
        let mut taken = lock(&self.taken);
        (taken.total, taken.each) = (total, each);
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        lock(&self.taken).in_all
    }

    /// Takes one for a caller.
    ///
    /// # Errors
    /// When the caller has its share already.
    pub fn take(&self, key: Key) -> Result<Slot, Full> {
        self.take_some(key, 1)
    }

    /// Takes several at once, as bytes of a message.
    ///
    /// # Errors
    /// When the caller would have more than its share.
    pub fn take_some(&self, key: Key, count: usize) -> Result<Slot, Full> {
        lock(&self.taken).take(&key, count)?;
        Ok(Slot { taken: Arc::clone(&self.taken), key, count })
    }
}

/// A slot, or some; dropping it gives them back.
#[derive(Debug)]
pub struct Slot {
    taken: Arc<Mutex<Taken>>,
    key: Key,
    count: usize,
}

impl Slot {
    /// Whose it is.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// Makes it the slot of another caller, once more is known of who that is.
    ///
    /// # Errors
    /// When that caller has its share already. The slot stays as it was.
    pub fn pass_to(&mut self, key: Key) -> Result<(), Full> {
        let mut taken = lock(&self.taken);
        taken.give_back(&self.key, self.count);
        let passed = taken.take(&key, self.count);
        if passed.is_ok() {
            self.key = key;
        } else {
            taken.in_all = taken.in_all.saturating_add(self.count);
            let own = taken.by.entry(self.key.clone()).or_default();
            *own = own.saturating_add(self.count);
        }
        passed
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.taken).give_back(&self.key, self.count);
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(slots: &Slots, key: &Key) -> Vec<Slot> {
        std::iter::from_fn(|| slots.take(key.clone()).ok()).collect()
    }

    #[test]
    fn one_caller_leaves_half() {
        let slots = Slots::new(16, 100);
        let first = take_all(&slots, &Key::User(1));
        assert_eq!(first.len(), 8);
        assert_eq!(slots.take(Key::User(1)).unwrap_err(), Full::Total);
        assert_eq!(take_all(&slots, &Key::User(2)).len(), 4);
    }

    #[test]
    fn floods_one_after_the_other_leave_something_each_time() {
        let slots = Slots::new(1024, 1024);
        let mut held = Vec::new();
        for user in 0..9 {
            let own = take_all(&slots, &Key::User(user));
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
        let newcomer = take_all(&slots, &Key::User(100));
        assert!(newcomer.len() >= 30, "{}", newcomer.len());
    }

    #[test]
    fn the_callers_own_limit_holds_and_slots_come_back() {
        let slots = Slots::new(100, 3);
        let mut own = take_all(&slots, &Key::User(1));
        assert_eq!(own.len(), 3);
        assert_eq!(slots.take(Key::User(1)).unwrap_err(), Full::Caller);
        own.pop();
        assert!(slots.take(Key::User(1)).is_ok());
        drop(own);
        assert!(slots.taken.lock().unwrap().by.is_empty(), "nothing is kept of who is gone");
    }
    #[test]
    fn a_slot_passes_to_who_is_found_out_to_have_it_within_that_ones_share() {
        let account = || Key::Account("web@prod.test".into());
        let slots = Slots::new(100, 2);
        let mut first = slots.take(Key::User(1)).unwrap();
        let mut second = slots.take(Key::User(1)).unwrap();
        let mut third = slots.take(Key::User(2)).unwrap();
        first.pass_to(account()).unwrap();
        second.pass_to(account()).unwrap();
        assert_eq!(third.pass_to(account()), Err(Full::Caller));
        assert_eq!(slots.taken(), 3);
        assert_eq!(take_all(&slots, &Key::User(2)).len(), 1, "the third is still that user's");
        assert_eq!(take_all(&slots, &Key::User(1)).len(), 2, "and the first two are not");
        drop((first, second, third));
        assert!(slots.taken.lock().unwrap().by.is_empty());
    }

    #[test]
    fn a_change_counts_for_what_is_taken_after_it() {
        let slots = Slots::new(2, 2);
        let held = take_all(&slots, &Key::User(1));
        assert_eq!(held.len(), 1);
        slots.resize(8, 8);
        assert_eq!(take_all(&slots, &Key::User(1)).len(), 3);
        slots.resize(1, 1);
        assert_eq!(slots.take(Key::User(2)).unwrap_err(), Full::Total);
        drop(held);
        assert!(slots.take(Key::User(2)).is_ok());
    }

    #[test]
    fn one_machine_is_one_caller_whatever_address_it_takes() {
        let key = |text: &str| Key::of_address(text.parse().unwrap());
        for (one, other, same) in [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("192.0.2.1", "192.0.2.2", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
        ] {
            assert_eq!(key(one) == key(other), same, "{one} {other}");
        }
        assert_eq!(key("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
    }

    #[test]
    fn several_at_once_count_as_many() {
        let slots = Slots::new(100, 60);
        assert_eq!(slots.take_some(Key::User(1), 61).unwrap_err(), Full::Caller);
        let first = slots.take_some(Key::User(1), 50).unwrap();
        assert_eq!(slots.take_some(Key::User(1), 1).unwrap_err(), Full::Total);
        assert_eq!(slots.take_some(Key::User(2), 26).unwrap_err(), Full::Total);
        let _second = slots.take_some(Key::User(2), 25).unwrap();
        drop(first);
        assert!(slots.take_some(Key::User(1), 37).is_ok());
    }
}
