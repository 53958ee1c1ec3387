//! A buffer of bytes on their way: filled at the back, emptied at the front, and free when empty.

mod spare;

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{io, mem};

use tokio::io::{AsyncRead, ReadBuf};

/// How many bytes are moved to the front of the buffer without hesitation: cheaper than the short
/// read that a small room would give.
const CHEAP_MOVE: usize = 4 * 1024;

/// Bytes on their way through `bytes[start..end]`.
///
/// It has memory while something is in it: once empty, its memory goes back to the thread's spares.
#[derive(Default)]
pub(crate) struct Buffer {
    /// All of it is initialized; `start <= end <= bytes.len()`.
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
    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.is_empty() {
            self.clear();
        }
    }

    /// Makes room for `len` bytes; if that takes other memory, for `wished` bytes at once.
    pub(crate) fn reserve(&mut self, len: usize, wished: usize) {
        let short = self.bytes.len().saturating_sub(self.end) < len;
        if short && self.len().saturating_add(len) <= self.bytes.len() {
            self.move_to_front();
        } else if short {
            let mut larger = spare::take(self.len().saturating_add(len.max(wished)));
            if let Some(front) = larger.get_mut(..self.len()) {
                front.copy_from_slice(self.filled());
            }
            let moved = Self { bytes: larger, start: 0, end: self.len() };
            spare::give_back(mem::replace(self, moved).bytes);
        }
    }

    /// `len` bytes of room behind what is there, to be [`commit`](Self::commit)ted, with anything in
    /// them.
    pub(crate) fn room(&mut self, len: usize) -> &mut [u8] {
        self.reserve(len, len);
        self.free().get_mut(..len).unwrap_or_default()
    }

    /// Adds the first `count` bytes of the room to what is there.
    pub(crate) fn commit(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.bytes.len());
        self.consume(0);
    }

    /// Adds a copy of `bytes` at the back.
    #[inline]
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        // As with most small messages, which are sent and opened as a whole.
        if bytes.is_empty() {
            return;
        }
        let room = self.room(bytes.len());
        if room.len() == bytes.len() {
            room.copy_from_slice(bytes);
        }
        self.commit(bytes.len());
    }

    /// Reads once from `io`, with room for at least `room` bytes; returns how many came.
    pub(crate) fn poll_fill<IO: AsyncRead>(
        &mut self,
        io: Pin<&mut IO>,
        cx: &mut Context<'_>,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        if self.len() <= CHEAP_MOVE {
            self.move_to_front();
        }
        self.reserve(room, room);
        let mut space = ReadBuf::new(self.free());
        let read = io.poll_read(cx, &mut space);
        let count = space.filled().len();
        self.commit(count);
        ready!(read)?;
        Poll::Ready(Ok(count))
    }

    /// Drops what is in it, and gives the memory back.
    pub(crate) fn clear(&mut self) {
        spare::give_back(mem::take(self).bytes);
    }

    fn free(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.end..).unwrap_or_default()
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
        let mut buffer = Self::default();
        buffer.extend(bytes);
        buffer
    }
}
