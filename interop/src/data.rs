//! What the messages of streams hold, and how a receiver sees that they have arrived intact.

use bytes::Bytes;
use serde_json::{Value, json};

/// The message number `index` of a stream, `size` bytes: consecutive 32-bit words, little-endian,
/// from `index << 18` on. So bytes that are lost, repeated or moved are seen.
#[must_use]
pub fn message(index: u32, size: usize) -> Bytes {
    let first = index << 18;
    let words = (0u32..).map(|word| first.wrapping_add(word).to_le_bytes());
    let mut message: Vec<u8> = words.take(size.div_ceil(4)).flatten().collect();
    message.truncate(size);
    message.into()
}

/// What has been received of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    messages: u32,
    bytes: u64,
    intact: bool,
}

impl Default for Tally {
    fn default() -> Self {
        Self { messages: 0, bytes: 0, intact: true }
    }
}

impl Tally {
    /// Counts the next message.
    pub fn add(&mut self, received: &[u8]) {
        self.intact &= received == message(self.messages, received.len());
        self.messages += 1;
        self.bytes += received.len() as u64;
    }

    /// For the report.
    #[must_use]
    pub fn to_json(self) -> Value {
        json!({"messages": self.messages, "bytes": self.bytes, "intact": self.intact})
    }
}

/// What has been received of a body: the data of a stream's messages of 1 MiB, without their bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    bytes: u64,
    intact: bool,
}

impl Default for Words {
    fn default() -> Self {
        Self { bytes: 0, intact: true }
    }
}

impl Words {
    /// Counts the next bytes, however they were cut.
    pub fn add(&mut self, received: &[u8]) {
        for (at, byte) in (self.bytes..).zip(received) {
            self.intact &= u64::from(*byte) == ((at >> 2) >> (8 * (at & 3))) & 0xff;
        }
        self.bytes += received.len() as u64;
    }

    /// For the report.
    #[must_use]
    pub fn to_json(self) -> Value {
        json!({"bytes": self.bytes, "intact": self.intact})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_differ_at_every_position() {
        assert_eq!(message(0, 0), Bytes::new());
        assert_eq!(message(0, 6), Bytes::from_static(&[0, 0, 0, 0, 1, 0]));
        assert_eq!(message(1, 5), Bytes::from_static(&[0, 0, 4, 0, 1]));
    }

    #[test]
    fn a_tally_sees_what_is_not_intact() {
        let mut tally = Tally::default();
        tally.add(&message(0, 9));
        assert_eq!(tally, Tally { messages: 1, bytes: 9, intact: true });
        tally.add(&message(0, 9));
        assert_eq!(tally, Tally { messages: 2, bytes: 18, intact: false });
    }

    #[test]
    fn words_are_a_stream_without_bounds() {
        let (first, second) = (message(0, 1 << 20), message(1, 1000));
        let mut words = Words::default();
        for chunk in first.chunks(1001).chain(second.chunks(7)) {
            words.add(chunk);
        }
        assert_eq!(words, Words { bytes: (1 << 20) + 1000, intact: true });
        words.add(&second);
        assert_eq!(words, Words { bytes: (1 << 20) + 2000, intact: false });
    }
}
