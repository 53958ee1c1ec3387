//! Whether an address is in order, as far as the last connections show.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// For how long others are tried first, after the first failure and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Whether one address is in order.
#[derive(Debug, Default)]
pub struct AddressHealth {
    trouble: Mutex<Option<Trouble>>,
}

/// It is not.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    pause: Duration,
    until: Instant,
    /// One connection finds out whether it is over.
    probed: bool,
}

impl AddressHealth {
    /// Whether the last connection was one.
    pub fn is_good(&self) -> bool {
        self.lock().is_none()
    }

    /// Whether there is no reason to try others first, as far as is known.
    pub fn may_be_good(&self) -> bool {
        self.lock().is_none_or(|trouble| trouble.until <= Instant::now())
    }

    /// As [`may_be_good`](Self::may_be_good), for somebody who is about to find out: when a pause
    /// is over, one connection tries the address, and others wait for what comes of it.
    pub fn is_worth_a_try(&self) -> bool {
        let now = Instant::now();
        match &mut *self.lock() {
            None => true,
            Some(trouble) if trouble.until > now => false,
            Some(trouble) => {
                trouble.until = now + trouble.pause;
                trouble.probed = true;
                true
            }
        }
    }

    /// Takes note of a connection; returns whether there had been none before.
    pub fn good(&self) -> bool {
        self.lock().take().is_some()
    }

    /// Takes note of a failure; returns whether it is news, and for how long others are tried
    /// first. Many that fail together are one failure.
    pub fn bad(&self) -> (bool, Duration) {
        let mut trouble = self.lock();
        let now = Instant::now();
        let pause = match *trouble {
            Some(Trouble { pause, until, probed: false }) if until > now => return (false, pause),
            Some(Trouble { pause, .. }) => pause.saturating_mul(2).min(PAUSES.1),
            None => PAUSES.0,
        };
        *trouble = Some(Trouble { pause, until: now + pause, probed: false });
        (true, pause)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn failures_that_come_together_are_one() {
        let health = AddressHealth::default();
        assert!(health.is_good() && health.is_worth_a_try());
        assert_eq!(health.bad(), (true, PAUSES.0));
        for _ in 0..10 {
            assert_eq!(health.bad(), (false, PAUSES.0));
        }
        assert!(!health.is_good() && !health.may_be_good() && !health.is_worth_a_try());
        // As if time had passed.
        health.lock().as_mut().unwrap().until = Instant::now();
        assert!(health.may_be_good() && health.is_worth_a_try(), "one may try");
        assert!(!health.is_worth_a_try(), "and no other");
        assert_eq!(health.bad(), (true, PAUSES.0 * 2));
        assert!(health.good());
        assert!(health.is_good() && !health.good());
    }
}
