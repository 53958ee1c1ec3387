//! The stream: tokio's reading and writing over an established ALTS connection.

mod ending;
mod failure;
mod goaway;
mod reader;
mod writer;

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use alts_core::aead::Aead;
use alts_core::frame::OVERHEAD;
use alts_core::record::{Opener, Sealer};
use alts_core::{AltsContext, Side};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

#[cfg(feature = "net")]
pub(crate) use self::ending::End;
use self::ending::Ending;
use self::failure::{Direction, Directions, Failure};
use self::goaway::GoAway;
use self::reader::Reader;
use self::writer::Writer;
use crate::aead::DefaultAead;
use crate::age::{ConnectionEnd, system_time};

/// How an [`AltsStream`] treats what it writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    hold_until_flush: bool,
}

impl StreamOptions {
    /// The defaults: whatever is written is sent at once.
    #[must_use]
    pub const fn new() -> Self {
        Self { hold_until_flush: false }
    }

    /// Whether sealed frames are held back until a flush, a shutdown, or until 256 KiB of them
    /// wait. Many small writes then cost one write to the I/O object, but a caller that waits for
    /// an answer without having flushed waits for ever. Off by default.
    #[must_use]
    pub const fn hold_until_flush(mut self, hold: bool) -> Self {
        self.hold_until_flush = hold;
        self
    }
}

/// A connection whose bytes are sealed by ALTS records.
///
/// - What goes in and comes out: [`AsyncRead`], [`AsyncBufRead`], [`AsyncWrite`] (vectored writes
///   too). [`tokio::io::split`] makes halves for two tasks.
/// - Questions: [`context`](Self::context) is what the handshake has proved,
///   [`get_ref`](Self::get_ref) and [`get_mut`](Self::get_mut) are the I/O object,
///   [`frame_size`](Self::frame_size) is what was negotiated,
///   [`buffer_capacity`](Self::buffer_capacity) is the memory in use.
/// - The end: [`into_inner`](Self::into_inner).
///
/// **Flush.** A write seals its bytes and tries to send them in the same call. What the I/O object
/// does not take then is sent by the next write, flush or shutdown: flush before waiting for an
/// answer, as with any buffered writer.
///
/// **Cancellation.** A read or write future that is dropped loses nothing: bytes count as written
/// when the write returns their number, and a frame that was sent in part is finished later with
/// the same bytes.
///
/// **The end of the stream.** ALTS has no closing message. A stream that ends inside a frame is an
/// error ([`io::ErrorKind::UnexpectedEof`]); one that ends between two frames reads as the end,
/// although an attacker on the network may have cut it there. A protocol above that does not know its
/// own end, as HTTP/2 does, has to mark it.
///
/// **Errors.** A record that the peer cannot have sent ends both directions for good
/// ([`io::ErrorKind::InvalidData`]; the [`RecordError`](alts_core::record::RecordError) inside
/// says what it was). An error of the I/O object ends its direction.
///
/// **Memory.** A stream has buffers only while something waits in them: frames that the I/O object
/// did not take, or bytes that arrived and have not been read. Empty ones go to the next stream of the
/// thread, which keeps up to 640 KiB for that. An idle connection holds this value, two expanded keys
/// and the context; messages of up to 1000 bytes to write or 8 KiB to read never need a buffer.
/// At most 260 KiB of sealed frames wait to be written. What is read is bounded by the larger of
/// 260 KiB and one frame (1 MiB), and grows only with bytes that have arrived.
pub struct AltsStream<IO, A = DefaultAead> {
    io: IO,
    reader: Reader<A>,
    writer: Writer<A>,
    directions: Directions,
    /// Of each direction its own: two tasks may wait for them.
    read_end: Ending,
    write_end: Ending,
    /// What is to be put between a server's frames when the connection is due.
    goaway: Option<Box<Due>>,
    context: Arc<AltsContext>,
}

/// A GOAWAY, and the direction of the server's frames.
struct Due {
    goaway: GoAway,
    direction: Direction,
    /// All of it has been written, and perhaps not sent.
    is_written: bool,
    /// What was handed out last by `poll_fill_buf` is a part of it.
    is_being_read: bool,
}

impl<IO, A: Aead> AltsStream<IO, A> {
    /// The stream of an established connection, from the halves of its
    /// [`Session`](alts_core::Session).
    ///
    /// `leftover` is what the handshake received from the peer and did not consume: the first
    /// bytes of the first records.
    #[must_use]
    pub fn new(
        io: IO,
        sealer: Sealer<A>,
        opener: Opener<A>,
        context: Arc<AltsContext>,
        leftover: &[u8],
        options: StreamOptions,
    ) -> Self {
        Self {
            io,
            reader: Reader::new(opener, leftover),
            writer: Writer::new(sealer, options.hold_until_flush),
            directions: Directions::default(),
            read_end: Ending::Open,
            write_end: Ending::Open,
            goaway: None,
            context,
        }
    }

    /// Both directions fail from when these are ready.
    #[cfg(feature = "net")]
    pub(crate) fn end_when(&mut self, read: End, write: End) {
        self.read_end.add(read);
        self.write_end.add(write);
    }

    /// Both directions fail with [`TimedOut`](io::ErrorKind::TimedOut) when the connection is over. It
    /// says nothing to the peer when it is due: the protocol above has to do that, or
    /// [`end_http2_with`](Self::end_http2_with).
    pub fn end_with(&mut self, end: &ConnectionEnd) {
        if end.over_at().is_some() {
            for direction in [&mut self.read_end, &mut self.write_end] {
                let end = *end;
                direction.add(Box::pin(async move { end.over().await.sentence() }));
            }
        }
    }

    /// As [`end_with`](Self::end_with), for HTTP/2 by whatever serves it: when the connection is due, a
    /// GOAWAY is put between the server's frames, those that a server (`side`) writes, or those that a
    /// client reads. It says that all requests so far will be answered, and that the next ones should
    /// take another connection. Nothing is put into a stream that does not begin as HTTP/2.
    pub fn end_http2_with(&mut self, end: &ConnectionEnd, side: Side) {
        self.end_with(end);
        if let Some((due, reason)) = end.due_at().zip(end.reason()) {
            let direction = match side {
                Side::Client => Direction::Read,
                Side::Server => Direction::Write,
            };
            let goaway = GoAway::at(due, reason);
            self.goaway =
                Some(Box::new(Due { goaway, direction, is_written: false, is_being_read: false }));
        }
    }

    /// When the peer's certificate ends, if the handshaker service has said so.
    #[must_use]
    pub fn peer_certificate_end(&self) -> Option<SystemTime> {
        system_time(self.context.peer_certificate_end())
    }

    /// When this side's own certificate ends, if the handshaker service has said so.
    #[must_use]
    pub fn local_certificate_end(&self) -> Option<SystemTime> {
        system_time(self.context.local_certificate_end())
    }

    /// What the handshake has proved.
    #[must_use]
    pub const fn context(&self) -> &Arc<AltsContext> {
        &self.context
    }

    /// The I/O object.
    #[must_use]
    pub const fn get_ref(&self) -> &IO {
        &self.io
    }

    /// The I/O object. Reading from it or writing to it breaks the stream.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut IO {
        &mut self.io
    }

    /// The I/O object, and the bytes that were received from it and not opened yet: sealed frames,
    /// the last one perhaps in part.
    ///
    /// Keys are wiped. Frames that are not flushed are lost, and so is the rest of a payload that
    /// was read in part.
    #[must_use]
    pub fn into_inner(self) -> (IO, Vec<u8>) {
        let unopened = self.reader.unopened().to_vec();
        (self.io, unopened)
    }

    /// The largest frame that is written, in bytes on the wire: what follows from both sides'
    /// frame sizes.
    #[must_use]
    pub const fn frame_size(&self) -> usize {
        self.writer.max_payload().saturating_add(OVERHEAD)
    }

    /// Bytes of memory that the buffers of both directions own; 0 when the connection is idle.
    #[must_use]
    pub const fn buffer_capacity(&self) -> usize {
        self.reader.buffer_capacity().saturating_add(self.writer.buffer_capacity())
    }

    /// The result of a poll of `direction`.
    fn conclude<T>(
        &mut self,
        direction: Direction,
        result: Result<T, Failure>,
    ) -> Poll<io::Result<T>> {
        Poll::Ready(result.map_err(|failure| {
            let error = self.directions.end(direction, failure);
            if self.directions.is_broken() {
                self.reader.clear();
                self.writer.clear();
            }
            error
        }))
    }
}

impl<IO, A> AltsStream<IO, A> {
    /// What a client has to read before anything that has arrived. A server's task, which waits for its
    /// client, is woken when it has something to write: it flushes then, as all of HTTP/2 do.
    fn poll_due_to_read(&mut self, cx: &mut Context<'_>) -> &'static [u8] {
        let Some(due) = &mut self.goaway else { return &[] };
        let left = due.goaway.poll_due(cx);
        if matches!(due.direction, Direction::Read) { left } else { &[] }
    }

    /// Puts what a client has to read into its buffer. Returns whether there was anything.
    #[inline(never)]
    fn put_due(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> bool {
        let due = self.poll_due_to_read(cx);
        let (now, _) = due.split_at_checked(buf.remaining()).unwrap_or((due, &[]));
        if !due.is_empty() {
            buf.put_slice(now);
            self.has_read_due(now.len());
        }
        !due.is_empty()
    }

    /// Whether these bytes come next, of which `consume` will hear.
    fn is_at_due(&mut self, left: &[u8]) -> bool {
        if let Some(due) = &mut self.goaway {
            due.is_being_read = !left.is_empty();
        }
        !left.is_empty()
    }

    /// A client has read so much of it.
    fn has_read_due(&mut self, count: usize) {
        if self.goaway.as_mut().is_some_and(|due| due.goaway.advance(count)) {
            self.goaway = None;
        }
    }

    /// Takes note of what a client has read.
    #[inline(never)]
    fn has_read(&mut self, bytes: &[u8]) {
        if let Some(due) = &mut self.goaway
            && matches!(due.direction, Direction::Read)
            && !due.goaway.passed(bytes)
        {
            self.goaway = None;
        }
    }

    /// Takes note of what a server has written.
    #[inline(never)]
    fn has_written(&mut self, bufs: &[IoSlice<'_>], mut count: usize) {
        let Some(due) = &mut self.goaway else { return };
        if matches!(due.direction, Direction::Read) || due.is_written {
            return;
        }
        let mut is_needed = true;
        for buf in bufs {
            let (now, _) = buf.split_at_checked(count).unwrap_or((buf, &[]));
            is_needed = due.goaway.passed(now);
            count = count.saturating_sub(now.len());
        }
        if !is_needed {
            self.goaway = None;
        }
    }
}

impl<IO: AsyncWrite + Unpin, A: Aead + Unpin> AltsStream<IO, A> {
    /// Writes what a server has to write before anything else. While it is pending, nothing else may
    /// be written.
    #[inline(never)]
    fn poll_due_to_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Some(due) = &mut self.goaway else { return Poll::Ready(Ok(())) };
        if matches!(due.direction, Direction::Read) {
            return Poll::Ready(Ok(()));
        }
        let mut io = Pin::new(&mut self.io);
        while !due.is_written {
            let left = due.goaway.poll_due(cx);
            if left.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match self.writer.poll_write(io.as_mut(), cx, &[IoSlice::new(left)])? {
                Poll::Ready(count) => due.is_written = due.goaway.advance(count),
                Poll::Pending if due.goaway.has_begun() => return Poll::Pending,
                // Older bytes wait: that it is due will be found again with the next ones.
                Poll::Pending => return Poll::Ready(Ok(())),
            }
        }
        // Whoever writes does not know that there is something to be sent.
        if self.writer.poll_flush(io, cx)?.is_ready() {
            self.goaway = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + Unpin, A: Aead + Unpin> AsyncRead for AltsStream<IO, A> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.directions.check(Direction::Read)?;
        this.read_end.check(cx)?;
        if this.goaway.is_some() && this.put_due(cx, buf) {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = ready!(this.reader.poll_read(Pin::new(&mut this.io), cx, buf));
        if this.goaway.is_some() {
            this.has_read(buf.filled().get(before..).unwrap_or_default());
        }
        this.conclude(Direction::Read, result)
    }
}

impl<IO: AsyncRead + Unpin, A: Aead + Unpin> AsyncBufRead for AltsStream<IO, A> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        this.directions.check(Direction::Read)?;
        this.read_end.check(cx)?;
        let due = this.poll_due_to_read(cx);
        if this.is_at_due(due) {
            return Poll::Ready(Ok(due));
        }
        let result = ready!(this.reader.poll_payload(Pin::new(&mut this.io), cx));
        ready!(this.conclude(Direction::Read, result))?;
        Poll::Ready(Ok(this.reader.payload()))
    }

    fn consume(mut self: Pin<&mut Self>, amt: usize) {
        let this = &mut *self;
        if this.goaway.as_ref().is_some_and(|due| due.is_being_read) {
            return this.has_read_due(amt);
        }
        if let Some(due) = &mut this.goaway
            && matches!(due.direction, Direction::Read)
            && !due.goaway.passed(this.reader.payload().get(..amt).unwrap_or_default())
        {
            this.goaway = None;
        }
        this.reader.consume(amt);
    }
}

impl<IO: AsyncWrite + Unpin, A: Aead + Unpin> AsyncWrite for AltsStream<IO, A> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.directions.check(Direction::Write)?;
        this.write_end.check(cx)?;
        if this.goaway.is_some()
            && let Err(failure) = ready!(this.poll_due_to_write(cx))
        {
            return this.conclude(Direction::Write, Err(failure));
        }
        let result = ready!(this.writer.poll_write(Pin::new(&mut this.io), cx, bufs));
        if this.goaway.is_some()
            && let Ok(count) = &result
        {
            this.has_written(bufs, *count);
        }
        this.conclude(Direction::Write, result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.directions.check(Direction::Write)?;
        this.write_end.check(cx)?;
        if this.goaway.is_some()
            && let Err(failure) = ready!(this.poll_due_to_write(cx))
        {
            return this.conclude(Direction::Write, Err(failure));
        }
        let result = ready!(this.writer.poll_flush(Pin::new(&mut this.io), cx));
        this.conclude(Direction::Write, result)
    }

    /// Sends what waits, then shuts the I/O object down; a stream that has failed shuts the I/O
    /// object down at once. Reading goes on.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.directions.check(Direction::Write).is_ok() {
            // What does not get through any more keeps nothing open.
            match ready!(self.as_mut().poll_flush(cx)) {
                Err(_) if matches!(self.write_end, Ending::Over(_)) => {}
                flushed => flushed?,
            }
        }
        let ended = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
        self.conclude(Direction::Write, ended.map_err(Failure::from))
    }
}

impl<IO: fmt::Debug, A> fmt::Debug for AltsStream<IO, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AltsStream")
            .field("io", &self.io)
            .field("context", &self.context)
            .field("directions", &self.directions)
            .finish_non_exhaustive()
    }
}
