//! What several examples share: a handshaker service in this process, as the core's machines ask one.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use alts_core::embedded::{self, blocking};
use alts_handshaker::{Call, Handshaker};

/// One dialogue with the service; its clock starts with it.
pub struct InProcess {
    call: Call,
    began: Instant,
}

/// There is no room for the service's answer: this many bytes are needed.
#[derive(Debug)]
pub struct NoRoom(#[expect(dead_code, reason = "shown by Debug")] usize);

impl InProcess {
    /// A dialogue with that service, which begins now.
    #[must_use]
    pub fn of(handshaker: &Handshaker) -> Self {
        Self { call: handshaker.begin(Duration::ZERO), began: Instant::now() }
    }

    /// Puts the answer to `request` at the front of `response`, and says how long it is.
    fn answer(&mut self, request: &[u8], response: &mut [u8]) -> Result<usize, NoRoom> {
        let answer = self.call.handle(request, self.began.elapsed()).encode();
        let room = response.get_mut(..answer.len()).ok_or(NoRoom(answer.len()))?;
        room.copy_from_slice(&answer);
        Ok(answer.len())
    }
}

impl blocking::Service for InProcess {
    type Error = NoRoom;

    fn exchange(&mut self, request: &[u8], response: &mut [u8]) -> Result<usize, NoRoom> {
        self.answer(request, response)
    }
}

impl embedded::Service for InProcess {
    type Error = NoRoom;

    async fn exchange(&mut self, request: &[u8], response: &mut [u8]) -> Result<usize, NoRoom> {
        self.answer(request, response)
    }
}

/// The blocks of Rust in the README and in the book are tests: here, where all packages meet.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/tonic.md")]
    struct Tonic;
    #[doc = include_str!("../../docs/authorization.md")]
    struct Authorization;
    #[doc = include_str!("../../docs/embedding.md")]
    struct Embedding;
    #[doc = include_str!("../../docs/http.md")]
    struct Http;
    #[doc = include_str!("../../docs/performance.md")]
    struct Performance;
    #[doc = include_str!("../../docs/spiffe.md")]
    struct Spiffe;
    #[doc = include_str!("../../docs/vectors.md")]
    struct Vectors;
}
