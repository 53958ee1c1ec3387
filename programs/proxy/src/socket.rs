//! The connections of the proxy, plain or ALTS, over TCP or a UNIX socket.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use alts_serving::descriptors::of_lookup;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_alts::{AltsContext, AltsStream, Transport, TransportInfo};

use super::address::Address;

/// The first read of a plain connection, in bytes; it follows what the peer sends.
const SMALL_READ: usize = 16 * 1024;

/// After how long without a byte a TCP peer is asked whether it is there, how long it has for an
/// answer, and how often it is asked.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_RETRIES: u32 = 3;

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP, without delays for small writes.
    Tcp(TcpStream),
    /// UNIX.
    Unix(UnixStream),
}

impl Socket {
    /// Connects.
    ///
    /// # Errors
    /// Those of the system, and of the look-up of a name.
    pub async fn connect(address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Tcp(address) => {
                let found = lookup_host(address.as_str()).await.map_err(of_lookup)?;
                let stream = TcpStream::connect(&*found.collect::<Vec<_>>()).await?;
                Self::tcp(stream)
            }
            Address::Unix(path) => Self::Unix(UnixStream::connect(path).await?),
        })
    }

    /// A connected TCP socket, whose other end is asked whether it is still there.
    #[must_use]
    pub fn tcp(stream: TcpStream) -> Self {
        // A peer that is gone already is noticed later.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(KEEP_ALIVE)
                .with_interval(KEEP_ALIVE_INTERVAL)
                .with_retries(KEEP_ALIVE_RETRIES),
        );
        Self::Tcp(stream)
    }

    /// The peer's address, over TCP.
    #[must_use]
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.info().remote_addr()
    }

    /// This side's address, over TCP.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.info().local_addr()
    }

    /// Looks whether the peer is there, without reading.
    ///
    /// # Errors
    /// When the connection was reset, or the peer answers no more, or, over a UNIX socket, has
    /// closed it. A TCP peer that has closed it looks like one that has shut down its writing side.
    pub fn look(&self) -> io::Result<()> {
        let descriptor = match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        };
        // Without asking for anything, the system only says what has gone wrong.
        let mut asked = [PollFd::new(descriptor, PollFlags::empty())];
        poll(&mut asked, PollTimeout::ZERO)?;
        let [asked] = &asked;
        if asked.any() != Some(true) {
            return Ok(());
        }
        let why = match self {
            Self::Tcp(stream) => stream.take_error()?,
            Self::Unix(stream) => stream.take_error()?,
        };
        Err(why.unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into()))
    }

    /// Makes the peer see that the connection was broken off, not ended, where the transport
    /// distinguishes the two.
    fn break_off(&self) {
        if let Self::Tcp(stream) = self {
            // Without it the end looks regular, which a peer cannot be protected from in general.
            let _ = stream.set_zero_linger();
        }
    }
}

impl Transport for Socket {
    fn info(&self) -> TransportInfo {
        match self {
            Self::Tcp(stream) => stream.info(),
            Self::Unix(stream) => stream.info(),
        }
    }
}

/// Calls a method of whatever is inside.
macro_rules! inside {
    ($this:expr, $kind:ident, $io:ident => $call:expr) => {
        match $this.get_mut() {
            $kind::Tcp($io) => $call,
            $kind::Unix($io) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        inside!(self, Self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        inside!(self, Self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inside!(self, Self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self, Self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self, Self, io => Pin::new(io).poll_shutdown(cx))
    }
}

/// A plain connection that can be read through a buffer of its own, which is there only while
/// something is in it.
#[derive(Debug)]
pub struct Plain {
    socket: Socket,
    buffer: Vec<u8>,
    /// What of the buffer was taken.
    taken: usize,
    read_size: usize,
    largest: usize,
}

impl Plain {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.taken < self.buffer.len() {
            return Poll::Ready(Ok(()));
        }
        self.buffer.clear();
        self.taken = 0;
        // Memory is for connections on which something arrives.
        let readable = match &self.socket {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
        };
        let read = match readable {
            Poll::Ready(Ok(())) => {
                self.buffer.reserve_exact(self.read_size);
                pin!(self.socket.read_buf(&mut self.buffer)).poll(cx)
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        if read.is_pending() {
            self.buffer = Vec::new();
        }
        let read = ready!(read)?;
        if read >= self.read_size {
            self.read_size = self.read_size.saturating_mul(2).min(self.largest);
        } else if read < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(SMALL_READ.min(self.largest));
            // The next one shall not keep what this one did not need.
            self.buffer.shrink_to(self.read_size);
        }
        Poll::Ready(Ok(()))
    }
}

/// A connection of the proxy.
pub enum Stream {
    /// Without ALTS.
    Plain(Plain),
    /// With ALTS.
    Alts(Box<AltsStream<Socket>>),
}

impl Stream {
    /// A plain connection, whose buffer has at most `largest` bytes.
    #[must_use]
    pub const fn plain(socket: Socket, largest: usize) -> Self {
        let read_size = if largest < SMALL_READ { largest } else { SMALL_READ };
        Self::Plain(Plain { socket, buffer: Vec::new(), taken: 0, read_size, largest })
    }

    /// What the handshake has proved, on a connection that had one.
    #[must_use]
    pub fn context(&self) -> Option<&Arc<AltsContext>> {
        match self {
            Self::Plain(_) => None,
            Self::Alts(stream) => Some(stream.context()),
        }
    }

    /// The socket.
    #[must_use]
    pub const fn socket(&self) -> &Socket {
        match self {
            Self::Plain(plain) => &plain.socket,
            Self::Alts(stream) => stream.get_ref(),
        }
    }

    /// Makes the peer see that the connection was broken off, where the transport
    /// distinguishes that from an end.
    pub fn break_off(&self) {
        self.socket().break_off();
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // What the buffer still has comes first.
            Self::Plain(plain) if plain.taken < plain.buffer.len() => {
                let rest = plain.buffer.get(plain.taken..).unwrap_or_default();
                let count = rest.len().min(buf.remaining());
                buf.put_slice(rest.get(..count).unwrap_or_default());
                plain.taken = plain.taken.saturating_add(count);
                Poll::Ready(Ok(()))
            }
            Self::Plain(plain) => Pin::new(&mut plain.socket).poll_read(cx, buf),
            Self::Alts(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncBufRead for Stream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        match self.get_mut() {
            Self::Plain(plain) => {
                ready!(plain.poll_fill(cx))?;
                Poll::Ready(Ok(plain.buffer.get(plain.taken..).unwrap_or_default()))
            }
            Self::Alts(stream) => Pin::new(stream.as_mut()).poll_fill_buf(cx),
        }
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        match self.get_mut() {
            Self::Plain(plain) => plain.taken = plain.taken.saturating_add(amount),
            Self::Alts(stream) => Pin::new(stream).consume(amount),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(&mut plain.socket).poll_write(cx, buf),
            Self::Alts(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(&mut plain.socket).poll_write_vectored(cx, bufs),
            Self::Alts(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(&mut plain.socket).poll_flush(cx),
            Self::Alts(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(&mut plain.socket).poll_shutdown(cx),
            Self::Alts(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The longest time that the clock can be asked for without harm: some 30 years.
pub const FOREVER: Duration = Duration::from_secs(1_000_000_000);
