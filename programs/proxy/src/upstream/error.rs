//! Why there is no connection to an upstream.

use std::error::Error;
use std::{fmt, io};

use alts_serving::descriptors::is_exhausted;
use tokio_alts::Fault;

use crate::metrics::Attempt;

/// Why there is no connection to an upstream.
#[derive(Debug)]
pub enum ConnectError {
    /// The deadline passed.
    NoTime,
    /// The network said no.
    Io(io::Error),
    /// The handshake failed.
    Handshake(tokio_alts::Error),
    /// There are as many connections as the limits allow.
    Full,
    /// HTTP could not begin.
    Http(hyper::Error),
}

impl ConnectError {
    /// What metrics call it.
    #[must_use]
    pub fn attempt(&self) -> Attempt {
        match self {
            Self::NoTime => Attempt::Timeout,
            Self::Io(error) if error.kind() == io::ErrorKind::TimedOut => Attempt::Timeout,
            _ if self.is_exhaustion() => Attempt::Exhausted,
            Self::Io(_) | Self::Http(_) | Self::Full => Attempt::Refused,
            Self::Handshake(_) => Attempt::Handshake,
        }
    }

    /// Whether this process or its machine had nothing left for it, wherever it was wanted.
    #[must_use]
    pub fn is_exhaustion(&self) -> bool {
        let first: &(dyn Error + 'static) = match self {
            Self::Io(error) => error,
            Self::Handshake(error) => error,
            Self::Http(error) => error,
            Self::NoTime | Self::Full => return false,
        };
        std::iter::successors(Some(first), |&one| one.source())
            .any(|one| one.downcast_ref().is_some_and(is_exhausted))
    }

    /// Whether it took too long.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        let timed_out = |error: &tokio_alts::Error| {
            matches!(error.kind(), tokio_alts::ErrorKind::TimedOut { .. })
        };
        self.attempt() == Attempt::Timeout
            || matches!(self, Self::Handshake(error) if timed_out(error))
    }

    /// Whether another address may be better: the handshaker service is the same for all, and so is
    /// what this process has left.
    #[must_use]
    pub fn is_of_address(&self) -> bool {
        match self {
            _ if self.is_exhaustion() => false,
            Self::Handshake(error) => error.fault() == Fault::Peer,
            Self::Io(_) | Self::NoTime | Self::Full | Self::Http(_) => true,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTime => f.write_str("no connection before the deadline"),
            Self::Full => {
                f.write_str("there are as many connections as upstream_connections allows")
            }
            Self::Io(error) if is_exhausted(error) => {
                write!(f, "this proxy or its machine has nothing left for it: {error}")
            }
            Self::Io(error) => error.fmt(f),
            Self::Handshake(error) => error.fmt(f),
            Self::Http(error) => error.fmt(f),
        }
    }
}

impl Error for ConnectError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_lacks_is_no_fault_of_an_address() {
        // EMFILE, ENFILE, ENOBUFS and ENOMEM; then ECONNREFUSED.
        for (code, is_ours) in [(24, true), (23, true), (105, true), (12, true), (111, false)] {
            let error = ConnectError::Io(io::Error::from_raw_os_error(code));
            assert_eq!(error.is_of_address(), !is_ours, "{error}");
            assert_eq!(error.attempt() == Attempt::Exhausted, is_ours, "{error}");
            assert_eq!(error.to_string().contains("this proxy or its machine"), is_ours, "{error}");
        }
    }
}
