//! What is known of a connection, for the code that serves its requests.

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use alts_core::AltsContext;
use alts_core::aead::Aead;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::{UnixStream, unix::UCred};

use crate::age::system_time;
use crate::stream::AltsStream;

/// What is known of a connection: what its handshake has proved, and what its transport knows. Cheap
/// to clone.
///
/// Servers put it into the extensions of each request.
#[derive(Clone, Debug)]
pub struct AltsConnectInfo {
    context: Arc<AltsContext>,
    transport: TransportInfo,
}

impl AltsConnectInfo {
    /// What is known of `stream`.
    #[must_use]
    pub fn of<IO: Transport, A: Aead>(stream: &AltsStream<IO, A>) -> Self {
        Self { context: Arc::clone(stream.context()), transport: stream.get_ref().info() }
    }

    /// What the handshake has proved.
    #[must_use]
    pub const fn context(&self) -> &Arc<AltsContext> {
        &self.context
    }

    /// When the peer's certificate ends, if the handshaker service has said so.
    #[must_use]
    pub fn peer_certificate_end(&self) -> Option<SystemTime> {
        system_time(self.context.peer_certificate_end())
    }

    /// When this side's own certificate ends, if the handshaker service has said so.
    #[must_use]
    pub fn local_certificate_end(&self) -> Option<SystemTime> {
        system_time(self.context.local_certificate_end())
    }

    /// What the transport below knows of its two ends.
    #[must_use]
    pub const fn transport(&self) -> &TransportInfo {
        &self.transport
    }

    /// The peer's address, if the transport has one.
    #[must_use]
    pub const fn remote_addr(&self) -> Option<SocketAddr> {
        self.transport.remote_addr
    }

    /// This side's address, if the transport has one.
    #[must_use]
    pub const fn local_addr(&self) -> Option<SocketAddr> {
        self.transport.local_addr
    }
}

/// What a transport knows of its two ends.
#[derive(Clone, Default)]
pub struct TransportInfo {
    remote_addr: Option<SocketAddr>,
    local_addr: Option<SocketAddr>,
    #[cfg(unix)]
    peer_credentials: Option<UCred>,
    other: Option<Arc<dyn Any + Send + Sync>>,
}

impl TransportInfo {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with the peer's address.
    #[must_use]
    pub fn with_remote_addr(mut self, address: impl Into<Option<SocketAddr>>) -> Self {
        self.remote_addr = address.into();
        self
    }

    /// The same, with this side's address.
    #[must_use]
    pub fn with_local_addr(mut self, address: impl Into<Option<SocketAddr>>) -> Self {
        self.local_addr = address.into();
        self
    }

    /// The same, with the credentials of the process at the other end of a UNIX socket.
    #[cfg(unix)]
    #[must_use]
    pub fn with_peer_credentials(mut self, credentials: impl Into<Option<UCred>>) -> Self {
        self.peer_credentials = credentials.into();
        self
    }

    /// The same, with anything else that is known: [`get`](Self::get) finds it by its type.
    #[must_use]
    pub fn with<T: Send + Sync + 'static>(mut self, other: T) -> Self {
        self.other = Some(Arc::new(other));
        self
    }

    /// The peer's address.
    #[must_use]
    pub const fn remote_addr(&self) -> Option<SocketAddr> {
        self.remote_addr
    }

    /// This side's address.
    #[must_use]
    pub const fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// The credentials of the process at the other end of a UNIX socket, as the kernel reports them.
    #[cfg(unix)]
    #[must_use]
    pub const fn peer_credentials(&self) -> Option<UCred> {
        self.peer_credentials
    }

    /// What was added by [`with`](Self::with).
    #[must_use]
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.other.as_ref()?.downcast_ref()
    }
}

impl fmt::Debug for TransportInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("TransportInfo");
        fields.field("remote_addr", &self.remote_addr).field("local_addr", &self.local_addr);
        #[cfg(unix)]
        fields.field("peer_credentials", &self.peer_credentials);
        fields.finish_non_exhaustive()
    }
}

/// An I/O object that may know something of its two ends. Implement it for a transport of your own;
/// by default it knows nothing. For a transport type from another crate there is [`Described`].
pub trait Transport {
    /// What it knows now.
    fn info(&self) -> TransportInfo {
        TransportInfo::new()
    }
}

impl Transport for TcpStream {
    fn info(&self) -> TransportInfo {
        TransportInfo::new()
            .with_remote_addr(self.peer_addr().ok())
            .with_local_addr(self.local_addr().ok())
    }
}

#[cfg(unix)]
impl Transport for UnixStream {
    fn info(&self) -> TransportInfo {
        TransportInfo::new().with_peer_credentials(self.peer_cred().ok())
    }
}

impl Transport for DuplexStream {}

/// An I/O object of a type from another crate, and what is known of its two ends.
///
/// ```
/// # async fn example(somebodys: tokio::io::Empty, acceptor: tokio_alts::AltsAcceptor) {
/// use tokio_alts::{Described, TransportInfo};
///
/// let info = TransportInfo::new().with_remote_addr("192.0.2.1:443".parse().ok());
/// let accept = acceptor.accept(Described::new(somebodys, info));
/// # drop(accept);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Described<IO> {
    io: IO,
    info: TransportInfo,
}

impl<IO> Described<IO> {
    /// `io`, with what is known of its two ends.
    #[must_use]
    pub const fn new(io: IO, info: TransportInfo) -> Self {
        Self { io, info }
    }

    /// The I/O object.
    #[must_use]
    pub const fn get_ref(&self) -> &IO {
        &self.io
    }

    /// The I/O object.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut IO {
        &mut self.io
    }

    /// The I/O object, back.
    #[must_use]
    pub fn into_inner(self) -> IO {
        self.io
    }
}

impl<IO> Transport for Described<IO> {
    fn info(&self) -> TransportInfo {
        self.info.clone()
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Described<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Described<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
