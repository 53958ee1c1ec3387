//! HTTP/2's GOAWAY, put between two frames of what passes: the next requests take another connection.
//!
//! A server's stream puts it into what the server writes, and a client's into what the client reads, as
//! if its server had sent it. In both cases it says that every stream so far will be served, and that is
//! true: whoever serves them does not know of it, and goes on.

use std::future::Future as _;
use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep, sleep_until};
use tracing::debug;

use crate::age::EndReason;

/// GOAWAY with the largest number of a stream and no error (RFC 9113 section 6.8): what a graceful end
/// begins with.
const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Bytes of a frame's header.
const HEADER: usize = 9;
/// Types of frames.
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
/// The flag of the last frame of a block of headers.
const END_HEADERS: u8 = 4;
/// The largest SETTINGS that a server begins with, in bytes: what no other protocol looks like.
const LARGEST_SETTINGS: usize = 1024;

/// A GOAWAY that is to be put between two frames of a server.
pub(super) struct GoAway {
    due: Pin<Box<Sleep>>,
    reason: EndReason,
    frames: Frames,
    /// What is left of it.
    left: &'static [u8],
}

impl GoAway {
    pub(super) fn at(due: Instant, reason: EndReason) -> Self {
        let due = Box::pin(sleep_until(due));
        Self { due, reason, frames: Frames::default(), left: GOAWAY }
    }

    /// Takes note of bytes that have passed. Returns whether it may still be needed: not in another
    /// protocol, and not behind a GOAWAY of the server's own, which says more.
    pub(super) fn passed(&mut self, bytes: &[u8]) -> bool {
        self.frames.pass(bytes);
        self.frames.state != State::Foreign
    }

    /// What has to pass before anything else does. Wakes the task of `cx` when there is something.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> &'static [u8] {
        let begun = self.left.len() < GOAWAY.len();
        if begun || (self.frames.is_between() && self.due.as_mut().poll(cx).is_ready()) {
            return self.left;
        }
        &[]
    }

    /// Whether the next bytes are those of the GOAWAY, of which a part has passed.
    pub(super) const fn has_begun(&self) -> bool {
        self.left.len() < GOAWAY.len()
    }

    /// So much of it has passed. Returns whether that was all.
    pub(super) fn advance(&mut self, count: usize) -> bool {
        self.left = self.left.get(count..).unwrap_or_default();
        if self.left.is_empty() {
            debug!(reason = %self.reason, "the connection is due: its next requests go elsewhere");
        }
        self.left.is_empty()
    }
}

/// Where in a sequence of frames the last byte was.
#[derive(Default)]
struct Frames {
    state: State,
    header: [u8; HEADER],
    /// Bytes of the header so far.
    known: usize,
    /// Bytes of the frame that are still to come behind its header.
    payload: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// The first frame is not over.
    #[default]
    First,
    /// In or behind a frame behind which another may be put.
    Any,
    /// In a block of headers, which nothing may interrupt.
    Headers,
    /// This is not HTTP/2, or the server has sent its own GOAWAY.
    Foreign,
}

impl Frames {
    /// Whether another frame may come now.
    const fn is_between(&self) -> bool {
        matches!(self.state, State::Any) && self.known == 0 && self.payload == 0
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        while self.state != State::Foreign && !bytes.is_empty() {
            if self.payload > 0 {
                let (_, rest) = bytes.split_at_checked(self.payload).unwrap_or((bytes, &[]));
                self.payload = self.payload.saturating_sub(bytes.len());
                bytes = rest;
                continue;
            }
            let missing = HEADER.saturating_sub(self.known);
            let (now, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
            for (place, byte) in self.header.iter_mut().skip(self.known).zip(now) {
                *place = *byte;
            }
            self.known = self.known.saturating_add(now.len());
            bytes = rest;
            if self.known == HEADER {
                self.known = 0;
                self.begin();
            }
        }
    }

    /// A header is there.
    fn begin(&mut self) {
        let [high, middle, low, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.payload = usize::try_from(length).unwrap_or(usize::MAX);
        self.state = match (self.state, kind) {
            (State::First, SETTINGS)
                if flags == 0
                    && stream == [0; 4]
                    && self.payload.is_multiple_of(6)
                    && self.payload <= LARGEST_SETTINGS =>
            {
                State::Any
            }
            (State::First, _) | (_, 7) => State::Foreign,
            (_, HEADERS | PUSH_PROMISE | CONTINUATION) if flags & END_HEADERS == 0 => {
                State::Headers
            }
            _ => State::Any,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [_, length @ ..] = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = [&length[..], &[kind, flags, 0, 0, 0, u8::from(kind != SETTINGS)]].concat();
        frame.resize(HEADER + payload, 0x2a);
        frame
    }

    /// Where another frame may be put, however the bytes are cut.
    fn places(bytes: &[u8]) -> Vec<usize> {
        let mut frames = Frames::default();
        let places: Vec<_> = (0..bytes.len())
            .filter(|at| {
                frames.pass(&bytes[*at..=*at]);
                frames.is_between()
            })
            .map(|at| at + 1)
            .collect();
        for cut in 0..=bytes.len() {
            let mut frames = Frames::default();
            frames.pass(&bytes[..cut]);
            assert_eq!(frames.is_between(), places.contains(&cut), "{cut}");
            frames.pass(&bytes[cut..]);
            assert_eq!(frames.is_between(), places.contains(&bytes.len()), "{cut}");
        }
        places
    }

    #[test]
    fn a_frame_may_be_put_between_two_but_not_into_a_block_of_headers() {
        let all = [
            frame(SETTINGS, 0, 12),
            frame(SETTINGS, 1, 0),
            frame(0, 0, 30),
            frame(HEADERS, 0, 10),
            frame(CONTINUATION, 0, 10),
            frame(CONTINUATION, END_HEADERS, 10),
            frame(HEADERS, END_HEADERS | 1, 0),
        ];
        let ends: Vec<usize> = (1..=all.len()).map(|n| all[..n].concat().len()).collect();
        let expected: Vec<_> = [0, 1, 2, 5, 6].map(|index: usize| ends[index]).into();
        assert_eq!(places(&all.concat()), expected);
    }

    #[test]
    fn nothing_is_put_into_another_protocol_or_behind_a_goaway() {
        assert!(places(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_empty());
        assert!(places(&frame(0, 0, 12)).is_empty());
        assert!(places(&frame(SETTINGS, 0, 7)).is_empty());
        assert!(places(&frame(SETTINGS, 1, 0)).is_empty());
        let own = [frame(SETTINGS, 0, 0), GOAWAY.to_vec(), frame(SETTINGS, 1, 0)].concat();
        assert_eq!(places(&own), [HEADER]);
    }
}
