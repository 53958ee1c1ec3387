//! The peer as the driver sees it: what to read and write, done by the code that has the I/O object.
//!
//! The driver of a handshake borrows its configuration and waits for a service, so it lives in a
//! box; the I/O object may be of any type, borrowed, or not `Send`. They meet here.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::{io, mem};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::service::ServiceMessage;

/// Bytes to read from the peer at once: a flight of handshake messages is about that long.
const PEER_READ: usize = 4 * 1024;

/// The driver's end and the future's end of one handshake.
#[derive(Clone, Default)]
pub(super) struct Peer(Arc<Mutex<Errand>>);

/// What the driver wants to have done, or what came of it. Buffers travel with it: nothing is copied.
#[derive(Default)]
enum Errand {
    #[default]
    None,
    /// Read once, behind what is in the buffer.
    Read(Vec<u8>),
    HasRead(Vec<u8>, io::Result<usize>),
    /// Write this part of the message, and flush.
    Write(ServiceMessage, Range<usize>),
    HasWritten(ServiceMessage, io::Result<()>),
}

impl Peer {
    /// Reads once behind what is in `buffer`; says how many bytes came.
    pub(super) async fn read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        *self.errand() = Errand::Read(mem::take(buffer));
        poll_fn(|_| match self.take_errand() {
            Errand::HasRead(bytes, read) => {
                *buffer = bytes;
                Poll::Ready(read)
            }
            other => self.not_yet(other),
        })
        .await
    }

    /// Writes `range` of `message`, and flushes.
    pub(super) async fn write(
        &self,
        message: &mut ServiceMessage,
        range: Range<usize>,
    ) -> io::Result<()> {
        *self.errand() = Errand::Write(mem::take(message), range);
        poll_fn(|_| match self.take_errand() {
            Errand::HasWritten(bytes, written) => {
                *message = bytes;
                Poll::Ready(written)
            }
            other => self.not_yet(other),
        })
        .await
    }

    fn take_errand(&self) -> Errand {
        mem::take(&mut *self.errand())
    }

    /// No waker is needed: after each errand the driver is polled again.
    fn not_yet<T>(&self, errand: Errand) -> Poll<T> {
        *self.errand() = errand;
        Poll::Pending
    }

    /// Runs the errand, if there is one. Pending without one: then the driver waits for something
    /// else.
    pub(super) fn poll_errand<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut errand = self.errand();
        let done = match &mut *errand {
            Errand::Read(buffer) => {
                let read = ready!(poll_read(io, cx, buffer));
                Errand::HasRead(mem::take(buffer), read)
            }
            Errand::Write(message, range) => {
                let written = ready!(poll_write(io, cx, message, range));
                Errand::HasWritten(mem::take(message), written)
            }
            Errand::None | Errand::HasRead(..) | Errand::HasWritten(..) => return Poll::Pending,
        };
        *errand = done;
        Poll::Ready(())
    }

    fn errand(&self) -> MutexGuard<'_, Errand> {
        // An I/O object's code may have panicked; what it left is a whole errand all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn poll_read<IO: AsyncRead + Unpin>(
    io: &mut IO,
    cx: &mut Context<'_>,
    buffer: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    let have = buffer.len();
    buffer.resize(have.saturating_add(PEER_READ), 0);
    let mut space = ReadBuf::new(buffer.get_mut(have..).unwrap_or_default());
    let read = Pin::new(io).poll_read(cx, &mut space);
    let count = space.filled().len();
    buffer.truncate(have.saturating_add(count));
    if buffer.is_empty() {
        // A silent connection keeps no buffer.
        *buffer = Vec::new();
    }
    read.map_ok(|()| count)
}

fn poll_write<IO: AsyncWrite + Unpin>(
    io: &mut IO,
    cx: &mut Context<'_>,
    message: &[u8],
    range: &mut Range<usize>,
) -> Poll<io::Result<()>> {
    while let Some(rest) = message.get(range.clone()).filter(|rest| !rest.is_empty()) {
        let written = ready!(Pin::new(&mut *io).poll_write(cx, rest))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        range.start = range.start.saturating_add(written);
    }
    Pin::new(io).poll_flush(cx)
}
