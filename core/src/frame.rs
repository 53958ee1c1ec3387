//! The record layer's frame: its header, and every size limit in one place.
//!
//! `docs/PROTOCOL.md` § "Frames":
//!
//! ```text
//! | u32 LE length | u32 LE message type = 6 | payload | 16-byte tag |
//!                 |<------------- length bytes ---------------->|
//! ```
//!
//! The header is not authenticated by anything but its effect: another length moves the tag.

use core::fmt;
use core::ops::Range;

use crate::error::{Fault, debug_is_the_sentence};

/// Where the length field stands in a header.
const LENGTH: Range<usize> = 0..4;
/// Bytes of the length field, which counts what follows it.
pub const LENGTH_FIELD_SIZE: usize = LENGTH.end;
/// Bytes of a header: the length field and the message type.
pub const HEADER_SIZE: usize = 8;
/// Bytes of an authentication tag.
pub const TAG_SIZE: usize = 16;
/// Bytes that a frame adds to its payload.
pub const OVERHEAD: usize = HEADER_SIZE + TAG_SIZE;
/// The message type of every record frame; all 32 bits count.
pub const MESSAGE_TYPE: u32 = 6;

/// The smallest length field: a message type and a tag around an empty payload.
pub const MIN_LENGTH: u32 = 20;
/// The largest length field that is accepted, whatever was negotiated: 1 MiB.
pub const MAX_LENGTH: u32 = 1 << 20;
/// The largest frame that is accepted, in bytes on the wire.
pub const MAX_FRAME: usize = MAX_LENGTH as usize + LENGTH_FIELD_SIZE;
/// The largest payload that is accepted, in bytes.
pub const MAX_PAYLOAD: usize = MAX_FRAME - OVERHEAD;

/// The largest frame that is written, in bytes on the wire: the length field counts 4 fewer.
///
/// This is the negotiated `max_frame_size`. Peers differ on what the number bounds: the length
/// field (gRPC C core, Envoy) or the whole frame (Go, Java). Writing no length field above
/// `max_frame_size - 4` obeys both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameSize(u32);

impl FrameSize {
    /// 16 KiB: what is assumed when a peer gives no size, or one below it.
    pub const MIN: Self = Self(16 * 1024);
    /// 1 MiB: the largest that any peer accepts.
    pub const MAX: Self = Self(1 << 20);
    /// 128 KiB: what is offered by default. A stream gains nothing measurable beyond it, and both
    /// ends keep buffers of this order.
    pub const DEFAULT: Self = Self(128 * 1024);

    /// A frame size of `bytes`, brought into [`Self::MIN`]`..=`[`Self::MAX`].
    #[must_use]
    pub const fn new(bytes: u32) -> Self {
        if bytes < Self::MIN.0 {
            Self::MIN
        } else if bytes > Self::MAX.0 {
            Self::MAX
        } else {
            Self(bytes)
        }
    }

    /// The size that suits both sides: the smaller of ours and the peer's.
    ///
    /// `peer` is `max_frame_size` of the handshaker's result: 0 when the peer did not say.
    #[must_use]
    pub const fn negotiate(self, peer: u32) -> Self {
        let peer = Self::new(peer);
        if peer.0 < self.0 { peer } else { self }
    }

    /// Bytes on the wire.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// The payload of the largest frame, in bytes.
    #[must_use]
    #[inline]
    pub const fn payload(self) -> usize {
        // `new` leaves at least 16 KiB.
        (self.0 as usize).saturating_sub(OVERHEAD)
    }
}

impl Default for FrameSize {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A checked frame header: its length is between [`MIN_LENGTH`] and [`MAX_LENGTH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    length: u32,
}

impl FrameHeader {
    /// Reads a header from its 8 bytes.
    ///
    /// # Errors
    /// [`FrameError`] when the length is out of bounds or the message type is not 6.
    #[inline]
    pub const fn parse(bytes: [u8; HEADER_SIZE]) -> Result<Self, FrameError> {
        let [l0, l1, l2, l3, t0, t1, t2, t3] = bytes;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let message_type = u32::from_le_bytes([t0, t1, t2, t3]);
        if length < MIN_LENGTH || length > MAX_LENGTH {
            return Err(FrameError::Length(length));
        }
        if message_type != MESSAGE_TYPE {
            return Err(FrameError::MessageType(message_type));
        }
        Ok(Self { length })
    }

    /// Looks for a whole frame at the front of `input`.
    ///
    /// A bad header is refused as soon as it is there, without waiting for the bytes that it claims.
    ///
    /// # Errors
    /// [`FrameError`] as [`parse`](Self::parse).
    #[inline]
    pub fn find(input: &[u8]) -> Result<Find, FrameError> {
        let Some(header) = input.first_chunk() else {
            return Ok(Find::Missing(HEADER_SIZE.saturating_sub(input.len())));
        };
        let header = Self::parse(*header)?;
        Ok(match header.frame_len().saturating_sub(input.len()) {
            0 => Find::Whole(header),
            missing => Find::Missing(missing),
        })
    }

    /// The header of a frame that carries `payload_len` bytes, or `None` above [`MAX_PAYLOAD`].
    #[must_use]
    #[inline]
    pub const fn for_payload(payload_len: usize) -> Option<Self> {
        if payload_len > MAX_PAYLOAD {
            return None;
        }
        // At most 1 MiB: the cast loses nothing.
        #[expect(clippy::cast_possible_truncation, reason = "bounded by MAX_PAYLOAD above")]
        Some(Self { length: payload_len as u32 + MIN_LENGTH })
    }

    /// The header's 8 bytes.
    #[must_use]
    #[inline]
    pub const fn emit(self) -> [u8; HEADER_SIZE] {
        // As one number, which is one store.
        ((MESSAGE_TYPE as u64) << 32 | self.length as u64).to_le_bytes()
    }

    /// The length field: bytes that follow it.
    #[must_use]
    pub const fn length(self) -> u32 {
        self.length
    }

    /// Bytes of the whole frame on the wire, header and tag included.
    #[must_use]
    #[inline]
    pub const fn frame_len(self) -> usize {
        self.length as usize + LENGTH_FIELD_SIZE
    }

    /// Bytes of the payload.
    #[must_use]
    #[inline]
    pub const fn payload_len(self) -> usize {
        self.frame_len().saturating_sub(OVERHEAD)
    }
}

/// What stands at the front of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// A whole frame with this header.
    Whole(FrameHeader),
    /// A part of one: this many bytes of its header or of the frame, never 0, are missing.
    Missing(usize),
}

/// Why a header is refused. Always the peer's fault.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameError {
    /// The length field is below [`MIN_LENGTH`] or above [`MAX_LENGTH`].
    Length(u32),
    /// The message type is not [`MESSAGE_TYPE`].
    MessageType(u32),
}

impl FrameError {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(self) -> Fault {
        Fault::Peer
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => {
                write!(f, "frame length {length} is not within {MIN_LENGTH}..={MAX_LENGTH}")
            }
            Self::MessageType(found) => {
                write!(f, "frame message type {found:#x} is not {MESSAGE_TYPE}")
            }
        }
    }
}

impl core::error::Error for FrameError {}

debug_is_the_sentence!(FrameError);

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: u32, message_type: u32) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[LENGTH].copy_from_slice(&length.to_le_bytes());
        bytes[LENGTH.end..].copy_from_slice(&message_type.to_le_bytes());
        bytes
    }

    #[test]
    fn lengths_from_20_to_1_mib_are_accepted_and_no_others() {
        for length in [20, 21, 16 * 1024, (1 << 20) - 1, 1 << 20] {
            let header = FrameHeader::parse(bytes(length, 6)).unwrap();
            assert_eq!(header.length(), length);
            assert_eq!(header.frame_len(), length as usize + 4);
            assert_eq!(header.payload_len(), length as usize - 20);
            assert_eq!(header.emit(), bytes(length, 6));
            assert_eq!(FrameHeader::for_payload(header.payload_len()), Some(header));
        }
        for length in [0, 3, 4, 19, (1 << 20) + 1, 1 << 24, u32::MAX] {
            assert_eq!(FrameHeader::parse(bytes(length, 6)), Err(FrameError::Length(length)));
        }
        assert_eq!(FrameHeader::for_payload(MAX_PAYLOAD + 1), None);
        assert_eq!(FrameHeader::for_payload(usize::MAX), None);
    }

    #[test]
    fn the_type_is_compared_over_all_32_bits() {
        for wrong in [0, 5, 7, 0x0100_0006, 0x106, 0x0600_0000, u32::MAX] {
            assert_eq!(FrameHeader::parse(bytes(24, wrong)), Err(FrameError::MessageType(wrong)));
        }
    }

    #[test]
    fn a_frame_is_found_when_its_last_byte_is_there() {
        let mut frame = [0; 25];
        frame[..8].copy_from_slice(&bytes(21, 6));
        for have in 0..8 {
            assert_eq!(FrameHeader::find(&frame[..have]), Ok(Find::Missing(8 - have)));
        }
        for have in 8..25 {
            assert_eq!(FrameHeader::find(&frame[..have]), Ok(Find::Missing(25 - have)));
        }
        let header = FrameHeader::for_payload(1).unwrap();
        assert_eq!(FrameHeader::find(&frame), Ok(Find::Whole(header)));
        assert_eq!(FrameHeader::find(&bytes(19, 6)), Err(FrameError::Length(19)));
    }

    #[test]
    fn the_smaller_frame_size_wins_and_silence_means_16_kib() {
        let ours = FrameSize::new(64 * 1024);
        assert_eq!(ours.negotiate(0).bytes(), 16 * 1024);
        assert_eq!(ours.negotiate(4096).bytes(), 16 * 1024);
        assert_eq!(ours.negotiate(16 * 1024 + 1).bytes(), 16 * 1024 + 1);
        assert_eq!(ours.negotiate(u32::MAX).bytes(), 64 * 1024);
        assert_eq!(FrameSize::new(u32::MAX), FrameSize::MAX);
        assert_eq!(FrameSize::new(0), FrameSize::MIN);
        let largest = FrameHeader::for_payload(FrameSize::MAX.payload()).unwrap();
        assert_eq!(largest.length(), FrameSize::MAX.bytes() - 4);
    }
}
