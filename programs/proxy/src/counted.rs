//! A connection whose bytes are counted.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::relay::Traffic;
use crate::socket::Stream;

/// A connection that can tell that its other end has gone, without reading from it.
pub trait Watchful {
    /// Looks at it. An end that has only said all that it has to say is still there.
    ///
    /// # Errors
    /// When the other end can take nothing any more.
    fn look(&self) -> io::Result<()>;
}

impl Watchful for Stream {
    fn look(&self) -> io::Result<()> {
        self.socket().look()
    }
}

impl Watchful for TokioIo<Upgraded> {
    fn look(&self) -> io::Result<()> {
        // Whoever has it reads from it all the time.
        Ok(())
    }
}

/// A client's connection whose bytes are counted.
#[derive(Debug)]
pub struct Counted<S> {
    stream: S,
    traffic: Arc<Traffic>,
}

impl<S> Counted<S> {
    /// Counts what is read as received, and what is written as sent.
    pub const fn new(stream: S, traffic: Arc<Traffic>) -> Self {
        Self { stream, traffic }
    }

    fn sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = written {
            self.traffic.sent.fetch_add(count as u64, Ordering::Relaxed);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let count = buf.filled().len().saturating_sub(before) as u64;
        self.traffic.received.fetch_add(count, Ordering::Relaxed);
        if matches!(read, Poll::Ready(Err(_))) || (read.is_ready() && count == 0) {
            self.traffic.has_ended.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Watchful + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.traffic.takes_doubt() {
            self.stream.look()?;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
