//! Blocking calls as futures that are ready at once.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embedded_io::{ErrorType, Read, Write};

/// A blocking transport or service, under the async traits: its futures are ready when they are
/// first polled.
#[derive(Debug)]
pub(super) struct Waits<T>(pub(super) T);

impl<IO: ErrorType> ErrorType for Waits<IO> {
    type Error = IO::Error;
}

impl<IO: Read> embedded_io_async::Read for Waits<IO> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        self.0.read(buf)
    }
}

impl<IO: Write> embedded_io_async::Write for Waits<IO> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        self.0.write(buf)
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        self.0.flush()
    }
}

/// The output of a future that only [`Waits`] is in, and so never pending.
pub(super) fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
