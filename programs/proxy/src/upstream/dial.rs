//! Connects to the first of an upstream's addresses that gives a connection.

use std::sync::Arc;
use std::{fmt, io};

use alts_serving::settings_error::SettingsError;
use alts_serving::throttle::Throttle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_alts::{AltsConnector, ClientConfig, HandshakerService};

use super::error::ConnectError;
use super::health::AddressHealth;
use crate::address::Address;
use crate::config::{self, Alts, Limits, Peers, Security};
use crate::metrics::{Attempt, Metrics, UpstreamMetrics};
use crate::socket::{FOREVER, Socket, Stream};

/// Connects to one upstream.
pub struct Dial {
    settings: config::Upstream,
    limits: Limits,
    connector: Option<AltsConnector>,
    health: Vec<AddressHealth>,
    metrics: UpstreamMetrics,
    throttle: Throttle,
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Dial {
    /// Connects to one upstream, whose handshakes `service` makes if they are wanted. Nothing connects yet.
    ///
    /// # Errors
    /// When its settings can never lead to a handshake.
    pub fn new(
        settings: config::Upstream,
        service: Option<Arc<dyn HandshakerService>>,
        limits: Limits,
        metrics: &Metrics,
    ) -> Result<Self, SettingsError> {
        let connector = match (&settings.security, service) {
            (Security::Alts(alts), Some(service)) => {
                let config = client_config(alts, limits.handshakes)
                    .map_err(|why| SettingsError::new(&settings.place, why.to_string()))?;
                Some(AltsConnector::new(config, service))
            }
            _ => None,
        };
        let health = settings.addresses.iter().map(|_| AddressHealth::default()).collect();
        let metrics = metrics.upstream(&settings.name);
        let throttle = Throttle::default();
        Ok(Self { settings, limits, connector, health, metrics, throttle })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Its configuration.
    #[must_use]
    pub const fn settings(&self) -> &config::Upstream {
        &self.settings
    }

    /// The limits that it keeps.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether some address is in order: as the checks have found it, or, where there are none, as
    /// the last connections have, after which one never knows for long.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let checked = self.settings.health_interval.is_some();
        self.health.iter().any(|one| one.is_good() || (!checked && one.may_be_good()))
    }

    /// A connection, within the deadline, to the first address that gives one: those that are in
    /// order first, as they were written; then those that are not.
    ///
    /// # Errors
    /// What went wrong last.
    pub async fn connect(&self) -> Result<(Stream, &Address), ConnectError> {
        let deadline = Instant::now() + self.settings.connect_deadline.min(FOREVER);
        let candidates = self.settings.addresses.iter().zip(&self.health);
        let (good, bad): (Vec<_>, Vec<_>) =
            candidates.partition(|(_, health)| health.is_worth_a_try());
        let order: Vec<_> = good.into_iter().chain(bad).collect();
        let mut last = ConnectError::NoTime;
        for (index, (address, health)) in order.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // One that says nothing leaves time for the others.
            let others = u32::try_from(order.len().saturating_sub(index)).unwrap_or(u32::MAX);
            let until = Instant::now() + left / others.max(1);
            let attempt = timeout_at(until, self.open(address)).await;
            let outcome =
                attempt.unwrap_or_else(|_| Err(ConnectError::Io(io::ErrorKind::TimedOut.into())));
            match outcome {
                Ok(stream) => {
                    self.good(address, health);
                    return Ok((stream, *address));
                }
                Err(error) => {
                    self.metrics.attempted(error.attempt());
                    if error.is_of_address() {
                        self.bad(address, health, &error);
                        last = error;
                    } else {
                        // It would be the same with any other address.
                        if self.throttle.may_speak() {
                            tracing::warn!(upstream = self.name(), %address, %error, "cannot connect");
                        }
                        return Err(error);
                    }
                }
            }
        }
        Err(last)
    }

    /// Tries each address once.
    pub async fn check(&self) {
        let limit = self.settings.connect_deadline.min(FOREVER);
        for (address, health) in self.settings.addresses.iter().zip(&self.health) {
            let attempt = timeout(limit, self.open(address)).await;
            match attempt.unwrap_or(Err(ConnectError::NoTime)) {
                Ok(_) => self.good(address, health),
                Err(error) if error.is_of_address() => self.bad(address, health, &error),
                Err(_) => {}
            }
        }
    }

    async fn open(&self, address: &Address) -> Result<Stream, ConnectError> {
        let socket = Socket::connect(address).await.map_err(ConnectError::Io)?;
        match &self.connector {
            None => Ok(Stream::plain(socket, self.limits.buffer_bytes)),
            Some(connector) => {
                let target = match address {
                    Address::Tcp(text) => text.as_str(),
                    Address::Unix(_) => "",
                };
                let stream = connector.connect_to(target, socket).await;
                Ok(Stream::Alts(Box::new(
                    stream.map_err(|failure| ConnectError::Handshake(failure.into_error()))?,
                )))
            }
        }
    }

    fn good(&self, address: &Address, health: &AddressHealth) {
        self.metrics.attempted(Attempt::Success);
        if health.good() {
            tracing::info!(upstream = self.name(), %address, "the address is in order again");
            self.show_health();
        }
    }

    fn bad(&self, address: &Address, health: &AddressHealth, error: &ConnectError) {
        let (is_news, pause) = health.bad();
        if is_news {
            tracing::warn!(
                upstream = self.name(),
                %address,
                %error,
                pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "cannot connect: others are tried first for a while"
            );
            self.show_health();
        }
    }

    fn show_health(&self) {
        self.metrics.aside(self.health.iter().filter(|health| !health.is_good()).count());
    }
}

fn client_config(alts: &Alts, handshakes: usize) -> Result<ClientConfig, tokio_alts::ConfigError> {
    let builder = ClientConfig::builder()
        .max_frame_size(alts.max_frame_size)
        .deadline(alts.handshake_deadline)
        .max_concurrent_handshakes(handshakes);
    match &alts.peers {
        Peers::Any => builder.any_peer(),
        Peers::Only(patterns) => patterns
            .iter()
            .cloned()
            .fold(builder, tokio_alts::config::ClientConfigBuilder::expect_peer_matching),
    }
    .build()
}
