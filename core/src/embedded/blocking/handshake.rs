//! The handshake over a blocking transport and service.

use core::time::Duration;

use embedded_io::{Read, Write};

use super::waits::{Waits, now_or_never};
use crate::embedded::{self, Buffers, HandshakeFailure};
use crate::handshake::{Established, Handshake, Role};

/// A handshaker service within reach, as [`embedded::Service`](crate::embedded::Service).
pub trait Service {
    /// Why the service cannot be reached.
    type Error;

    /// Sends one serialized `HandshakerReq`, and puts the serialized `HandshakerResp` at the front
    /// of `response`, and returns its length.
    ///
    /// # Errors
    /// When the service cannot be reached.
    fn exchange(&mut self, request: &[u8], response: &mut [u8]) -> Result<usize, Self::Error>;
}

/// Runs a handshake to its end, as [`embedded::handshake`](crate::embedded::handshake()).
///
/// Give `io` and `service` their own time limits: the deadline is checked between their calls.
///
/// # Errors
/// [`HandshakeFailure`]; bytes that the service had for the peer were sent first.
pub fn handshake<R: Role, IO: Read + Write, S: Service>(
    machine: Handshake<R>,
    io: &mut IO,
    service: &mut S,
    buffers: Buffers<'_>,
    now: impl FnMut() -> Duration,
) -> Result<(Established, usize), HandshakeFailure<IO::Error, S::Error>> {
    let (mut io, mut service) = (Waits(io), Waits(service));
    now_or_never(embedded::handshake(machine, &mut io, &mut service, buffers, now))
        .unwrap_or(Err(HandshakeFailure::Stalled))
}

impl<S: Service> embedded::Service for Waits<&mut S> {
    type Error = S::Error;

    async fn exchange(
        &mut self,
        request: &[u8],
        response: &mut [u8],
    ) -> Result<usize, Self::Error> {
        self.0.exchange(request, response)
    }
}
