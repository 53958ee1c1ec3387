//! The writing half: plaintext into frames.

use core::fmt;

use crate::aead::Aead;
use crate::frame::{FrameHeader, FrameSize, HEADER_SIZE, OVERHEAD, TAG_SIZE};
use crate::key::{RecordKey, RecordProtocol, SETUP_STACK, wiping_stack};
use crate::record::cipher::Cipher;
use crate::record::{Health, RecordError};
use crate::side::Side;

/// Seals the bytes that one side writes.
///
/// - What goes in: [`seal`](Self::seal) takes plaintext from one slice and writes frames to
///   another; [`seal_in_place`](Self::seal_in_place) turns a buffer into one frame.
/// - Questions: [`max_payload`](Self::max_payload), [`sealed_len`](Self::sealed_len),
///   [`protocol`](Self::protocol).
///
/// Whatever was written has to reach the peer, whole and in order: a frame that is sealed is
/// counted. If a write to the network is cut short, finish the same bytes later; never seal them
/// again.
pub struct Sealer<A> {
    cipher: Cipher<A>,
    frame_size: FrameSize,
    health: Health,
}

/// What [`Sealer::seal`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Sealed {
    /// Bytes taken from the front of the plaintext.
    pub consumed: usize,
    /// Bytes of whole frames written at the front of the output.
    pub written: usize,
}

impl<A: Aead> Sealer<A> {
    /// The writing half of `side`, which writes no frame larger than `frame_size`.
    ///
    /// # Errors
    /// [`RecordError::Provider`] when the AEAD provider cannot set up a key.
    pub fn new(side: Side, key: &RecordKey, frame_size: FrameSize) -> Result<Self, RecordError> {
        wiping_stack::<SETUP_STACK, _>(|| {
            Ok(Self { cipher: Cipher::new(side, key)?, frame_size, health: Health::default() })
        })
    }

    /// Seals as much of `plaintext` as fits into `out`, as whole frames.
    ///
    /// Frames are as large as was negotiated; the last one holds what is left. A frame is made
    /// smaller for lack of room only when it is the first of the call, so that any output of more
    /// than [`OVERHEAD`] bytes makes progress and no stream is chopped finer than its buffer. With
    /// less room, or no plaintext, nothing is consumed and nothing written.
    ///
    /// # Errors
    /// [`RecordError::Exhausted`] and [`RecordError::Provider`], for good. Frames that the same
    /// call had sealed before are lost with the connection.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<Sealed, RecordError> {
        self.health.check()?;
        let (mut rest, mut free) = (plaintext, out);
        let mut written = 0usize;
        while let Some(room) = free.len().checked_sub(OVERHEAD) {
            let wanted = rest.len().min(self.max_payload());
            let len = if written == 0 { wanted.min(room) } else { wanted };
            let frame_len = len.saturating_add(OVERHEAD);
            let Some((frame, free_left)) = free.split_at_mut_checked(frame_len) else { break };
            let Some((payload, plaintext_left)) = rest.split_at_checked(len) else { break };
            if payload.is_empty() {
                break;
            }
            self.seal_frame(payload, frame).map_err(|error| self.health.end(error))?;
            written = written.saturating_add(frame_len);
            (rest, free) = (plaintext_left, free_left);
        }
        Ok(Sealed { consumed: plaintext.len().saturating_sub(rest.len()), written })
    }

    /// Turns `frame`, whose payload of `payload_len` bytes stands behind [`HEADER_SIZE`] free
    /// bytes, into a frame, and returns its length: `payload_len +` [`OVERHEAD`].
    ///
    /// An empty payload makes an empty record, which is legal but which some peers cannot read
    /// (grpc-go before June 2026): nothing needs one.
    ///
    /// # Errors
    /// [`RecordError::BufferTooSmall`] when the tag does not fit behind the payload, or when the
    /// payload is above [`max_payload`](Self::max_payload); nothing has changed then.
    /// [`RecordError::Exhausted`] and [`RecordError::Provider`], for good.
    pub fn seal_in_place(
        &mut self,
        frame: &mut [u8],
        payload_len: usize,
    ) -> Result<usize, RecordError> {
        self.health.check()?;
        let needed = payload_len.saturating_add(OVERHEAD);
        let too_small = RecordError::BufferTooSmall { needed };
        if payload_len > self.max_payload() {
            return Err(too_small);
        }
        let (header, rest) = frame.split_first_chunk_mut::<HEADER_SIZE>().ok_or(too_small)?;
        let (payload, rest) = rest.split_at_mut_checked(payload_len).ok_or(too_small)?;
        let tag = rest.first_chunk_mut::<TAG_SIZE>().ok_or(too_small)?;
        *header = FrameHeader::for_payload(payload_len).ok_or(too_small)?.emit();
        self.cipher.seal_in_place(payload, tag).map_err(|error| self.health.end(error))?;
        Ok(needed)
    }

    /// The payload of the largest frame that is written, in bytes.
    #[must_use]
    pub const fn max_payload(&self) -> usize {
        self.frame_size.payload()
    }

    /// The size in bytes of `plaintext_len` bytes of plaintext, sealed into full frames.
    #[must_use]
    pub const fn sealed_len(&self, plaintext_len: usize) -> usize {
        let frames = match self.max_payload() {
            0 => 0,
            payload => plaintext_len.div_ceil(payload),
        };
        plaintext_len.saturating_add(frames.saturating_mul(OVERHEAD))
    }

    /// The record protocol.
    #[must_use]
    pub const fn protocol(&self) -> RecordProtocol {
        self.cipher.protocol()
    }

    /// The count of the next frame; `None` when all are used.
    #[cfg(feature = "hazmat")]
    #[must_use]
    pub const fn position(&self) -> Option<u64> {
        self.cipher.counter().position()
    }

    /// Makes `position` the count of the next frame. A position that was used before repeats
    /// nonces, and gives the authentication key away.
    #[cfg(feature = "hazmat")]
    pub const fn set_position(&mut self, position: Option<u64>) {
        self.cipher.counter_mut().set_position(position);
    }

    /// Seals one payload; `frame` has exactly [`OVERHEAD`] bytes more.
    #[inline]
    fn seal_frame(&mut self, payload: &[u8], frame: &mut [u8]) -> Result<(), RecordError> {
        let header = FrameHeader::for_payload(payload.len()).ok_or(RecordError::Provider)?;
        let (head, rest) = frame.split_first_chunk_mut().ok_or(RecordError::Provider)?;
        let (body, tag) = rest.split_last_chunk_mut().ok_or(RecordError::Provider)?;
        *head = header.emit();
        self.cipher.seal(payload, body, tag)
    }
}

impl<A> fmt::Debug for Sealer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("frame_size", &self.frame_size)
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}
