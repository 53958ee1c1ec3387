//! The handshake over a transport and a service.

use core::fmt;
use core::time::Duration;

use embedded_io_async::{Read, Write};
use zeroize::Zeroize;

use super::discard::discard;
use crate::handshake::{Established, Handshake, HandshakeError, HandshakeErrorKind, Role, Want};

/// A handshaker service within reach: one `DoHandshake` call, a request and its response at a time.
#[expect(async_fn_in_trait, reason = "whether its futures are Send is for the caller's executor")]
pub trait Service {
    /// Why the service cannot be reached.
    type Error;

    /// Sends one serialized `HandshakerReq`, and puts the serialized `HandshakerResp` at the front
    /// of `response`, and returns its length.
    async fn exchange(&mut self, request: &[u8], response: &mut [u8])
    -> Result<usize, Self::Error>;
}

/// The buffers of one handshake.
#[derive(Debug)]
pub struct Buffers<'b> {
    /// What came from the peer and was not consumed: 4 KiB and more.
    pub from_peer: &'b mut [u8],
    /// A request: as large as `from_peer`, and
    /// [`REQUEST_OVERHEAD`](crate::handshake::REQUEST_OVERHEAD) more. Wiped after use.
    pub request: &'b mut [u8],
    /// A response, as long as the service makes them.
    pub response: &'b mut [u8],
}

/// Runs a handshake to its end: `io` leads to the peer, `now` is a clock that never goes back.
///
/// Returns what was established, and how many bytes of the record layer stand at the front of
/// `buffers.from_peer` already: give those to [`Stream::new`](super::Stream::new).
///
/// Nothing here interrupts a transport that is waiting: race the future against a timer that ends at
/// [`Handshake::deadline`].
///
/// # Errors
/// [`HandshakeFailure`]; bytes that the service had for the peer were sent first.
pub async fn handshake<R: Role, IO: Read + Write, S: Service>(
    mut machine: Handshake<R>,
    io: &mut IO,
    service: &mut S,
    buffers: Buffers<'_>,
    mut now: impl FnMut() -> Duration,
) -> Result<(Established, usize), HandshakeFailure<IO::Error, S::Error>> {
    let Buffers { from_peer, request, response } = buffers;
    let (mut filled, mut asked, mut to_peer) = (0, 0, 0..0);
    loop {
        let want = machine.want(now())?;
        match want {
            Want::PeerBytes | Want::Request => {
                if want == Want::PeerBytes {
                    let room = from_peer.get_mut(filled..).unwrap_or_default();
                    if room.is_empty() {
                        return Err(HandshakeFailure::BufferTooSmall);
                    }
                    let read = io.read(room).await.map_err(HandshakeFailure::Peer)?;
                    if read == 0 {
                        return Err(machine.peer_closed().into());
                    }
                    filled = filled.saturating_add(read);
                }
                let waiting = from_peer.get(..filled).unwrap_or_default();
                asked = machine.request(waiting, request, now())?;
            }
            Want::Response => {
                let question = request.get(..asked).unwrap_or_default();
                let answered = service.exchange(question, response).await;
                request.zeroize();
                let len = answered.map_err(HandshakeFailure::Service)?;
                let answer = response.get_mut(..len).ok_or(HandshakeFailure::BufferTooSmall)?;
                let done = machine.response(answer, now())?;
                discard(from_peer, &mut filled, done.consumed);
                to_peer = done.to_peer;
            }
            Want::Send | Want::Alert => {
                let sent = send(io, response.get(to_peer.clone()).unwrap_or_default()).await;
                // An alert that cannot be sent must not hide why there is one.
                if want == Want::Send {
                    sent?;
                }
                machine.sent(now());
            }
            Want::Established => return Ok((machine.established()?, filled)),
        }
    }
}

/// Writes all of `bytes`. (`write_all` of the trait panics when a transport takes nothing.)
async fn send<IO: Write, S>(
    io: &mut IO,
    bytes: &[u8],
) -> Result<(), HandshakeFailure<IO::Error, S>> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match io.write(rest).await.map_err(HandshakeFailure::Peer)? {
            0 => return Err(HandshakeFailure::Stalled),
            written => rest = rest.get(written..).unwrap_or_default(),
        }
    }
    io.flush().await.map_err(HandshakeFailure::Peer)
}

/// Why a handshake over a transport failed.
#[non_exhaustive]
pub enum HandshakeFailure<P, S> {
    /// The transport to the peer failed.
    Peer(P),
    /// The handshaker service cannot be reached.
    Service(S),
    /// The handshake itself failed.
    Handshake(HandshakeError),
    /// One of the [`Buffers`] is too small for what the peer or the service says.
    BufferTooSmall,
    /// The transport takes no more bytes, or a blocking one did not block.
    Stalled,
}

impl<P, S> From<HandshakeError> for HandshakeFailure<P, S> {
    fn from(error: HandshakeError) -> Self {
        match error.kind() {
            HandshakeErrorKind::BufferTooSmall { .. } => Self::BufferTooSmall,
            _ => Self::Handshake(error),
        }
    }
}

impl<P: fmt::Debug, S: fmt::Debug> fmt::Display for HandshakeFailure<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(error) => write!(f, "transport to the peer: {error:?}"),
            Self::Service(error) => write!(f, "handshaker service out of reach: {error:?}"),
            Self::Handshake(error) => error.fmt(f),
            Self::BufferTooSmall => f.write_str("local: a handshake buffer is too small"),
            Self::Stalled => f.write_str("local: the transport takes no more bytes"),
        }
    }
}

impl<P: fmt::Debug, S: fmt::Debug> core::error::Error for HandshakeFailure<P, S> {}

/// The sentence: what a program prints whose `main` returns it.
impl<P: fmt::Debug, S: fmt::Debug> fmt::Debug for HandshakeFailure<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
