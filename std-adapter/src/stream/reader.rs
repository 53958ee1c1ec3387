//! The reading half of a stream: frames from the I/O object, plaintext to the caller.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use alts_core::aead::{Aead, TAG_SIZE};
use alts_core::frame::HEADER_SIZE;
use alts_core::record::{InPlace, Next, Opened, Opener, RecordError};
use tokio::io::{AsyncRead, ReadBuf};

use super::failure::Failure;
use crate::buffer::Buffer;

/// Reads of up to this size, in bytes, go through the stack: small messages need no buffer.
const SMALL_READ: usize = 8 * 1024;
/// The largest read, in bytes: more brings nothing. With the odd 4 KiB, four frames that carry
/// 64 KiB each come in one read and leave little to be moved.
const LARGE_READ: usize = (256 + 4) * 1024;
/// Steps within one poll that bring nothing to hand out; after them other tasks have their turn.
const FRUITLESS_STEPS: usize = 32;

/// Opens what the peer sends.
pub(super) struct Reader<A> {
    opener: Opener<A>,
    /// What has arrived: the rest of a frame that was opened in place, then sealed frames.
    received: Buffer,
    /// Bytes of opened payload at the front of `received`. A tag without a use stands behind them.
    payload: usize,
    /// Bytes to ask for in the next read: it follows what the peer sends.
    read_size: usize,
    ended: bool,
}

impl<A: Aead> Reader<A> {
    pub(super) fn new(opener: Opener<A>, leftover: &[u8]) -> Self {
        let received = leftover.into();
        Self { opener, received, payload: 0, read_size: SMALL_READ, ended: false }
    }

    /// Reads into `out`, straight from the frames where they have room. Filling nothing means the
    /// end of the stream.
    pub(super) fn poll_read<IO: AsyncRead>(
        &mut self,
        mut io: Pin<&mut IO>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), Failure>> {
        for _ in 0..FRUITLESS_STEPS {
            let room = out.remaining();
            if self.payload > 0 || self.ended || room == 0 {
                let payload = self.payload();
                let (now, _) = payload.split_at_checked(room).unwrap_or((payload, &[]));
                out.put_slice(now);
                self.consume(now.len());
                return Poll::Ready(Ok(()));
            }
            let Opened { consumed, written, next } =
                if self.received.is_empty() && self.read_size <= SMALL_READ {
                    ready!(self.poll_small(io.as_mut(), cx, out))?
                } else {
                    let opened = open(&mut self.opener, self.received.filled(), out)?;
                    self.received.consume(opened.consumed);
                    opened
                };
            if written > 0 {
                return Poll::Ready(Ok(()));
            }
            match next {
                Next::Room { .. } => _ = self.open_in_place()?,
                Next::Input { at_least } if consumed == 0 => {
                    ready!(self.poll_fill(io.as_mut(), cx, at_least))?;
                }
                // Only empty records, and perhaps a flood of them.
                _ => break,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Opens the next frame that has a payload where it stands: afterwards
    /// [`payload`](Self::payload) is what may be read, and empty at the end of the stream.
    pub(super) fn poll_payload<IO: AsyncRead>(
        &mut self,
        mut io: Pin<&mut IO>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        for _ in 0..FRUITLESS_STEPS {
            if self.payload > 0 || self.ended {
                return Poll::Ready(Ok(()));
            }
            if let Some(at_least) = self.open_in_place()? {
                ready!(self.poll_fill(io.as_mut(), cx, at_least))?;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The rest of the payload that was opened in place.
    pub(super) fn payload(&self) -> &[u8] {
        self.received.filled().get(..self.payload).unwrap_or_default()
    }

    /// Takes `count` bytes from the front of [`payload`](Self::payload).
    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.payload);
        if count > 0 {
            self.payload = self.payload.saturating_sub(count);
            self.received.consume(count);
            if self.payload == 0 {
                self.received.consume(TAG_SIZE);
            }
        }
    }

    /// Opens the frame at the front where it stands, or says how many bytes it lacks.
    fn open_in_place(&mut self) -> Result<Option<usize>, RecordError> {
        Ok(match self.opener.open_in_place(self.received.filled_mut())? {
            InPlace::Frame { payload, consumed } if payload.is_empty() => {
                self.received.consume(consumed);
                None
            }
            InPlace::Frame { payload, .. } => {
                self.payload = payload.len();
                self.received.consume(HEADER_SIZE);
                None
            }
            InPlace::Input { at_least } => Some(at_least),
        })
    }

    /// Reads once through the stack, while nothing is buffered. Only what cannot be handed out at
    /// once is kept.
    #[inline]
    fn poll_small<IO: AsyncRead>(
        &mut self,
        io: Pin<&mut IO>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<Result<Opened, Failure>> {
        let mut space = [MaybeUninit::uninit(); SMALL_READ];
        let mut arrived = ReadBuf::uninit(&mut space);
        ready!(io.poll_read(cx, &mut arrived))?;
        let arrived = arrived.filled();
        self.arrived(arrived.len(), arrived.len())?;
        let opened = open(&mut self.opener, arrived, out)?;
        self.received.extend(arrived.get(opened.consumed..).unwrap_or_default());
        Poll::Ready(Ok(opened))
    }

    /// Reads once behind what is buffered.
    ///
    /// The room follows what has arrived, not what a header claims: it doubles at most.
    fn poll_fill<IO: AsyncRead>(
        &mut self,
        io: Pin<&mut IO>,
        cx: &mut Context<'_>,
        at_least: usize,
    ) -> Poll<Result<(), Failure>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let have = self.received.len();
        let room = at_least.min(have.max(SMALL_READ)).max(self.read_size.saturating_sub(have));
        let count = ready!(self.received.poll_fill(io, cx, room))?;
        Poll::Ready(Ok(self.arrived(count, self.received.len())?))
    }

    /// Takes note that a read has brought `count` bytes, with which `have` are there.
    fn arrived(&mut self, count: usize, have: usize) -> Result<(), RecordError> {
        if count == 0 {
            self.opener.finish(self.received.filled())?;
            self.ended = true;
        } else if have >= self.read_size {
            self.read_size = self.read_size.saturating_mul(2).min(LARGE_READ);
        } else if have < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(SMALL_READ);
        }
        Ok(())
    }

    /// Bytes that have arrived and are not opened yet.
    pub(super) fn unopened(&self) -> &[u8] {
        let opened = if self.payload > 0 { self.payload.saturating_add(TAG_SIZE) } else { 0 };
        self.received.filled().get(opened..).unwrap_or_default()
    }

    pub(super) const fn buffer_capacity(&self) -> usize {
        self.received.capacity()
    }

    /// Forgets what has arrived: nothing more is read.
    pub(super) fn clear(&mut self) {
        self.payload = 0;
        self.received.clear();
    }
}

/// Opens whole frames at the front of `input`, as many as `out` has room for.
#[inline]
fn open<A: Aead>(
    opener: &mut Opener<A>,
    input: &[u8],
    out: &mut ReadBuf<'_>,
) -> Result<Opened, RecordError> {
    // Room that no payload could use would be zeroed for nothing.
    let room = out.remaining().min(input.len());
    let Opened { consumed, written, next } =
        opener.open(input, out.initialize_unfilled_to(room))?;
    out.advance(written);
    Ok(Opened { consumed, written, next })
}
