//! Connecting to a service that is away: not as often as there are handshakes.

use std::future::Future;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The pauses after failures: none after the first, so that a service that was just started again is
/// found, then from the first of these to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(25), Duration::from_secs(1));

/// How the last attempts ended.
#[derive(Debug, Default)]
pub(super) struct Backoff(Mutex<Attempts>);

#[derive(Debug, Default)]
struct Attempts {
    /// How long to pause after the next failure.
    pause: Option<Duration>,
    /// When to try again, and what to say until then.
    again: Option<(Instant, io::ErrorKind, Box<str>)>,
}

impl Backoff {
    /// Connects; or fails as the last attempt did, when it is too early for another.
    pub(super) async fn connect<T>(
        &self,
        connect: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        if let Some((again, kind, why)) = &self.attempts().again
            && Instant::now() < *again
        {
            return Err(io::Error::new(*kind, &**why));
        }
        let connected = connect.await;
        let mut attempts = self.attempts();
        match &connected {
            Ok(_) => *attempts = Attempts::default(),
            Err(error) => {
                let pause = attempts.pause;
                attempts.again = pause
                    .map(|pause| (Instant::now() + pause, error.kind(), error.to_string().into()));
                let next = pause.map_or(PAUSES.0, |pause| pause.saturating_mul(2));
                attempts.pause = Some(next.min(PAUSES.1));
            }
        }
        connected
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thousand_handshakes_a_second_make_a_few_connections() {
        let (backoff, attempts) = (Backoff::default(), Cell::new(0));
        let refused = || async {
            attempts.set(attempts.get() + 1);
            Err::<(), _>(io::ErrorKind::ConnectionRefused.into())
        };
        for _ in 0..10_000 {
            let error = backoff.connect(refused()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!((8..=20).contains(&attempts.get()), "{}", attempts.get());
        tokio::time::sleep(PAUSES.1).await;
        assert!(backoff.connect(async { Ok(()) }).await.is_ok());
        // It is as at the beginning.
        attempts.set(0);
        for _ in 0..2 {
            assert!(backoff.connect(refused()).await.is_err());
        }
        assert_eq!(attempts.get(), 2);
    }
}
