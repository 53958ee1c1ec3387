//! The writing half of a stream: plaintext from the caller, frames to the I/O object.

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use alts_core::aead::Aead;
use alts_core::frame::{HEADER_SIZE, OVERHEAD};
use alts_core::record::{RecordError, Sealed, Sealer};
use tokio::io::{AsyncWrite, ReadBuf};

use super::failure::Failure;
use crate::buffer::Buffer;

/// Plaintext of up to this size, in bytes, is sealed on the stack: small messages need no buffer.
const SMALL_WRITE: usize = 1000;
/// The sealed bytes of one write to the I/O object, while there is more to write: full frames.
const LARGE_WRITE: usize = 256 * 1024;
/// The most sealed bytes that wait. What others write at once, 256 KiB of plaintext, is a little
/// larger when sealed: the odd bytes are not worth a separate write.
const LARGEST_WRITE: usize = LARGE_WRITE + 4 * 1024;
/// From this size, in bytes, a slice of a vectored write has its own frame: copying it to its
/// neighbours' would cost more than that.
const LARGE_SLICE: usize = 8 * 1024;

/// Seals what the caller writes.
pub(super) struct Writer<A> {
    sealer: Sealer<A>,
    /// Frames that are sealed, and so counted: they are written as they are, or never.
    sealed: Buffer,
    hold: bool,
    /// The most sealed bytes that were to be held at once since there were none.
    most_held: usize,
}

impl<A: Aead> Writer<A> {
    pub(super) fn new(sealer: Sealer<A>, hold: bool) -> Self {
        Self { sealer, sealed: Buffer::default(), hold, most_held: 0 }
    }

    /// Seals as much of `slices` as one write takes, starts writing it, and says how much it was.
    /// While older frames wait, nothing new is sealed.
    #[inline]
    pub(super) fn poll_write<IO: AsyncWrite>(
        &mut self,
        mut io: Pin<&mut IO>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Failure>> {
        let plaintext = slices.iter().fold(0usize, |sum, slice| sum.saturating_add(slice.len()));
        if plaintext == 0 {
            return Poll::Ready(Ok(0));
        }
        let small = plaintext <= SMALL_WRITE && !self.hold;
        let overheads = slices.len().saturating_mul(OVERHEAD);
        let room = if small {
            plaintext.saturating_add(2 * OVERHEAD)
        } else {
            match self.sealer.sealed_len(plaintext).saturating_add(overheads) {
                whole if whole <= LARGEST_WRITE => whole,
                _ => LARGE_WRITE,
            }
        };
        let fits = self.hold && self.sealed.len().saturating_add(room) <= LARGEST_WRITE;
        if !fits {
            ready!(self.poll_drain(io.as_mut(), cx))?;
        }
        let done = if small {
            let mut space = [MaybeUninit::uninit(); SMALL_WRITE + 2 * OVERHEAD];
            // Only what is needed is zeroed.
            let mut space = ReadBuf::uninit(&mut space);
            let space = space.initialize_unfilled_to(room.min(SMALL_WRITE + 2 * OVERHEAD));
            let done = seal(&mut self.sealer, slices, space)?;
            let frames = space.get(..done.written).unwrap_or_default();
            let written = match io.as_mut().poll_write(cx, frames) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            self.sealed.extend(frames.get(written..).unwrap_or_default());
            done
        } else {
            if self.hold {
                self.expect_more(room);
            }
            let sealed = seal(&mut self.sealer, slices, self.sealed.room(room));
            self.sealed.commit(sealed.as_ref().map_or(0, |done| done.written));
            sealed?
        };
        if !self.hold
            && let Poll::Ready(drained) = self.poll_drain(io, cx)
        {
            drained?;
        }
        Poll::Ready(Ok(done.consumed))
    }

    /// Makes room for `room` bytes and those that will probably be held with them: as many as last
    /// time, or else twice as many as there are.
    fn expect_more(&mut self, room: usize) {
        let held = self.sealed.len();
        let wished = if held == 0 { mem::take(&mut self.most_held) } else { held };
        self.sealed.reserve(room, wished.min(LARGEST_WRITE.saturating_sub(held)));
        self.most_held = self.most_held.max(held.saturating_add(room));
    }

    /// Writes all frames that wait, then flushes the I/O object.
    pub(super) fn poll_flush<IO: AsyncWrite>(
        &mut self,
        mut io: Pin<&mut IO>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        ready!(self.poll_drain(io.as_mut(), cx))?;
        Poll::Ready(Ok(ready!(io.poll_flush(cx))?))
    }

    /// Writes all frames that wait.
    fn poll_drain<IO: AsyncWrite>(
        &mut self,
        mut io: Pin<&mut IO>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        while !self.sealed.is_empty() {
            match ready!(io.as_mut().poll_write(cx, self.sealed.filled()))? {
                0 => return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into())),
                written => self.sealed.consume(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    pub(super) const fn max_payload(&self) -> usize {
        self.sealer.max_payload()
    }

    pub(super) const fn buffer_capacity(&self) -> usize {
        self.sealed.capacity()
    }

    /// Forgets the frames that wait: nothing more is written.
    pub(super) fn clear(&mut self) {
        self.sealed.clear();
    }
}

/// Seals as much of `slices` as fits into `out`: large slices straight from where they stand,
/// neighbouring small ones as one frame.
#[inline]
fn seal<A: Aead>(
    sealer: &mut Sealer<A>,
    mut slices: &[IoSlice<'_>],
    out: &mut [u8],
) -> Result<Sealed, RecordError> {
    let mut done = Sealed { consumed: 0, written: 0 };
    while let Some((first, others)) = slices.split_first() {
        let free = out.get_mut(done.written..).unwrap_or_default();
        let room = free.len().saturating_sub(OVERHEAD).min(sealer.max_payload());
        if first.is_empty() {
            slices = others;
        } else if let Some((small, rest)) = neighbours(slices, room) {
            done = sum(done, seal_together(sealer, small, free)?);
            slices = rest;
        } else if done.written > 0 && room < first.len().min(sealer.max_payload()) {
            // What is left of the room would chop the slice.
            break;
        } else {
            let frames = sealer.seal(first, free)?;
            done = sum(done, frames);
            if frames.consumed < first.len() {
                break;
            }
            slices = others;
        }
    }
    Ok(done)
}

/// The small slices at the front that one frame of `room` bytes of payload can carry, if there
/// are at least two, and the slices behind them.
fn neighbours<'a, 'b>(
    slices: &'a [IoSlice<'b>],
    room: usize,
) -> Option<(&'a [IoSlice<'b>], &'a [IoSlice<'b>])> {
    if slices.len() < 2 {
        return None;
    }
    let mut left = room;
    let count = slices
        .iter()
        .take_while(|slice| {
            let fits = slice.len() < LARGE_SLICE && slice.len() <= left;
            left = left.saturating_sub(slice.len());
            fits
        })
        .count();
    if count < 2 { None } else { slices.split_at_checked(count) }
}

/// Seals `slices` as one frame at the front of `out`, which has room for it.
fn seal_together<A: Aead>(
    sealer: &mut Sealer<A>,
    slices: &[IoSlice<'_>],
    out: &mut [u8],
) -> Result<Sealed, RecordError> {
    let mut end = HEADER_SIZE;
    for slice in slices {
        let next = end.saturating_add(slice.len());
        let needed = next;
        let place = out.get_mut(end..next).ok_or(RecordError::BufferTooSmall { needed })?;
        place.copy_from_slice(slice);
        end = next;
    }
    let consumed = end.saturating_sub(HEADER_SIZE);
    Ok(Sealed { consumed, written: sealer.seal_in_place(out, consumed)? })
}

const fn sum(a: Sealed, b: Sealed) -> Sealed {
    Sealed {
        consumed: a.consumed.saturating_add(b.consumed),
        written: a.written.saturating_add(b.written),
    }
}
