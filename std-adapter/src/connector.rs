//! The client's end: from a connected I/O object to a stream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alts_core::{ClientHandshake, Side};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::config::{ClientConfig, strs};
use crate::error::HandshakeFailure;
use crate::handshake::{Around, stream};
use crate::observe::span;
use crate::service::HandshakerService;
use crate::stream::AltsStream;

/// Makes a client's end of ALTS connections.
///
/// Clones share the configuration, the handshaker service and the limit on concurrent handshakes.
#[derive(Clone)]
pub struct AltsConnector {
    shared: Arc<Shared>,
}

struct Shared {
    config: ClientConfig,
    service: Box<dyn HandshakerService>,
    slots: Semaphore,
}

impl AltsConnector {
    /// A connector with that configuration, whose handshakes `service` makes.
    #[must_use]
    pub fn new(config: ClientConfig, service: impl HandshakerService) -> Self {
        let slots = Semaphore::new(config.max_concurrent_handshakes().min(Semaphore::MAX_PERMITS));
        Self { shared: Arc::new(Shared { config, service: Box::new(service), slots }) }
    }

    /// What it asks of its handshakes.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// Makes a handshake over `io`, with the configuration's target name.
    ///
    /// The future may be dropped at any point; what it holds is freed with it.
    ///
    /// # Errors
    /// [`HandshakeFailure`], which has the I/O object, after the configured deadline at the
    /// latest.
    pub async fn connect<IO>(&self, io: IO) -> Result<AltsStream<IO>, HandshakeFailure<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.connect_to(self.shared.config.target_name(), io).await
    }

    /// Makes a handshake over `io` with the server that was looked for under `target_name`
    /// (`host:port`; may be empty).
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_to<IO>(
        &self,
        target_name: &str,
        io: IO,
    ) -> Result<AltsStream<IO>, HandshakeFailure<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Shared { config, service, slots } = &*self.shared;
        let expected = strs(config.expected_service_accounts());
        let protocols = strs(config.application_protocols());
        let asked = config.core(target_name, &expected, &protocols);
        let around = Around {
            side: Side::Client,
            target_name,
            service: &**service,
            slots,
            expected: config.expected_service_accounts(),
            options: config.stream_options(),
        };
        let span = span(Side::Client, service.address(), target_name);
        let machine = ClientHandshake::client(&asked, Duration::ZERO).map(Box::new);
        stream(machine, io, around).instrument(span).await
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
