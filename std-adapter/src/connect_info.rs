//! What is known of a connection, for those who serve its requests.

use std::net::SocketAddr;
use std::sync::Arc;

use alts_core::AltsContext;
use alts_core::aead::Aead;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::stream::AltsStream;

/// What is known of a connection: what its handshake has proved, and its addresses. Cheap to
/// clone.
///
/// Servers put it into the extensions of each request.
#[derive(Clone, Debug)]
pub struct AltsConnectInfo {
    context: Arc<AltsContext>,
    remote_addr: Option<SocketAddr>,
    local_addr: Option<SocketAddr>,
}

impl AltsConnectInfo {
    /// What is known of `stream`.
    #[must_use]
    pub fn of<IO: Addresses, A: Aead>(stream: &AltsStream<IO, A>) -> Self {
        Self {
            context: Arc::clone(stream.context()),
            remote_addr: stream.get_ref().remote_addr(),
            local_addr: stream.get_ref().local_addr(),
        }
    }

    /// What the handshake has proved.
    #[must_use]
    pub const fn context(&self) -> &Arc<AltsContext> {
        &self.context
    }

    /// The peer's address, if the transport has one.
    #[must_use]
    pub const fn remote_addr(&self) -> Option<SocketAddr> {
        self.remote_addr
    }

    /// This side's address, if the transport has one.
    #[must_use]
    pub const fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }
}

/// An I/O object that may know the addresses of its two ends. Implement it for a transport of your
/// own; the defaults say that it knows none.
pub trait Addresses {
    /// The peer's address.
    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// This side's address.
    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }
}

impl Addresses for TcpStream {
    fn remote_addr(&self) -> Option<SocketAddr> {
        self.peer_addr().ok()
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        Self::local_addr(self).ok()
    }
}

#[cfg(unix)]
impl Addresses for UnixStream {}

impl Addresses for DuplexStream {}
