//! The reading half: frames into plaintext.

use core::fmt;
use core::ops::Range;

use zeroize::Zeroize;

use crate::aead::Aead;
use crate::frame::{Find, FrameHeader, HEADER_SIZE, TAG_SIZE};
use crate::key::{RecordKey, RecordProtocol, SETUP_STACK, wiping_stack};
use crate::record::cipher::Cipher;
use crate::record::{Health, RecordError};
use crate::side::Side;

/// Opens the frames that the other side wrote.
///
/// - What goes in: [`open`](Self::open) reads frames from one slice and writes plaintext to
///   another; [`open_in_place`](Self::open_in_place) opens the first frame of a buffer where it
///   stands; [`finish`](Self::finish) reports that the stream has ended.
/// - What to do next: [`Next`] and [`InPlace`] say how many bytes are missing.
///
/// The caller keeps the bytes that it received, and drops `consumed` of them from the front after
/// each call. No plaintext is handed out before its tag is checked; a buffer in which a frame failed is
/// wiped where that frame was.
pub struct Opener<A> {
    cipher: Cipher<A>,
    health: Health,
}

/// What [`Opener::open`] did, and what it needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Opened {
    /// Bytes of whole frames taken from the front of the input.
    pub consumed: usize,
    /// Bytes of plaintext written at the front of the output. 0 is not the end of the stream:
    /// there are empty records.
    pub written: usize,
    /// What has to be done before the next frame can be opened.
    pub next: Next,
}

/// What an [`Opener`] needs to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At least this many more bytes of input, behind those that were not consumed.
    Input {
        /// How many bytes the next header or frame lacks; never 0.
        at_least: usize,
    },
    /// The next frame is there, but its payload does not fit into what is left of the output:
    /// offer this much room, or open it in place.
    Room {
        /// Bytes of the next frame's payload.
        payload: usize,
    },
    /// A call with the rest of the input, which returns the error that the next frame ran into.
    Again,
}

/// What [`Opener::open_in_place`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum InPlace {
    /// The first frame was opened.
    Frame {
        /// Where its payload stands in the input. Empty is not the end of the stream.
        payload: Range<usize>,
        /// Bytes of the frame; the next one starts behind them.
        consumed: usize,
    },
    /// The first frame is not whole yet.
    Input {
        /// How many bytes its header or the whole frame lacks; never 0.
        at_least: usize,
    },
}

/// What became of the frame at the front of the input.
enum Step {
    Frame { frame_len: usize, payload_len: usize },
    Stop(Next),
}

impl<A: Aead> Opener<A> {
    /// The reading half of `side`: it opens what the other side sealed.
    ///
    /// # Errors
    /// [`RecordError::Provider`] when the AEAD provider cannot set up a key.
    pub fn new(side: Side, key: &RecordKey) -> Result<Self, RecordError> {
        wiping_stack::<SETUP_STACK, _>(|| {
            Ok(Self { cipher: Cipher::new(side.peer(), key)?, health: Health::default() })
        })
    }

    /// Opens the whole frames at the front of `input`, as many as have room in `out`.
    ///
    /// The work of a call is bounded by the length of `input`.
    ///
    /// # Errors
    /// [`RecordError::Frame`], [`RecordError::Authentication`], [`RecordError::Exhausted`] and
    /// [`RecordError::Provider`], for good. When frames before the bad one were opened, the call
    /// returns those, with [`Next::Again`]; the next one returns the error.
    pub fn open(&mut self, input: &[u8], out: &mut [u8]) -> Result<Opened, RecordError> {
        self.health.check()?;
        let mut done = Opened { consumed: 0, written: 0, next: Next::Again };
        loop {
            let rest = input.get(done.consumed..).unwrap_or_default();
            let room = out.get_mut(done.written..).unwrap_or_default();
            match self.open_first(rest, room) {
                Ok(Step::Frame { frame_len, payload_len }) => {
                    done.consumed = done.consumed.saturating_add(frame_len);
                    done.written = done.written.saturating_add(payload_len);
                }
                Ok(Step::Stop(next)) => return Ok(Opened { next, ..done }),
                Err(error) => {
                    let error = self.health.end(error);
                    return if done.consumed == 0 { Err(error) } else { Ok(done) };
                }
            }
        }
    }

    /// Opens the frame at the front of `input` where it stands.
    ///
    /// # Errors
    /// As [`open`](Self::open). The frame's bytes are wiped.
    pub fn open_in_place(&mut self, input: &mut [u8]) -> Result<InPlace, RecordError> {
        self.health.check()?;
        let consumed = match FrameHeader::find(input) {
            Ok(Find::Whole(header)) => header.frame_len(),
            Ok(Find::Missing(at_least)) => return Ok(InPlace::Input { at_least }),
            Err(error) => return Err(self.health.end(error.into())),
        };
        let bytes = input.get_mut(HEADER_SIZE..consumed).unwrap_or_default();
        let Some((payload, tag)) = bytes.split_last_chunk_mut::<TAG_SIZE>() else {
            return Err(self.health.end(RecordError::Provider));
        };
        if let Err(error) = self.cipher.open_in_place(payload, tag) {
            payload.zeroize();
            return Err(self.health.end(error));
        }
        let end = HEADER_SIZE.saturating_add(payload.len());
        Ok(InPlace::Frame { payload: HEADER_SIZE..end, consumed })
    }

    /// Reports that no byte follows `rest`, the bytes that were received and not consumed.
    ///
    /// A stream that ends between two frames is accepted. ALTS has no closing message, so this
    /// looks the same as an attacker cutting the connection there: the protocol above has to know
    /// its own end, as HTTP/2 does.
    ///
    /// # Errors
    /// [`RecordError::Truncated`] when the stream ended inside a frame, for good; the error that
    /// had ended this direction before.
    pub fn finish(&mut self, rest: &[u8]) -> Result<(), RecordError> {
        self.health.check()?;
        if rest.is_empty() { Ok(()) } else { Err(self.health.end(RecordError::Truncated)) }
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

    /// Makes `position` the count of the next frame. A position that was used before accepts the
    /// same frames again.
    #[cfg(feature = "hazmat")]
    pub const fn set_position(&mut self, position: Option<u64>) {
        self.cipher.counter_mut().set_position(position);
    }

    /// Opens the first frame of `input` into the front of `out`.
    #[inline]
    fn open_first(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, RecordError> {
        let header = match FrameHeader::find(input)? {
            Find::Whole(header) => header,
            Find::Missing(at_least) => return Ok(Step::Stop(Next::Input { at_least })),
        };
        let (frame_len, payload_len) = (header.frame_len(), header.payload_len());
        let Some(plaintext) = out.get_mut(..payload_len) else {
            return Ok(Step::Stop(Next::Room { payload: payload_len }));
        };
        let bytes = input.get(HEADER_SIZE..frame_len).unwrap_or_default();
        let (sealed, tag) = bytes.split_last_chunk().ok_or(RecordError::Provider)?;
        if let Err(error) = self.cipher.open(sealed, tag, plaintext) {
            plaintext.zeroize();
            return Err(error);
        }
        Ok(Step::Frame { frame_len, payload_len })
    }
}

impl<A> fmt::Debug for Opener<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("health", &self.health).finish_non_exhaustive()
    }
}
