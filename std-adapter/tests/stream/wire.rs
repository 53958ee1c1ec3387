//! Keys, frames and an I/O object that does what a script says.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

use alts_core::context::AltsContext;
use alts_core::frame::{FrameHeader, FrameSize, HEADER_SIZE};
use alts_core::key::{RecordKey, RecordProtocol};
use alts_core::msg::HandshakerResult;
use alts_core::record::{Opener, Sealer};
use alts_core::{Side, aead};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_alts::{AltsStream, DefaultAead, StreamOptions};

pub(crate) const PROTOCOL: RecordProtocol = RecordProtocol::AesGcm128Rekey;

pub(crate) fn key() -> RecordKey {
    let data: Vec<u8> = (0..44).collect();
    RecordKey::new(PROTOCOL, &data).unwrap()
}

pub(crate) fn context() -> Arc<AltsContext> {
    let result = HandshakerResult { application_protocol: "grpc", ..Default::default() };
    Arc::new(AltsContext::from_result(&result, PROTOCOL).unwrap())
}

pub(crate) fn sealer(side: Side) -> Sealer<DefaultAead> {
    Sealer::new(side, &key(), FrameSize::DEFAULT).unwrap()
}

pub(crate) fn opener(side: Side) -> Opener<DefaultAead> {
    Opener::new(side, &key()).unwrap()
}

/// A stream of `side` over `io`.
pub(crate) fn stream<IO>(side: Side, io: IO) -> AltsStream<IO> {
    stream_with(side, io, FrameSize::DEFAULT, StreamOptions::new())
}

pub(crate) fn stream_with<IO>(
    side: Side,
    io: IO,
    frame_size: FrameSize,
    options: StreamOptions,
) -> AltsStream<IO> {
    let sealer = Sealer::new(side, &key(), frame_size).unwrap();
    AltsStream::new(io, sealer, opener(side), context(), &[], options)
}

/// Both ends of a connection over a pipe of `size` bytes each way.
pub(crate) fn duplex(
    size: usize,
) -> (AltsStream<tokio::io::DuplexStream>, AltsStream<tokio::io::DuplexStream>) {
    let (client, server) = tokio::io::duplex(size);
    (stream(Side::Client, client), stream(Side::Server, server))
}

/// What `side` sends for these payloads, a frame each.
pub(crate) fn frames(side: Side, payloads: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut sealer = sealer(side);
    payloads
        .iter()
        .map(|payload| {
            let mut frame = [&[0; HEADER_SIZE], *payload, &[0; aead::TAG_SIZE]].concat();
            sealer.seal_in_place(&mut frame, payload.len()).unwrap();
            frame
        })
        .collect()
}

/// The payloads of what `side` has sent, a frame each; the bytes must end with a frame.
pub(crate) fn payloads(side: Side, mut sent: Vec<u8>) -> Vec<Vec<u8>> {
    use alts_core::record::InPlace;
    let mut opener = opener(side.peer());
    let mut payloads = Vec::new();
    while !sent.is_empty() {
        let InPlace::Frame { payload, consumed } = opener.open_in_place(&mut sent).unwrap() else {
            panic!("{} bytes are not a whole frame", sent.len());
        };
        payloads.push(sent[payload].to_vec());
        sent.drain(..consumed);
    }
    payloads
}

/// The wire length of each frame in `sent`.
pub(crate) fn frame_lengths(mut sent: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let Some(header) = sent.first_chunk::<HEADER_SIZE>() {
        let length = FrameHeader::parse(*header).unwrap().frame_len();
        lengths.push(length);
        sent = &sent[length..];
    }
    assert!(sent.is_empty());
    lengths
}

/// Bytes that no frame size divides.
pub(crate) fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8 ^ seed).collect()
}

/// What the I/O object does at a poll.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Moves at most this many bytes.
    Move(usize),
    /// Nothing, and wakes the task.
    Pending,
    /// Nothing, and never wakes the task.
    Stuck,
    Fail(io::ErrorKind),
}

/// An I/O object in memory, and the handle through which a test looks at it and feeds it.
#[derive(Clone, Default)]
pub(crate) struct Wire(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// What the peer has sent and has not been read yet. When it is used up, reads are stuck.
    pub(crate) inbound: VecDeque<u8>,
    /// The peer sends no more: a read beyond the inbound bytes is the end.
    pub(crate) ended: bool,
    /// What was written.
    pub(crate) outbound: Vec<u8>,
    /// What the next reads do; when used up, they move all that they can.
    pub(crate) reads: VecDeque<Step>,
    /// What the next writes do; when used up, likewise.
    pub(crate) writes: VecDeque<Step>,
    /// What the next shutdowns do; when used up, likewise.
    pub(crate) shutdowns: VecDeque<Step>,
    pub(crate) write_calls: usize,
    pub(crate) read_calls: usize,
    pub(crate) flush_calls: usize,
    pub(crate) shutdown_calls: usize,
}

impl Wire {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn receive(&self, bytes: &[u8]) {
        self.state().inbound.extend(bytes);
    }

    pub(crate) fn receiving(bytes: &[u8]) -> Self {
        let wire = Self::default();
        wire.receive(bytes);
        wire
    }
}

fn step(steps: &mut VecDeque<Step>, cx: &Context<'_>) -> Poll<io::Result<usize>> {
    match steps.pop_front().unwrap_or(Step::Move(usize::MAX)) {
        Step::Move(most) => Poll::Ready(Ok(most)),
        Step::Pending => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Step::Stuck => Poll::Pending,
        Step::Fail(kind) => Poll::Ready(Err(kind.into())),
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.state();
        state.read_calls += 1;
        let most = std::task::ready!(step(&mut state.reads, cx))?;
        if state.inbound.is_empty() && !state.ended {
            return Poll::Pending;
        }
        let count = most.min(buf.remaining()).min(state.inbound.len());
        let bytes: Vec<u8> = state.inbound.drain(..count).collect();
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        state.write_calls += 1;
        let most = std::task::ready!(step(&mut state.writes, cx))?;
        let count = most.min(buf.len());
        state.outbound.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state().flush_calls += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        state.shutdown_calls += 1;
        step(&mut state.shutdowns, cx).map_ok(|_| ())
    }
}

/// Counts how often a task was woken.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (Arc::clone(&wakes), wakes.into())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Polls a read of at most `room` bytes once.
pub(crate) fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    room: usize,
) -> Poll<io::Result<Vec<u8>>> {
    let mut space = vec![0; room];
    let mut buf = ReadBuf::new(&mut space);
    std::task::ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().to_vec()))
}
