//! Why there is no connection to an upstream.

use core::fmt;
use std::io;

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
            Self::Io(_) | Self::Http(_) | Self::Full => Attempt::Refused,
            Self::Handshake(_) => Attempt::Handshake,
        }
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

    /// Whether another address may be better: the handshaker service is the same for all.
    #[must_use]
    pub fn is_of_address(&self) -> bool {
        !matches!(self, Self::Handshake(error) if error.fault() != Fault::Peer)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTime => f.write_str("no connection before the deadline"),
            Self::Full => {
                f.write_str("there are as many connections as upstream_connections allows")
            }
            Self::Io(error) => error.fmt(f),
            Self::Handshake(error) => error.fmt(f),
            Self::Http(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {}
