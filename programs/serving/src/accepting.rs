//! What an accept loop does about errors: say once that there is nothing left, wait, go on.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::descriptors::is_exhausted;
use crate::throttle::Throttle;

/// How long to wait after an error that the next attempt would have too.
const PAUSE: Duration = Duration::from_millis(100);

/// How long accepting must have worked before the log says that it does again.
const RECOVERED: Duration = Duration::from_secs(1);

/// The errors of one accept loop.
#[derive(Debug, Default)]
pub struct AcceptErrors {
    /// When there was nothing left for another connection, as far as it was not taken back.
    exhausted: Option<Instant>,
    throttle: Throttle,
}

impl AcceptErrors {
    /// A connection was accepted.
    pub fn accepted(&mut self, listener: &str) {
        // One that gets in between two failures is not the end of them.
        if self.exhausted.is_some_and(|since| since.elapsed() >= RECOVERED) {
            tracing::warn!(listener, "connections are accepted again");
            self.exhausted = None;
        }
    }

    /// No connection was accepted: says why, and waits until another attempt can succeed. An error
    /// of one connection, which its client may have caused, keeps nobody waiting.
    pub async fn failed(&mut self, listener: &str, error: &io::Error) {
        if is_exhausted(error) {
            if self.exhausted.is_none() {
                tracing::error!(
                    listener,
                    %error,
                    "this process or its machine has nothing left for another connection"
                );
            }
            self.exhausted = Some(Instant::now());
        } else if self.throttle.may_speak() {
            tracing::warn!(listener, %error, "cannot accept a connection");
        }
        if !is_of_one_connection(error) {
            sleep(PAUSE).await;
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pause_after(error: io::Error) -> Duration {
        let began = Instant::now();
        AcceptErrors::default().failed("test", &error).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_waited_for_and_what_a_client_causes_is_not() {
        // EMFILE, and EINVAL, which no attempt would mend.
        assert_eq!(pause_after(io::Error::from_raw_os_error(24)).await, PAUSE);
        assert_eq!(pause_after(io::Error::from_raw_os_error(22)).await, PAUSE);
        // ECONNABORTED
        assert_eq!(pause_after(io::Error::from_raw_os_error(103)).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_between_two_failures_is_not_the_end_of_them() {
        let mut errors = AcceptErrors::default();
        errors.failed("test", &io::Error::from_raw_os_error(24)).await;
        errors.accepted("test");
        assert!(errors.exhausted.is_some());
        sleep(RECOVERED).await;
        errors.accepted("test");
        assert!(errors.exhausted.is_none());
    }
}
