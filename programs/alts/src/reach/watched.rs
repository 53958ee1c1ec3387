//! A connection of whose received bytes the first and the last are remembered: they show what the
//! other end speaks, and how it ends.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many of the first received bytes are remembered.
const FIRST: usize = 128;
/// How many of the last ones: an alert of altsd.
const LAST: usize = 12;

/// A socket of any kind.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin> Socket for IO {}

/// A connection of whose received bytes the first and the last are remembered.
pub struct Watched {
    io: Box<dyn Socket>,
    first: Vec<u8>,
    last: VecDeque<u8>,
    received: u64,
    sent: Arc<AtomicU64>,
}

impl Watched {
    /// Watches a new connection.
    #[must_use]
    pub fn new(io: Box<dyn Socket>) -> Self {
        Self { io, first: Vec::new(), last: VecDeque::new(), received: 0, sent: Arc::default() }
    }

    /// The first bytes that were received, 128 at most.
    #[must_use]
    pub fn first(&self) -> &[u8] {
        &self.first
    }

    /// The last bytes that were received, 12 at most.
    #[must_use]
    pub fn last(&self) -> Vec<u8> {
        self.last.iter().copied().collect()
    }

    /// How many bytes were received.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// How many bytes were sent; it goes on counting.
    #[must_use]
    pub fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        let new = buffer.filled().get(before..).unwrap_or_default();
        self.received = self.received.saturating_add(new.len() as u64);
        let room = FIRST.saturating_sub(self.first.len());
        self.first.extend(new.iter().take(room));
        self.last.extend(new.iter().skip(new.len().saturating_sub(LAST)));
        let old = self.last.len().saturating_sub(LAST);
        self.last.drain(..old);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(context, bytes))?;
        self.sent.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
