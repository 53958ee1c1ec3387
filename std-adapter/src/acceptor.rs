//! The server's end: from an accepted I/O object to a stream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alts_core::{ServerHandshake, Side};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::config::{ServerConfig, strs};
use crate::error::HandshakeFailure;
use crate::handshake::{Around, stream};
use crate::observe::span;
use crate::service::HandshakerService;
use crate::stream::AltsStream;

/// Makes a server's end of ALTS connections.
///
/// Clones share the configuration, the handshaker service and the limit on concurrent handshakes.
#[derive(Clone)]
pub struct AltsAcceptor {
    shared: Arc<Shared>,
}

struct Shared {
    config: ServerConfig,
    service: Box<dyn HandshakerService>,
    slots: Semaphore,
}

impl AltsAcceptor {
    /// An acceptor with that configuration, whose handshakes `service` makes.
    #[must_use]
    pub fn new(config: ServerConfig, service: impl HandshakerService) -> Self {
        let slots = Semaphore::new(config.max_concurrent_handshakes().min(Semaphore::MAX_PERMITS));
        Self { shared: Arc::new(Shared { config, service: Box::new(service), slots }) }
    }

    /// What it asks of its handshakes.
    #[must_use]
    pub fn config(&self) -> &ServerConfig {
        &self.shared.config
    }

    /// Waits for a client's handshake on `io`, and makes it.
    ///
    /// A client that says nothing costs no more than this future, until the deadline: it counts
    /// among the handshakes under way only when its first bytes have arrived. The future may be
    /// dropped at any point; what it holds is freed with it.
    ///
    /// Accept further connections meanwhile: the handshakes of different connections are made in
    /// different tasks, as [`AltsIncoming`](crate::AltsIncoming) does.
    ///
    /// # Errors
    /// [`HandshakeFailure`], which has the I/O object, after the configured deadline at the
    /// latest.
    pub async fn accept<IO>(&self, io: IO) -> Result<AltsStream<IO>, HandshakeFailure<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Shared { config, service, slots } = &*self.shared;
        let identities = strs(config.local_identities());
        let protocols = strs(config.application_protocols());
        let asked = config.core(&identities, &protocols);
        let around = Around {
            side: Side::Server,
            target_name: "",
            service: &**service,
            slots,
            expected: &[],
            options: config.stream_options(),
        };
        let span = span(Side::Server, service.address(), "");
        let machine = ServerHandshake::server(&asked, Duration::ZERO).map(Box::new);
        stream(machine, io, around).instrument(span).await
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
