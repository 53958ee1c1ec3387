//! The server's end: from an accepted I/O object to a stream.

use std::fmt;
#[cfg(feature = "net")]
use std::net::IpAddr;
use std::sync::Arc;

use alts_core::aead::Aead;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::ServerConfig;
#[cfg(feature = "net")]
use crate::handshake::Crowd;
use crate::handshake::{Accept, Shared, Slots};
use crate::service::HandshakerService;

/// Makes a server's end of ALTS connections.
///
/// Clones share the configuration, the handshaker service and the limit on concurrent handshakes.
#[derive(Clone)]
pub struct AltsAcceptor {
    shared: Arc<Shared<ServerConfig>>,
}

impl AltsAcceptor {
    /// An acceptor with that configuration, whose handshakes `service` makes.
    #[must_use]
    pub fn new(config: ServerConfig, service: impl HandshakerService) -> Self {
        let slots = Slots::of_a_server(config.max_concurrent_handshakes());
        Self { shared: Arc::new(Shared { config, service: Box::new(service), slots }) }
    }

    /// What it asks of its handshakes.
    #[must_use]
    pub fn config(&self) -> &ServerConfig {
        &self.shared.config
    }

    /// Waits for a client's handshake on `io`, and makes it.
    ///
    /// ```
    /// # async fn serve(
    /// #     listener: tokio::net::TcpListener,
    /// #     acceptor: tokio_alts::AltsAcceptor,
    /// # ) -> std::io::Result<()> {
    /// loop {
    ///     let (io, _) = listener.accept().await?;
    ///     tokio::spawn(acceptor.accept(io));
    /// }
    /// # }
    /// ```
    ///
    /// A client that says nothing costs no more than this future, until the deadline: it counts
    /// among the handshakes under way only when its whole first frame has arrived. One that stops in the
    /// middle makes room for others when all places are taken: see
    /// [`max_concurrent_handshakes`](crate::config::ServerConfigBuilder::max_concurrent_handshakes).
    /// The future may be dropped at any point; what it holds is freed with it.
    ///
    /// Accept further connections meanwhile: the handshakes of different connections are made in
    /// different tasks, as [`AltsIncoming`](crate::AltsIncoming) does.
    ///
    /// # Errors
    /// [`HandshakeFailure`](crate::HandshakeFailure), which has the I/O object, after the configured
    /// deadline at the latest.
    pub fn accept<IO: AsyncRead + AsyncWrite + Unpin>(&self, io: IO) -> Accept<IO> {
        Accept::new(&self.shared, None, io)
    }

    /// As [`accept`](Self::accept), of a connection from that address, among others of which any makes
    /// room for another.
    #[cfg(feature = "net")]
    pub(crate) fn accept_among<IO>(
        &self,
        pending: Arc<Crowd>,
        from: Option<IpAddr>,
        io: IO,
    ) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        Accept::new(&self.shared, Some((pending, from)), io)
    }

    /// As [`accept`](Self::accept), with a specific provider for the records.
    pub fn accept_with<A, IO>(&self, io: IO) -> Accept<IO, A>
    where
        A: Aead + Send + 'static,
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        Accept::new(&self.shared, None, io)
    }
}

impl fmt::Debug for AltsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AltsAcceptor")
            .field("config", &self.shared.config)
            .field("service", &self.shared.service.address())
            .finish_non_exhaustive()
    }
}
