//! A connection in memory, in virtual time, with an attacker on it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::random::{Fault, Meddler, Random};

/// Bytes under way in each direction: a writer waits for room.
const WINDOW: usize = 64 * 1024;

/// Both directions; 0 goes to the server, 1 to the client.
type Shared = Arc<Mutex<Wires>>;

struct Wires {
    directions: [Direction; 2],
    random: Random,
}

struct Direction {
    meddler: Meddler,
    segments: VecDeque<(Instant, Vec<u8>)>,
    under_way: usize,
    /// The longest delay of a segment, in milliseconds, and its length.
    delay: usize,
    split: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The reading end is gone.
    unread: bool,
}

/// One end of the connection.
pub(crate) struct End {
    wires: Shared,
    /// The direction that this end writes.
    writes: usize,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// A connection: the client's end, the server's end, and what happened to what each of them reads.
pub(crate) fn connection(
    mut random: Random,
    faults: [Fault; 2],
    most: usize,
) -> (End, End, impl Fn() -> [Fault; 2]) {
    let directions = faults.map(|fault| Direction {
        meddler: Meddler::new(fault, random.length(most)),
        segments: VecDeque::new(),
        under_way: 0,
        delay: random.pick(&[1, 10, 500]),
        split: random.pick(&[1 << 20, 1500, 100]),
        reader: None,
        writer: None,
        unread: false,
    });
    let wires = Arc::new(Mutex::new(Wires { directions, random }));
    let end = |writes| End { wires: wires.clone(), writes, sleep: None };
    let (client, server) = (end(0), end(1));
    let happened = move || {
        let wires = wires.lock().unwrap();
        [1, 0].map(|direction: usize| wires.directions[direction].meddler.happened())
    };
    (client, server, happened)
}

impl Direction {
    fn push(&mut self, segment: Vec<u8>, random: &mut Random) {
        if segment.is_empty() {
            return;
        }
        let delay = Duration::from_millis(random.within(0..self.delay) as u64);
        let at = (Instant::now() + delay).max(self.segments.back().map_or(Instant::now(), |s| s.0));
        self.under_way += segment.len();
        self.segments.push_back((at, segment));
        self.wake_reader();
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }
}

impl End {
    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let wires = &mut *self.wires();
        let direction = &mut wires.directions[self.writes];
        if let Some(held) = direction.meddler.end() {
            direction.push(held, &mut wires.random);
        }
        direction.wake_reader();
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.end();
        let wires = &mut *self.wires();
        let other = &mut wires.directions[1 - self.writes];
        other.unread = true;
        if let Some(waker) = other.writer.take() {
            waker.wake();
        }
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shared = this.wires.clone();
        let wires = &mut *shared.lock().unwrap();
        let direction = &mut wires.directions[1 - this.writes];
        if wires.random.once_in(8) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut read = false;
        while let Some((at, segment)) = direction.segments.front_mut() {
            if *at > Instant::now() || buf.remaining() == 0 {
                break;
            }
            let len = wires.random.within(1..segment.len() + 1).min(buf.remaining());
            let taken =
                if wires.random.once_in(2) { segment.len().min(buf.remaining()) } else { len };
            buf.put_slice(&segment[..taken]);
            segment.drain(..taken);
            direction.under_way -= taken;
            read = true;
            if segment.is_empty() {
                direction.segments.pop_front();
            }
            // Sometimes what arrived in pieces is read at once.
            if wires.random.once_in(2) {
                break;
            }
        }
        if read {
            if let Some(waker) = direction.writer.take() {
                waker.wake();
            }
            return Poll::Ready(Ok(()));
        }
        direction.reader = Some(cx.waker().clone());
        if let Some((at, _)) = direction.segments.front() {
            let mut sleep = Box::pin(sleep_until(*at));
            if sleep.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
            this.sleep = Some(sleep);
            return Poll::Pending;
        }
        if direction.meddler.ended && !direction.meddler.silent {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wires = &mut *self.wires();
        let [to_server, to_client] = &mut wires.directions;
        let (onward, backward) =
            if self.writes == 0 { (to_server, to_client) } else { (to_client, to_server) };
        if onward.unread {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if wires.random.once_in(8) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if onward.under_way >= WINDOW {
            onward.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let len = buf.len().min(onward.split);
        let len =
            if wires.random.once_in(2) { len } else { wires.random.within(0..len + 1).max(1) };
        let len = len.min(buf.len());
        let (on, back) = onward.meddler.pass(buf[..len].to_vec(), &mut wires.random);
        for segment in on {
            onward.push(segment, &mut wires.random);
        }
        if let Some(segment) = back {
            backward.push(segment, &mut wires.random);
        }
        onward.wake_reader();
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}
