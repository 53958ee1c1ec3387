//! What keeps a flood of events from being a flood of lines.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the same is said, at most.
const QUIET: Duration = Duration::from_secs(1);

/// Lets a line through every now and then: a flood must not flood the log too. Clones count
/// together.
#[derive(Clone, Debug)]
pub struct Throttle {
    began: Instant,
    /// When a line was let through last, in milliseconds since `began`.
    said: Arc<AtomicU64>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { began: Instant::now(), said: Arc::default() }
    }
}

impl Throttle {
    /// Whether a line may be written now.
    #[must_use]
    pub fn may_speak(&self) -> bool {
        // One more than the time that has passed, so that zero is "never".
        let now =
            u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let quiet = u64::try_from(QUIET.as_millis()).unwrap_or(u64::MAX);
        let said = self.said.load(Ordering::Relaxed);
        (said == 0 || now.saturating_sub(said) >= quiet)
            && self.said.compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// How many keys are told apart: more are one.
const KEYS: usize = 4096;

/// A throttle for each caller, which counts what it holds back. Clones count together.
#[derive(Debug)]
pub struct Throttles<K> {
    held: Arc<Mutex<HashMap<Option<K>, Held>>>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    said: Instant,
    more: u64,
}

impl<K> Default for Throttles<K> {
    fn default() -> Self {
        Self { held: Arc::default() }
    }
}

impl<K> Clone for Throttles<K> {
    fn clone(&self) -> Self {
        Self { held: Arc::clone(&self.held) }
    }
}

impl<K: Clone + Eq + Hash> Throttles<K> {
    /// Whether a line about this caller may be written now; then how many were held back since the
    /// last one.
    #[must_use]
    pub fn may_speak(&self, key: &K) -> Option<u64> {
        let now = Instant::now();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Some(key.clone());
        let key = if held.len() < KEYS || held.contains_key(&key) { key } else { None };
        let Some(entry) = held.get_mut(&key) else {
            held.insert(key, Held { said: now, more: 0 });
            return Some(0);
        };
        if now.duration_since(entry.said) < QUIET {
            entry.more = entry.more.saturating_add(1);
            return None;
        }
        let more = entry.more;
        *entry = Held { said: now, more: 0 };
        Some(more)
    }

    /// What was held back and not said yet, of those who are quiet again; `None` is all that were
    /// too many to be told apart. They are forgotten.
    #[must_use]
    pub fn rest(&self) -> Vec<(Option<K>, u64)> {
        let now = Instant::now();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |held: &Held| now.duration_since(held.said) >= QUIET;
        let rest = held.iter().filter(|(_, held)| over(held) && held.more > 0);
        let rest = rest.map(|(key, held)| (key.clone(), held.more)).collect();
        held.retain(|_, held| !over(held));
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_is_heard_and_none_floods() {
        let throttles = Throttles::default();
        for caller in 0..10 {
            assert_eq!(throttles.may_speak(&caller), Some(0));
            for _ in 0..100 {
                assert_eq!(throttles.may_speak(&caller), None);
            }
        }
        assert!(throttles.rest().is_empty(), "too early");
        std::thread::sleep(QUIET);
        assert_eq!(throttles.may_speak(&3), Some(100));
        let mut rest = throttles.rest();
        rest.sort_unstable();
        assert_eq!(rest.len(), 9);
        assert_eq!(rest.first(), Some(&(Some(0), 100)));
        assert!(throttles.rest().is_empty(), "said once");
    }

    #[test]
    fn callers_without_number_take_bounded_memory() {
        let throttles = Throttles::default();
        let passed = (0..3 * KEYS).filter(|caller| throttles.may_speak(caller).is_some()).count();
        assert_eq!(passed, KEYS + 1);
        assert!(throttles.held.lock().unwrap().len() <= KEYS + 1);
    }
}
