//! The client's end: from a connected I/O object to a stream.

use std::fmt;
use std::sync::Arc;

use alts_core::aead::Aead;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::ClientConfig;
#[cfg(feature = "http")]
use crate::handshake::Expected;
use crate::handshake::{Connect, Shared, Slots};
use crate::service::HandshakerService;

/// Makes a client's end of ALTS connections.
///
/// Clones share the configuration, the handshaker service and the limit on concurrent handshakes.
#[derive(Clone)]
pub struct AltsConnector {
    shared: Arc<Shared<ClientConfig>>,
}

impl AltsConnector {
    /// A connector with that configuration, whose handshakes `service` makes.
    #[must_use]
    pub fn new(config: ClientConfig, service: impl HandshakerService) -> Self {
        let slots = Slots::of_a_client(config.max_concurrent_handshakes());
        Self { shared: Arc::new(Shared { config, service: Box::new(service), slots }) }
    }

    /// What it asks of its handshakes.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// Makes a handshake over `io`, with the configuration's target name.
    ///
    /// The future owns what it needs: it can be spawned. It may be dropped at any point; what it
    /// holds is freed with it.
    ///
    /// # Errors
    /// [`HandshakeFailure`](crate::HandshakeFailure), which has the I/O object, after the configured
    /// deadline at the latest.
    pub fn connect<IO: AsyncRead + AsyncWrite + Unpin>(&self, io: IO) -> Connect<IO> {
        Connect::new(&self.shared, None, None, io)
    }

    /// Makes a handshake over `io` with the server that was looked for under `target_name`
    /// (`host:port`; may be empty).
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_to<IO>(&self, target_name: &str, io: IO) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        Connect::new(&self.shared, Some(target_name.into()), None, io)
    }

    /// As [`connect`](Self::connect), with a specific provider for the records.
    pub fn connect_with<A, IO>(&self, io: IO) -> Connect<IO, A>
    where
        A: Aead + Send + 'static,
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        Connect::new(&self.shared, None, None, io)
    }

    /// As [`connect_to`](Self::connect_to), for servers that may have these accounts instead of the
    /// configuration's.
    #[cfg(feature = "http")]
    pub(crate) fn connect_expecting<IO>(
        &self,
        target_name: &str,
        expected: Expected,
        io: IO,
    ) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        Connect::new(&self.shared, Some(target_name.into()), expected, io)
    }
}

impl fmt::Debug for AltsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AltsConnector")
            .field("config", &self.shared.config)
            .field("service", &self.shared.service.address())
            .finish_non_exhaustive()
    }
}
