//! The stream of bytes over a transport.

use core::fmt;
use core::ops::Range;

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};

use super::discard::discard;
use crate::aead::Aead;
use crate::frame::OVERHEAD;
use crate::record::{InPlace, Opener, RecordError, Sealer};

/// An ALTS connection over a transport, in two buffers of the caller.
///
/// - Reading returns plaintext as soon as one frame is whole. 0 bytes are the end of the stream,
///   between two frames; ALTS has no closing message, so the protocol above has to know its own end.
/// - Writing seals into the write buffer. It reaches the transport when the buffer is needed again
///   or on `flush`: a write is never half done when its future is dropped.
/// - After an error of the record layer every read and write fails.
pub struct Stream<'b, IO, A> {
    io: IO,
    sealer: Sealer<A>,
    opener: Opener<A>,
    failed: Option<RecordError>,
    read_buffer: &'b mut [u8],
    /// Received bytes from the front of `read_buffer`.
    filled: usize,
    /// Plaintext in `read_buffer` that was not handed out yet.
    plaintext: Range<usize>,
    /// Bytes at the front of `read_buffer` that belong to the frame that was opened last.
    opened: usize,
    write_buffer: &'b mut [u8],
    /// Sealed bytes in `write_buffer` that are not written yet.
    sealed: Range<usize>,
}

impl<'b, IO, A: Aead> Stream<'b, IO, A> {
    /// A stream over `io`.
    ///
    /// `read_buffer` has to hold one frame of the peer, [`OVERHEAD`](crate::frame::OVERHEAD)
    /// included: what this side offered as `max_frame_size`, and never less than 16 KiB, since
    /// peers need not go below that. The first `filled` bytes of it came from the peer already,
    /// behind its handshake. Any `write_buffer` of more than `OVERHEAD` bytes will do.
    #[must_use]
    pub fn new(
        io: IO,
        sealer: Sealer<A>,
        opener: Opener<A>,
        read_buffer: &'b mut [u8],
        filled: usize,
        write_buffer: &'b mut [u8],
    ) -> Self {
        let filled = filled.min(read_buffer.len());
        Self {
            io,
            sealer,
            opener,
            failed: None,
            read_buffer,
            filled,
            plaintext: 0..0,
            opened: 0,
            write_buffer,
            sealed: 0..0,
        }
    }

    /// The transport.
    pub const fn get_ref(&self) -> &IO {
        &self.io
    }

    /// The transport, back. Bytes that were received and not read, or sealed and not flushed, are
    /// lost.
    pub fn into_inner(self) -> IO {
        self.io
    }

    fn check(&self) -> Result<(), RecordError> {
        self.failed.map_or(Ok(()), Err)
    }

    fn fail<E>(&mut self, error: RecordError) -> StreamError<E> {
        StreamError::Record(*self.failed.get_or_insert(error))
    }
}

impl<IO: Read, A: Aead> Stream<'_, IO, A> {
    /// Opens frames until there is plaintext; `false` at the end of the stream.
    async fn fill(&mut self) -> Result<bool, StreamError<IO::Error>> {
        while self.plaintext.is_empty() {
            discard(self.read_buffer, &mut self.filled, self.opened);
            self.opened = 0;
            let received = self.read_buffer.get_mut(..self.filled).unwrap_or_default();
            match self.opener.open_in_place(received) {
                Ok(InPlace::Frame { payload, consumed }) => {
                    self.plaintext = payload;
                    self.opened = consumed;
                }
                Ok(InPlace::Input { at_least }) => {
                    let needed = self.filled.saturating_add(at_least);
                    let room = self.read_buffer.get_mut(self.filled..).unwrap_or_default();
                    if room.len() < at_least {
                        return Err(self.fail(RecordError::BufferTooSmall { needed }));
                    }
                    let read = self.io.read(room).await.map_err(StreamError::Io)?;
                    if read == 0 {
                        let rest = self.read_buffer.get(..self.filled).unwrap_or_default();
                        let ended = self.opener.finish(rest);
                        return ended.map(|()| false).map_err(|error| self.fail(error));
                    }
                    self.filled = self.filled.saturating_add(read);
                }
                Err(error) => return Err(self.fail(error)),
            }
        }
        Ok(true)
    }
}

impl<IO: Write, A: Aead> Stream<'_, IO, A> {
    /// Writes what is sealed to the transport.
    async fn drain(&mut self) -> Result<(), StreamError<IO::Error>> {
        while let Some(rest) = self.write_buffer.get(self.sealed.clone()) {
            if rest.is_empty() {
                break;
            }
            match self.io.write(rest).await.map_err(StreamError::Io)? {
                0 => return Err(StreamError::Stalled),
                written => self.sealed.start = self.sealed.start.saturating_add(written),
            }
        }
        Ok(())
    }
}

impl<IO: ErrorType, A> ErrorType for Stream<'_, IO, A> {
    type Error = StreamError<IO::Error>;
}

impl<IO: Read, A: Aead> Read for Stream<'_, IO, A> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        self.check().map_err(StreamError::Record)?;
        if buf.is_empty() || !self.fill().await? {
            return Ok(0);
        }
        let available = self.read_buffer.get(self.plaintext.clone()).unwrap_or_default();
        let count = available.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), available.get(..count)) {
            to.copy_from_slice(from);
        }
        self.plaintext.start = self.plaintext.start.saturating_add(count);
        Ok(count)
    }
}

impl<IO: Write, A: Aead> Write for Stream<'_, IO, A> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        self.check().map_err(StreamError::Record)?;
        if buf.is_empty() {
            return Ok(0);
        }
        self.drain().await?;
        let sealed = self.sealer.seal(buf, self.write_buffer).map_err(|error| self.fail(error))?;
        if sealed.consumed == 0 {
            let needed = OVERHEAD.saturating_add(1);
            return Err(StreamError::Record(RecordError::BufferTooSmall { needed }));
        }
        self.sealed = 0..sealed.written;
        Ok(sealed.consumed)
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        self.check().map_err(StreamError::Record)?;
        self.drain().await?;
        self.io.flush().await.map_err(StreamError::Io)
    }
}

impl<IO, A> fmt::Debug for Stream<'_, IO, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("failed", &self.failed).finish_non_exhaustive()
    }
}

/// Why a stream failed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError<E> {
    /// The transport failed.
    Io(E),
    /// The transport takes no more bytes, or a blocking one did not block.
    Stalled,
    /// The record layer failed, for good.
    Record(RecordError),
}

impl<E: fmt::Debug> fmt::Display for StreamError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "transport: {error:?}"),
            Self::Stalled => f.write_str("transport: takes no more bytes"),
            Self::Record(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for StreamError<E> {}

/// The sentence: what a program prints whose `main` returns it.
impl<E: fmt::Debug> fmt::Debug for StreamError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<E: embedded_io_async::Error> embedded_io_async::Error for StreamError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(error) => error.kind(),
            Self::Stalled => ErrorKind::WriteZero,
            Self::Record(RecordError::BufferTooSmall { .. }) => ErrorKind::OutOfMemory,
            Self::Record(_) => ErrorKind::InvalidData,
        }
    }
}
