//! The record layer: bytes into frames and frames into bytes, one half for each direction.
//!
//! A [`Sealer`] writes, an [`Opener`] reads; they share nothing and may live in different tasks.
//! Neither keeps a byte of the stream: every buffer is the caller's.

mod cipher;
mod opener;
mod sealer;

use core::fmt;

pub use opener::{InPlace, Next, Opened, Opener};
pub use sealer::{Sealed, Sealer};

use crate::error::{Fault, debug_is_the_sentence};
use crate::frame::FrameError;
use crate::nonce::Exhausted;

/// Why a direction of the record layer has ended.
///
/// Apart from [`RecordError::BufferTooSmall`], which changes nothing, every error is final for the
/// direction that it happened in: each later call returns it again.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordError {
    /// A frame's header was refused.
    Frame(FrameError),
    /// A frame was forged, changed, replayed, reordered or dropped: its tag is not what this
    /// place in the stream needs. Nothing of its payload was handed out.
    Authentication,
    /// The stream ended inside a frame.
    Truncated,
    /// All counts of this direction are used up: no more frames can be sealed or opened.
    Exhausted(Exhausted),
    /// The caller's buffer has no room for the frame; `needed` bytes are needed in all.
    BufferTooSmall {
        /// Bytes that the buffer has to have.
        needed: usize,
    },
    /// The AEAD provider could not set up a key or seal.
    Provider,
}

impl RecordError {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(self) -> Fault {
        match self {
            Self::Frame(error) => error.fault(),
            Self::Authentication | Self::Truncated => Fault::Peer,
            Self::Exhausted(error) => error.fault(),
            Self::BufferTooSmall { .. } | Self::Provider => Fault::Local,
        }
    }
}

impl From<FrameError> for RecordError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<Exhausted> for RecordError {
    fn from(error: Exhausted) -> Self {
        Self::Exhausted(error)
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.fault())?;
        match self {
            Self::Frame(error) => error.fmt(f),
            Self::Authentication => f.write_str("a frame failed authentication"),
            Self::Truncated => f.write_str("the stream ended inside a frame"),
            Self::Exhausted(error) => error.fmt(f),
            Self::BufferTooSmall { needed } => write!(f, "a buffer of {needed} bytes is needed"),
            Self::Provider => f.write_str("the AEAD provider refused"),
        }
    }
}

impl core::error::Error for RecordError {}

debug_is_the_sentence!(RecordError);

/// A direction that works until its first error, which it then repeats for good.
#[derive(Debug, Default)]
struct Health(Option<RecordError>);

impl Health {
    #[inline]
    fn check(&self) -> Result<(), RecordError> {
        match self.0 {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }

    #[cold]
    fn end(&mut self, error: RecordError) -> RecordError {
        *self.0.get_or_insert(error)
    }
}
