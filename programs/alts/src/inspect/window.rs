//! A stream of any length, a piece of which is in memory.

use std::io::{self, Read};

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

/// What a capture lacks of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lacks {
    /// Its beginning.
    pub(super) beginning: bool,
    pub(super) end: Ending,
}

/// How what was captured of a stream ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ending {
    /// With the stream.
    #[default]
    Whole,
    /// Before the connection did: there may be more.
    Open,
    /// Before bytes that are missing, or not looked at.
    Gap,
}

/// The piece of a stream that is being looked at.
pub(super) struct Window<R> {
    read: R,
    lacks: Lacks,
    buffer: Vec<u8>,
    start: usize,
    offset: u64,
    ended: bool,
}

impl<R: Read> Window<R> {
    pub(super) const fn new(read: R, lacks: Lacks) -> Self {
        Self { read, lacks, buffer: Vec::new(), start: 0, offset: 0, ended: false }
    }

    /// What the capture lacks of the stream.
    pub(super) const fn lacks(&self) -> Lacks {
        self.lacks
    }

    /// How far from the beginning of the stream the window is, in bytes.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// What is at the front: at least `count` bytes, or all that there are.
    pub(super) fn fill(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.buffer.len().saturating_sub(self.start) < count && !self.ended {
            self.buffer.drain(..self.start);
            self.start = 0;
            let have = self.buffer.len();
            self.buffer.resize(have.saturating_add(PIECE), 0);
            let read = loop {
                match self.read.read(self.buffer.get_mut(have..).unwrap_or_default()) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    outcome => break outcome,
                }
            };
            self.buffer.truncate(have.saturating_add(*read.as_ref().unwrap_or(&0)));
            self.ended = read? == 0;
        }
        Ok(self.buffer.get(self.start..).unwrap_or_default())
    }

    /// Goes on by `count` of the bytes at the front.
    pub(super) fn consume(&mut self, count: usize) {
        let have = self.buffer.len().saturating_sub(self.start);
        let count = count.min(have);
        self.start = self.start.saturating_add(count);
        self.offset = self.offset.saturating_add(count as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_by_what_is_looked_at() {
        let mut window = Window::new(io::repeat(7).take(10 << 20), Lacks::default());
        for _ in 0..10 {
            assert!(window.fill(1 << 20).unwrap().len() >= 1 << 20);
            window.consume(1 << 20);
            assert!(window.buffer.capacity() <= 4 << 20);
        }
        assert!(window.fill(1).unwrap().is_empty());
        assert_eq!(window.offset(), 10 << 20);
        window.consume(1);
        assert_eq!(window.offset(), 10 << 20);
    }
}
