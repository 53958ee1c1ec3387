//! Whether an address is in order, as far as the last connections tell.

use core::time::Duration;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// For how long others are tried first, after the first failure and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Whether one address is in order.
#[derive(Debug, Default)]
pub(super) struct Health {
    trouble: Mutex<Option<Trouble>>,
}

/// It is not.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    pause: Duration,
    until: Instant,
}

impl Health {
    /// Whether there is no reason to try others first.
    pub(super) fn is_good(&self) -> bool {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.is_none_or(|trouble| trouble.until <= Instant::now())
    }

    /// As [`is_good`](Self::is_good), for somebody who is about to find out: when a pause is over,
    /// one connection tries the address, and others wait for what comes of it.
    pub(super) fn is_worth_a_try(&self) -> bool {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &mut *trouble {
            None => true,
            Some(Trouble { until, .. }) if *until > now => false,
            Some(Trouble { pause, until }) => {
                *until = now + *pause;
                true
            }
        }
    }

    /// Takes note of a connection; returns whether there had been none before.
    pub(super) fn good(&self) -> bool {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// Takes note of a failure; returns for how long others are tried first.
    pub(super) fn bad(&self) -> Duration {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let pause = match *trouble {
            Some(Trouble { pause, .. }) => pause.saturating_mul(2).min(PAUSES.1),
            None => PAUSES.0,
        };
        *trouble = Some(Trouble { pause, until: now + pause });
        pause
    }
}
