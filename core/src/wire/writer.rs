//! A writer of protobuf fields into a slice, which cannot write beyond its end.

use prost::encoding::encode_varint;

use super::key::{self, WireType};

/// Bytes of the longest number.
const MAX_VARINT: usize = 10;

/// What is left of the room for a message.
///
/// prost's buffers panic when they are full. Here, what does not fit is left out: the room is as large
/// as the message, so nothing is, and a mistake in a length would not be a panic.
#[derive(Debug)]
pub struct Writer<'o> {
    rest: &'o mut [u8],
    overrun: bool,
}

impl<'o> Writer<'o> {
    pub(super) const fn new(room: &'o mut [u8]) -> Self {
        Self { rest: room, overrun: false }
    }

    /// Whether the message took exactly the room that it was given.
    pub(super) const fn is_filled(&self) -> bool {
        self.rest.is_empty() && !self.overrun
    }

    /// Starts a field.
    pub(super) fn key(&mut self, tag: u32, wire: WireType) {
        self.varint(key::key(tag, wire));
    }

    /// Writes a number, or a length.
    pub(super) fn varint(&mut self, value: u64) {
        let mut bytes = [0; MAX_VARINT];
        let mut free = bytes.as_mut_slice();
        encode_varint(value, &mut free);
        let len = MAX_VARINT.saturating_sub(free.len());
        self.bytes(bytes.get(..len).unwrap_or_default());
    }

    /// Writes what stands for itself.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        match self.rest.split_off_mut(..bytes.len()) {
            Some(room) => room.copy_from_slice(bytes),
            None => self.overrun = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_protobuf() {
        let mut room = [0xff; 16];
        let mut writer = Writer::new(&mut room);
        writer.key(6, WireType::Delimited);
        writer.varint(300);
        writer.varint(u64::MAX);
        writer.bytes(&[1, 2, 3]);
        assert!(writer.is_filled());
        let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(room[..3], [0x32, 0xac, 0x02]);
        assert_eq!(room[3..13], largest);
        assert_eq!(room[13..], [1, 2, 3]);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_noticed() {
        let mut room = [0; 3];
        let mut writer = Writer::new(&mut room);
        writer.bytes(&[1, 2]);
        assert!(!writer.is_filled());
        writer.varint(300);
        writer.bytes(&[3]);
        assert!(!writer.is_filled());
        assert_eq!(room, [1, 2, 3]);
    }
}
