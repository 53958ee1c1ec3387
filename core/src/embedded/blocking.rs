//! The same handshake and stream over `embedded-io`: blocking transports.

#[cfg(feature = "handshake")]
mod handshake;
mod waits;

use core::fmt;

use embedded_io::{ErrorType, Read, Write};
#[cfg(feature = "handshake")]
pub use handshake::{Service, handshake};

use self::waits::{Waits, now_or_never};
use super::StreamError;
use crate::aead::Aead;
use crate::record::{Opener, Sealer};

/// An ALTS connection over a blocking transport, as [`super::Stream`].
pub struct Stream<'b, IO, A>(super::Stream<'b, Waits<IO>, A>);

impl<'b, IO, A: Aead> Stream<'b, IO, A> {
    /// A stream over `io`, as [`super::Stream::new`].
    #[must_use]
    pub fn new(
        io: IO,
        sealer: Sealer<A>,
        opener: Opener<A>,
        read_buffer: &'b mut [u8],
        filled: usize,
        write_buffer: &'b mut [u8],
    ) -> Self {
        Self(super::Stream::new(Waits(io), sealer, opener, read_buffer, filled, write_buffer))
    }

    /// The transport.
    pub const fn get_ref(&self) -> &IO {
        &self.0.get_ref().0
    }

    /// The transport, back. Bytes that were received and not read, or sealed and not flushed, are
    /// lost.
    pub fn into_inner(self) -> IO {
        self.0.into_inner().0
    }
}

impl<IO: ErrorType, A> ErrorType for Stream<'_, IO, A> {
    type Error = StreamError<IO::Error>;
}

impl<IO: Read, A: Aead> Read for Stream<'_, IO, A> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        now_or_never(embedded_io_async::Read::read(&mut self.0, buf))
            .unwrap_or(Err(StreamError::Stalled))
    }
}

impl<IO: Write, A: Aead> Write for Stream<'_, IO, A> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        now_or_never(embedded_io_async::Write::write(&mut self.0, buf))
            .unwrap_or(Err(StreamError::Stalled))
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        now_or_never(embedded_io_async::Write::flush(&mut self.0))
            .unwrap_or(Err(StreamError::Stalled))
    }
}

impl<IO, A> fmt::Debug for Stream<'_, IO, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
