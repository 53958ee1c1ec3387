//! The tokio stream: both ends of a connection over I/O objects with arbitrary poll results.
#![no_main]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use alts_core::Side;
use alts_core::aead::RustCrypto;
use alts_core::context::AltsContext;
use alts_core::frame::FrameSize;
use alts_core::key::{RecordKey, RecordProtocol};
use alts_core::msg::HandshakerResult;
use alts_core::record::{Opener, Sealer};
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio_alts::{AltsStream, StreamOptions};

/// What both buffers may own together: 256 KiB to write, and a frame of 1 MiB to read, with what a
/// growing vector takes more than it needs.
const MEMORY: usize = 3 << 20;

#[derive(Arbitrary, Debug)]
struct Scenario {
    hold: [bool; 2],
    frame_size: u32,
    protocol: u8,
    /// Bytes of the peer's first frames that the handshake has read already.
    leftover: u8,
    operations: Vec<(bool, Operation)>,
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Write(u16),
    WriteMuch,
    WriteVectored([u8; 3]),
    Flush,
    Shutdown,
    Read(u16),
    ReadMuch,
    Fill {
        consume: u16,
    },
    /// What the next polls of the I/O object return.
    Script(Vec<Answer>),
    /// The network changes what is on its way to this side.
    Flip {
        at: u16,
        with: u8,
    },
    Cut {
        at: u16,
        len: u8,
    },
    Insert {
        at: u16,
        bytes: [u8; 4],
    },
    Close,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Answer {
    Pending,
    AtMost(u8),
    Fail,
    /// No byte taken by a write; everything by a read.
    Zero,
}

/// One direction of the connection.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    closed: bool,
}

/// One end's I/O object.
struct Io {
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
    script: VecDeque<Answer>,
    /// Polls that returned `Pending`, and calls in all.
    pended: usize,
    polls: usize,
}

impl Io {
    /// How many bytes a poll may move, if it does not wait or fail.
    fn answer(&mut self) -> Poll<io::Result<Option<usize>>> {
        self.polls += 1;
        match self.script.pop_front() {
            None => Poll::Ready(Ok(None)),
            Some(Answer::AtMost(len)) => Poll::Ready(Ok(Some(usize::from(len).max(1)))),
            Some(Answer::Zero) => Poll::Ready(Ok(Some(0))),
            Some(Answer::Fail) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Some(Answer::Pending) => {
                self.pended += 1;
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = match self.answer() {
            Poll::Ready(Ok(most)) => most.filter(|&most| most > 0).unwrap_or(usize::MAX),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        };
        let (len, closed) = {
            let mut pipe = self.incoming.borrow_mut();
            let len = most.min(buf.remaining()).min(pipe.bytes.len());
            let bytes: Vec<u8> = pipe.bytes.drain(..len).collect();
            buf.put_slice(&bytes);
            (len, pipe.closed)
        };
        if len > 0 || closed || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.pended += 1;
        Poll::Pending
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let most = match self.answer() {
            Poll::Ready(Ok(most)) => most.unwrap_or(usize::MAX),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        };
        let len = most.min(buf.len());
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        outgoing.bytes.extend(&buf[..len]);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.answer().map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let answer = self.answer().map_ok(|_| ());
        if let Poll::Ready(Ok(())) = answer {
            self.outgoing.borrow_mut().closed = true;
        }
        answer
    }
}

/// Counts wake-ups.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// One end, and what is known of it.
struct End {
    stream: AltsStream<Io, RustCrypto>,
    /// Bytes that its writes have accepted, and bytes that its reads have returned.
    written: Vec<u8>,
    read: Vec<u8>,
    /// How many of the latter were compared.
    checked: usize,
    write_error: Option<io::ErrorKind>,
    read_error: Option<io::ErrorKind>,
    /// A read has returned the end.
    ended: bool,
    shut_down: bool,
    /// The network has changed what comes in.
    tampered: bool,
    cut: bool,
}

fuzz_target!(|scenario: Scenario| {
    let protocol = RecordProtocol::ALL[usize::from(scenario.protocol) % 3];
    let key = RecordKey::new(protocol, &[5; 44]).unwrap();
    let result = HandshakerResult { application_protocol: "grpc", ..Default::default() };
    let context = Arc::new(AltsContext::from_result(&result, protocol).unwrap());
    let pipes = [Rc::new(RefCell::new(Pipe::default())), Rc::new(RefCell::new(Pipe::default()))];
    let mut ends = [Side::Client, Side::Server].map(|side| {
        let (own, peer) = if side == Side::Client { (0, 1) } else { (1, 0) };
        let mut sealer = Sealer::new(side, &key, FrameSize::new(scenario.frame_size)).unwrap();
        let opener = Opener::new(side, &key).unwrap();
        let (mut leftover, mut written) = (Vec::new(), Vec::new());
        // Both sides start with the same bytes of the peer's first frame behind their handshake.
        if scenario.leftover > 0 {
            let payload = vec![9; scenario.leftover.into()];
            let mut sealed = vec![0; 400];
            let mut peers = Sealer::<RustCrypto>::new(side.peer(), &key, FrameSize::MIN).unwrap();
            let len = peers.seal(&payload, &mut sealed).unwrap().written;
            let (ours, wire) = sealed[..len].split_at(len / 2);
            leftover.extend(ours);
            pipes[peer].borrow_mut().bytes.extend(wire);
            // And have written theirs.
            let _ = sealer.seal(&payload, &mut sealed).unwrap();
            written = payload;
        }
        let io = Io {
            incoming: pipes[peer].clone(),
            outgoing: pipes[own].clone(),
            script: VecDeque::new(),
            pended: 0,
            polls: 0,
        };
        let options = StreamOptions::new().hold_until_flush(scenario.hold[own]);
        End {
            stream: AltsStream::new(io, sealer, opener, context.clone(), &leftover, options),
            written,
            read: Vec::new(),
            checked: 0,
            write_error: None,
            read_error: None,
            ended: false,
            shut_down: false,
            tampered: false,
            cut: false,
        }
    });
    for (server, operation) in &scenario.operations {
        let end = &mut ends[usize::from(*server)];
        end.step(operation);
        assert!(end.stream.buffer_capacity() <= MEMORY);
        check(&mut ends);
    }
    settle(&mut ends);
});

/// Neither side has read what the other has not written.
fn check(ends: &mut [End; 2]) {
    for at in 0..2 {
        let (end, peer) = (&ends[at], &ends[1 - at]);
        let new = end.checked..end.read.len();
        assert_eq!(peer.written.get(new.clone()), end.read.get(new), "a wrong byte");
        ends[at].checked = ends[at].read.len();
    }
}

/// Without more faults everything that was written arrives, or an error is reported.
fn settle(ends: &mut [End; 2]) {
    for end in ends.iter_mut() {
        end.stream.get_mut().script.clear();
        let _ = end.poll(true, |stream, cx| stream.poll_flush(cx));
    }
    for end in ends.iter_mut() {
        while end.read_error.is_none() && !end.ended && end.read(100_000) {}
    }
    check(ends);
    for (end, peer) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
        let whole = end.read.len() == peer.written.len();
        let excused = end.tampered || end.read_error.is_some() || peer.write_error.is_some();
        assert!(whole || excused || (end.cut && end.ended), "bytes are missing without an error");
        if !end.tampered {
            assert_ne!(end.read_error, Some(io::ErrorKind::InvalidData));
        }
        if end.ended {
            assert!(end.cut || end.tampered || peer.shut_down, "an end that nobody made");
        }
    }
}

impl End {
    /// Polls once; checks that what waits will be woken, and that errors stay.
    fn poll<T>(
        &mut self,
        writing: bool,
        poll: impl FnOnce(Pin<&mut AltsStream<Io, RustCrypto>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let io = self.stream.get_mut();
        let pended = io.pended;
        io.polls = 0;
        let answer = poll(Pin::new(&mut self.stream), &mut Context::from_waker(&waker));
        let io = self.stream.get_ref();
        assert!(io.polls < 10_000, "one poll does not end");
        let broken = if writing { &mut self.write_error } else { &mut self.read_error };
        match &answer {
            Poll::Pending => {
                let woken = wakes.0.load(Ordering::Relaxed) > 0;
                assert!(woken || io.pended > pended, "it waits for nothing");
                assert!(broken.is_none());
            }
            Poll::Ready(Err(error)) => {
                assert_eq!(*broken.get_or_insert(error.kind()), error.kind())
            }
            Poll::Ready(Ok(_)) => assert!(broken.is_none(), "an error was forgotten"),
        }
        // An impossible record ends both directions, whatever had ended the other before.
        if let Some(io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) = self.read_error {
            self.write_error = self.read_error;
        }
        answer
    }

    fn payload(&self, len: usize) -> Vec<u8> {
        (0..len).map(|i| (i + self.written.len()) as u8 ^ (i >> 8) as u8).collect()
    }

    fn write(&mut self, len: usize) {
        let payload = self.payload(len);
        let answer = self.poll(true, |stream, cx| stream.poll_write(cx, &payload));
        if let Poll::Ready(Ok(taken)) = answer {
            assert!(taken <= len && (taken > 0 || len == 0));
            self.written.extend(&payload[..taken]);
        }
    }

    /// Whether something came, so that more may.
    fn read(&mut self, room: usize) -> bool {
        let mut room = vec![0; room];
        let mut buf = ReadBuf::new(&mut room);
        let answer = self.poll(false, |stream, cx| stream.poll_read(cx, &mut buf));
        let filled = buf.filled().to_vec();
        if !matches!(answer, Poll::Ready(Ok(()))) {
            assert!(filled.is_empty());
            return false;
        }
        if filled.is_empty() && !room.is_empty() {
            self.ended = true;
        }
        assert!(!self.ended || filled.is_empty(), "bytes behind the end");
        self.read.extend(&filled);
        !filled.is_empty()
    }

    fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Write(len) => self.write(len.into()),
            Operation::WriteMuch if self.written.len() < 1 << 20 => self.write(300_000),
            Operation::WriteMuch => {}
            Operation::WriteVectored(lens) => {
                let lens = lens.map(usize::from);
                let payload = self.payload(lens.iter().sum());
                let (first, rest) = payload.split_at(lens[0]);
                let (second, third) = rest.split_at(lens[1]);
                let slices = [first, second, third].map(IoSlice::new);
                let answer = self.poll(true, |stream, cx| stream.poll_write_vectored(cx, &slices));
                if let Poll::Ready(Ok(taken)) = answer {
                    assert!(taken <= payload.len() && (taken > 0 || payload.is_empty()));
                    self.written.extend(&payload[..taken]);
                }
            }
            Operation::Flush => {
                let _ = self.poll(true, |stream, cx| stream.poll_flush(cx));
            }
            Operation::Shutdown => {
                // Not required to have failed for good: a broken stream shuts its I/O object down all
                // the same, and that may work.
                let stream = Pin::new(&mut self.stream);
                let answer = stream.poll_shutdown(&mut Context::from_waker(Waker::noop()));
                self.shut_down |= matches!(answer, Poll::Ready(Ok(())));
            }
            Operation::Read(room) => {
                self.read(room.into());
            }
            Operation::ReadMuch => {
                self.read(100_000);
            }
            Operation::Fill { consume } => {
                let mut taken = None;
                let answer = self.poll(false, |mut stream, cx| {
                    let filled = match stream.as_mut().poll_fill_buf(cx) {
                        Poll::Ready(Ok(filled)) => filled.to_vec(),
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => return Poll::Pending,
                    };
                    let len = usize::from(consume).min(filled.len());
                    stream.consume(len);
                    taken = Some((filled.is_empty(), filled[..len].to_vec()));
                    Poll::Ready(Ok(()))
                });
                if let (Poll::Ready(Ok(())), Some((end, bytes))) = (answer, taken) {
                    assert!(!self.ended || end, "bytes behind the end");
                    self.ended |= end;
                    self.read.extend(bytes);
                }
            }
            Operation::Script(ref answers) => self.stream.get_mut().script.extend(answers),
            Operation::Flip { at, with } => self.tamper(|bytes| {
                let len = bytes.len();
                bytes[usize::from(at) % len] ^= with;
            }),
            Operation::Cut { at, len } => self.tamper(|bytes| {
                let start = usize::from(at) % bytes.len();
                let end = (start + usize::from(len)).min(bytes.len());
                bytes.drain(start..end);
            }),
            Operation::Insert { at, bytes: new } => self.tamper(|bytes| {
                let at = usize::from(at) % bytes.len();
                new.iter().for_each(|&byte| bytes.insert(at, byte));
            }),
            Operation::Close => {
                self.cut = true;
                self.stream.get_ref().incoming.borrow_mut().closed = true;
            }
        }
    }

    fn tamper(&mut self, change: impl FnOnce(&mut VecDeque<u8>)) {
        let mut pipe = self.stream.get_ref().incoming.borrow_mut();
        if !pipe.bytes.is_empty() {
            change(&mut pipe.bytes);
            drop(pipe);
            self.tampered = true;
        }
    }
}
