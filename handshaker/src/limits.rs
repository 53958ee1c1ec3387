//! What one handshake may take: time, bytes and rounds.

use std::time::Duration;

use crate::framing::MAX_MESSAGE;

/// What one handshake may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Time from the beginning of the call to its result. Default: 30 s.
    pub deadline: Duration,
    /// Bytes of one serialized `HandshakerReq`. Default: 2 MiB, since records may come in behind
    /// the last message, as many as the caller reads at once.
    pub request_bytes: usize,
    /// Bytes of all the peer's handshake messages together. Default: three of the largest size.
    pub handshake_bytes: usize,
    /// Requests that bring no bytes from the peer. Default: 16. Those that bring some are bounded
    /// by `handshake_bytes`, so that a peer whose bytes arrive one by one is served too.
    pub empty_requests: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            request_bytes: 2 * 1024 * 1024,
            handshake_bytes: 3 * MAX_MESSAGE,
            empty_requests: 16,
        }
    }
}

impl Limits {
    /// The same, with another [`deadline`](Self::deadline).
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same, with other [`request_bytes`](Self::request_bytes).
    #[must_use]
    pub const fn with_request_bytes(mut self, bytes: usize) -> Self {
        self.request_bytes = bytes;
        self
    }

    /// The same, with other [`handshake_bytes`](Self::handshake_bytes).
    #[must_use]
    pub const fn with_handshake_bytes(mut self, bytes: usize) -> Self {
        self.handshake_bytes = bytes;
        self
    }

    /// The same, with other [`empty_requests`](Self::empty_requests).
    #[must_use]
    pub const fn with_empty_requests(mut self, count: u32) -> Self {
        self.empty_requests = count;
        self
    }
}
