//! A buffer of bytes on their way: filled at the back, emptied at the front, and free when empty.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What is moved to the front of the buffer without a thought, in bytes: cheaper than the short
/// read that a small room would give.
const CHEAP_MOVE: usize = 4 * 1024;
/// The steps in which room for sealing grows, in bytes.
const STEP: usize = 4 * 1024;

/// Bytes on their way through `bytes[start..end]`.
///
/// It owns no memory until it is used, and none once [`release`](Self::release)d. Room for frames
/// is zeroed once, when it is first used; room for reading is not zeroed at all.
#[derive(Default)]
pub(crate) struct Buffer {
    /// Everything in it has been written at least once; `start <= end <= bytes.len()`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    pub(crate) const fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that it owns.
    pub(crate) const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes `count` bytes from the front.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Adds a copy of `bytes` at the back.
    #[inline]
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        // As with most small messages, which are sent and opened as a whole.
        if bytes.is_empty() {
            return;
        }
        self.bytes.truncate(self.end);
        self.bytes.extend_from_slice(bytes);
        self.end = self.bytes.len();
    }

    /// At least `len` bytes of room behind what is there, to be [`commit`](Self::commit)ted.
    pub(crate) fn room(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.len().saturating_sub(self.end) < len {
            self.move_to_front();
            let needed = self.end.saturating_add(len).next_multiple_of(STEP);
            if self.bytes.is_empty() {
                // Zeroed by the allocator, which may know that it is already.
                self.bytes = vec![0; needed];
            } else if self.bytes.len() < needed {
                self.bytes.resize(needed, 0);
            }
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Adds the first `count` bytes of the room to what is there.
    pub(crate) fn commit(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.bytes.len());
    }

    /// Reads once from `io`, with room for at least `room` bytes; returns how many came.
    pub(crate) fn poll_fill<IO: AsyncRead>(
        &mut self,
        mut io: Pin<&mut IO>,
        cx: &mut Context<'_>,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        let short = self.bytes.capacity().saturating_sub(self.end) < room;
        if short || self.len() <= CHEAP_MOVE {
            self.move_to_front();
        }
        // What stands behind the end is room again, and a vector reads into room as it is.
        self.bytes.truncate(self.end);
        self.bytes.reserve_exact(room);
        let read = ready!(pin!(io.read_buf(&mut self.bytes)).poll(cx));
        self.end = self.bytes.len();
        Poll::Ready(read)
    }

    /// Gives the memory back if nothing is in it.
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            self.clear();
        }
    }

    /// Drops what is in it, and the memory.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn move_to_front(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.len());
        }
    }
}

impl From<&[u8]> for Buffer {
    fn from(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), start: 0, end: bytes.len() }
    }
}
