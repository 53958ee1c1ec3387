//! The record counter: one per direction, never sent, never used twice.

use core::fmt;

use crate::error::{Fault, debug_is_the_sentence};
use crate::key::{NONCE_SIZE, RecordProtocol};
use crate::side::Side;

/// The counter's last byte in frames that the server writes; 0 in those of the client. It keeps
/// the two directions apart, which share one key.
const SERVER_BYTE: u8 = 0x80;

/// Counts the frames of one direction; `docs/PROTOCOL.md` § "Counters and nonces".
///
/// 12 bytes: the count in little-endian, padding, and the side that writes.
#[derive(Debug)]
pub(crate) struct Counter {
    /// The count of the next frame; `None` once all are used.
    next: Option<u64>,
    last: u64,
    side_byte: u8,
}

impl Counter {
    /// The counter of the frames that `writer` writes.
    pub(crate) const fn new(writer: Side, protocol: RecordProtocol) -> Self {
        let side_byte = match writer {
            Side::Client => 0,
            Side::Server => SERVER_BYTE,
        };
        Self { next: Some(0), last: last(protocol), side_byte }
    }

    /// The count of the next frame, or `None` when all are used.
    #[cfg(feature = "hazmat")]
    pub(crate) const fn position(&self) -> Option<u64> {
        self.next
    }

    /// Makes `position` the count of the next frame; `None` uses the counter up.
    #[cfg(feature = "hazmat")]
    pub(crate) const fn set_position(&mut self, position: Option<u64>) {
        self.next = match position {
            Some(count) if count <= self.last => Some(count),
            _ => None,
        };
    }

    /// Takes the next count, so that no later call can return it again.
    #[inline]
    pub(crate) fn take(&mut self) -> Result<Count, Exhausted> {
        let count = self.next.ok_or(Exhausted)?;
        self.next = if count == self.last { None } else { count.checked_add(1) };
        Ok(Count { count, side_byte: self.side_byte })
    }
}

/// The last count that a record protocol may use.
const fn last(protocol: RecordProtocol) -> u64 {
    match protocol {
        // The count overflows after 8 bytes.
        RecordProtocol::AesGcm128Rekey => u64::MAX,
        // The count overflows after 5 bytes: there is one key for all frames.
        RecordProtocol::AesGcm128 | RecordProtocol::Gmac128 => (1 << 40) - 1,
    }
}

/// One frame's count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    count: u64,
    side_byte: u8,
}

impl Count {
    /// Which key the frame is sealed with under a protocol that rekeys: bytes 2 to 8 of the
    /// counter, as a number.
    #[inline]
    pub(crate) const fn epoch(self) -> u64 {
        self.count >> 16
    }

    /// The 12 bytes of the counter.
    #[inline]
    pub(crate) const fn bytes(self) -> [u8; NONCE_SIZE] {
        self.masked(0)
    }

    /// The 12 bytes of the counter under a mask, of which the lowest 96 bits count: in one piece,
    /// because an AEAD that reads in one go what was written byte by byte has to wait for it.
    #[inline]
    pub(crate) const fn masked(self, mask: u128) -> [u8; NONCE_SIZE] {
        // The side's byte is the highest of the 96 bits, the count the lowest 64.
        let wide = (self.side_byte as u128) << 88 | self.count as u128;
        let [bytes @ .., _, _, _, _] = (wide ^ mask).to_le_bytes();
        bytes
    }
}

/// Every count of a direction is used: the connection has to end.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Exhausted;

impl Exhausted {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(self) -> Fault {
        Fault::Local
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the record counter is used up")
    }
}

impl core::error::Error for Exhausted {}

debug_is_the_sentence!(Exhausted);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(count: u64, writer: Side, protocol: RecordProtocol) -> Counter {
        Counter { next: Some(count), ..Counter::new(writer, protocol) }
    }

    #[test]
    fn the_side_that_writes_is_in_the_last_byte() {
        let mut client = Counter::new(Side::Client, RecordProtocol::AesGcm128Rekey);
        let mut server = Counter::new(Side::Server, RecordProtocol::AesGcm128Rekey);
        assert_eq!(client.take().unwrap().bytes(), [0; 12]);
        assert_eq!(client.take().unwrap().bytes(), [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(server.take().unwrap().bytes(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80]);
    }

    #[test]
    fn carries_go_upwards_through_the_little_endian_bytes() {
        let mut counter = at(0x00ff_ffff, Side::Server, RecordProtocol::AesGcm128);
        let expected = [0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x80];
        assert_eq!(counter.take().unwrap().bytes(), expected);
        let expected = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x80];
        assert_eq!(counter.take().unwrap().bytes(), expected);
    }

    #[test]
    fn the_last_count_is_used_once_and_then_none_for_good() {
        for (protocol, last) in [
            (RecordProtocol::AesGcm128Rekey, u64::MAX),
            (RecordProtocol::AesGcm128, (1 << 40) - 1),
            (RecordProtocol::Gmac128, (1 << 40) - 1),
        ] {
            let mut counter = at(last - 1, Side::Client, protocol);
            assert_eq!(counter.take().unwrap().count, last - 1);
            assert_eq!(counter.take().unwrap().count, last);
            for _ in 0..3 {
                assert_eq!(counter.take(), Err(Exhausted));
            }
        }
    }

    #[test]
    fn the_epoch_changes_every_2_to_the_16_frames() {
        let mut counter = at(0xffff, Side::Client, RecordProtocol::AesGcm128Rekey);
        assert_eq!(counter.take().unwrap().epoch(), 0);
        assert_eq!(counter.take().unwrap().epoch(), 1);
    }
}
