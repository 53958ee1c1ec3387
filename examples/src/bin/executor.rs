//! ALTS in the manner of embassy: two tasks on one thread, a pipe between them, the traits of
//! `embedded-io-async`, and an executor that is nothing but a loop.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use alts_core::aead::RustCrypto;
use alts_core::embedded::{Buffers, Stream, handshake};
use alts_core::frame::FrameSize;
use alts_core::handshake::{
    ClientConfig, ExpectedPeer, Handshake, Offer, REQUEST_OVERHEAD, Role, ServerConfig,
};
use alts_core::{AltsContext, ClientHandshake, ServerHandshake, Session};
use alts_examples::InProcess;
use alts_handshaker::Handshaker;
use alts_handshaker::dev::Authority;
use embedded_io_async::{ErrorType, Read, Write};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Room for one frame. Some peers do not count the 4 bytes of its length field.
const FRAME: usize = 16 * 1024 + 4;
/// Bytes that a pipe holds at most.
const PIPE: usize = 512;
const LINE: &[u8] = b"23.5 degrees";

/// The buffers of one connection: with embassy, a static for each task.
struct Memory {
    read: Vec<u8>,
    write: Vec<u8>,
    request: Vec<u8>,
    response: Vec<u8>,
}

impl Memory {
    fn new() -> Self {
        let [read, write, response] = [(); 3].map(|()| vec![0; FRAME]);
        Self { read, write, request: vec![0; FRAME + REQUEST_OVERHEAD], response }
    }
}

fn main() -> Outcome<()> {
    let authority = Authority::new()?;
    let (sensor, station) =
        (authority.handshaker("sensor@dev.test")?, authority.handshaker("station@dev.test")?);
    let [mut near_memory, mut far_memory] = [(); 2].map(|()| Memory::new());
    let (there, back) = (Pipe::default(), Pipe::default());
    let (near, far) = (Wire { read: &back, write: &there }, Wire { read: &there, write: &back });
    let (sent, received) = block_on(join(
        report(near, &sensor, &mut near_memory),
        listen(far, &station, &mut far_memory),
    ));
    sent.and(received)
}

/// The sensor's task.
async fn report(wire: Wire<'_>, handshaker: &Handshaker, memory: &mut Memory) -> Outcome<()> {
    let offer = Offer::new().with_max_frame_size(FrameSize::MIN);
    let expected = ["station@dev.test"];
    let config = ClientConfig::new(ExpectedPeer::Accounts(&expected)).with_offer(offer);
    let machine = ClientHandshake::client(&config, Duration::ZERO)?;
    let (mut stream, context) = connect(machine, wire, handshaker, memory).await?;
    stream.write_all(LINE).await?;
    stream.flush().await?;
    println!("sensor: told {}", context.peer_service_account());
    Ok(())
}

/// The station's task.
async fn listen(wire: Wire<'_>, handshaker: &Handshaker, memory: &mut Memory) -> Outcome<()> {
    let offer = Offer::new().with_max_frame_size(FrameSize::MIN);
    let config = ServerConfig::new().with_offer(offer);
    let machine = ServerHandshake::server(&config, Duration::ZERO)?;
    let (mut stream, context) = connect(machine, wire, handshaker, memory).await?;
    let mut line = [0; LINE.len()];
    stream.read_exact(&mut line).await.map_err(|error| format!("{error:?}"))?;
    let text = String::from_utf8_lossy(&line);
    println!("station: {} says {text:?}", context.peer_service_account());
    if line == *LINE { Ok(()) } else { Err("something else arrived".into()) }
}

/// A handshake within its deadline, and the stream that it leads to.
async fn connect<'b, R: Role, IO: Read + Write>(
    machine: Handshake<R>,
    mut io: IO,
    handshaker: &Handshaker,
    memory: &'b mut Memory,
) -> Outcome<(Stream<'b, IO, RustCrypto>, AltsContext)>
where
    IO::Error: 'static,
{
    let mut service = InProcess::of(handshaker);
    let Memory { read, write, request, response } = memory;
    let buffers = Buffers { from_peer: read, request, response };
    let began = Instant::now();
    let deadline = machine.deadline();
    let done = handshake(machine, &mut io, &mut service, buffers, || began.elapsed());
    // With embassy, `select` with a `Timer`: the owner of the clock enforces the deadline.
    let (established, filled) =
        before(began + deadline, done).await.ok_or("no handshake in time")??;
    let (sealer, opener, context) = Session::<RustCrypto>::new(established)?.into_parts();
    Ok((Stream::new(io, sealer, opener, read, filled, write), context))
}

/// A pipe with a little room, which wakes the task that waits for bytes or for room.
#[derive(Default)]
struct Pipe {
    bytes: RefCell<VecDeque<u8>>,
    waiting: Cell<Option<Waker>>,
}

impl Pipe {
    /// Moves bytes, at least one; waits until that can be.
    async fn moving(&self, mut bytes: impl FnMut(&mut VecDeque<u8>) -> usize) -> usize {
        poll_fn(|cx| match bytes(&mut self.bytes.borrow_mut()) {
            0 => {
                self.waiting.set(Some(cx.waker().clone()));
                Poll::Pending
            }
            moved => {
                if let Some(other) = self.waiting.take() {
                    other.wake();
                }
                Poll::Ready(moved)
            }
        })
        .await
    }
}

/// One end of two pipes.
struct Wire<'p> {
    read: &'p Pipe,
    write: &'p Pipe,
}

impl ErrorType for Wire<'_> {
    type Error = Infallible;
}

impl Read for Wire<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        let from = |bytes: &mut VecDeque<u8>| std::io::Read::read(bytes, buf).unwrap_or_default();
        Ok(self.read.moving(from).await)
    }
}

impl Write for Wire<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        let into = |bytes: &mut VecDeque<u8>| {
            let room = PIPE.saturating_sub(bytes.len()).min(buf.len());
            bytes.extend(buf.iter().take(room));
            room
        };
        Ok(self.write.moving(into).await)
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The output of `future`, unless `deadline` comes first.
async fn before<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if Instant::now() >= deadline => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Both outputs.
async fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut left, mut right) = (None, None);
    poll_fn(|cx| {
        step(a.as_mut(), &mut left, cx);
        step(b.as_mut(), &mut right, cx);
        match (left.take(), right.take()) {
            (Some(left), Some(right)) => Poll::Ready((left, right)),
            outputs => {
                (left, right) = outputs;
                Poll::Pending
            }
        }
    })
    .await
}

fn step<F: Future>(future: Pin<&mut F>, output: &mut Option<F::Output>, cx: &mut Context<'_>) {
    if output.is_none()
        && let Poll::Ready(ready) = future.poll(cx)
    {
        *output = Some(ready);
    }
}

/// The executor: polls, and sleeps until somebody is woken or a deadline may have come.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Thunk(Thread);
    impl Wake for Thunk {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Thunk(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park_timeout(Duration::from_millis(50));
    }
}
