//! A connection in memory, without a kernel and for one thread: what one end writes, the other can
//! read.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Default)]
struct Direction {
    bytes: Vec<u8>,
    read: usize,
    reader: Option<Waker>,
    closed: bool,
}

/// Without locks: they would be a tenth of what a small message costs.
type Shared = Rc<RefCell<Direction>>;

fn close(shared: &Shared) {
    let mut direction = shared.borrow_mut();
    direction.closed = true;
    if let Some(reader) = direction.reader.take() {
        reader.wake();
    }
}

/// One end. It takes whatever is written at once: there is no back-pressure.
pub struct Pipe {
    from_peer: Shared,
    to_peer: Shared,
}

/// Both ends of a connection in memory.
#[must_use]
pub fn pipe() -> (Pipe, Pipe) {
    let (there, back) = (Shared::default(), Shared::default());
    let one = Pipe { from_peer: back.clone(), to_peer: there.clone() };
    (one, Pipe { from_peer: there, to_peer: back })
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut direction = self.from_peer.borrow_mut();
        let direction = &mut *direction;
        let waiting = direction.bytes.get(direction.read..).unwrap_or_default();
        if waiting.is_empty() && !direction.closed {
            direction.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let now = waiting.get(..buf.remaining()).unwrap_or(waiting);
        buf.put_slice(now);
        direction.read += now.len();
        if direction.read == direction.bytes.len() {
            direction.bytes.clear();
            direction.read = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut direction = self.to_peer.borrow_mut();
        direction.bytes.extend_from_slice(buf);
        if let Some(reader) = direction.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        close(&self.to_peer);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        close(&self.to_peer);
    }
}
