//! Upstreams: a connection to the first of their addresses that gives one.

mod health;

use alts_serving::{config_error::ConfigError, life::Alive};
use core::fmt;
use std::{
    io,
    sync::{Arc, Weak},
};

use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_alts::{AltsConnector, ClientConfig, Fault, HandshakerService};

use self::health::Health;
use super::{
    address::Address,
    config::{self, Alts, Limits, Peers, Security},
    http::pool::Pool,
    metrics::{Metrics, UpstreamMetrics},
    socket::{FOREVER, Socket, Stream},
};

/// One upstream at work.
pub struct Upstream {
    settings: config::Upstream,
    limits: Limits,
    connector: Option<AltsConnector>,
    health: Vec<Health>,
    pool: Pool,
    metrics: UpstreamMetrics,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Upstream {
    /// One upstream, whose handshakes `service` makes if they are wanted. Nothing connects yet.
    ///
    /// # Errors
    ///
    /// When its settings can never lead to a handshake.
    pub fn new(
        settings: config::Upstream,
        service: Option<Arc<dyn HandshakerService>>,
        limits: Limits,
        metrics: &Metrics,
    ) -> Result<Self, ConfigError> {
        let connector = match (&settings.security, service) {
            (Security::Alts(alts), Some(service)) => {
                let config = client_config(alts, limits.handshakes)
                    .map_err(|why| ConfigError::new(&settings.place, why.to_string()))?;
                Some(AltsConnector::new(config, service))
            }
            _ => None,
        };
        let health = settings.addresses.iter().map(|_| Health::default()).collect();
        let metrics = metrics.upstream(&settings.name);
        Ok(Self { settings, limits, connector, health, pool: Pool::default(), metrics })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// What it was told.
    #[must_use]
    pub const fn settings(&self) -> &config::Upstream {
        &self.settings
    }

    /// The limits that it keeps.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Its connections of HTTP.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
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
    ///
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
                    self.metrics.failed(error.name());
                    if error.is_of_address() {
                        self.bad(address, health, &error);
                        last = error;
                    } else {
                        // It would be the same with any other address.
                        tracing::warn!(upstream = self.name(), %address, %error, "cannot connect");
                        return Err(error);
                    }
                }
            }
        }
        Err(last)
    }

    /// Closes connections that nobody uses and tries all addresses, every now and then, as long as
    /// the upstream is in use.
    pub async fn keep(upstream: Weak<Self>, mut alive: Alive) {
        let Some(settings) = upstream.upgrade().map(|this| this.settings.clone()) else { return };
        let mut prune = interval(settings.idle.min(FOREVER) / 2);
        let mut check = interval(settings.health_interval.unwrap_or(FOREVER).min(FOREVER));
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let checks = tokio::select! {
                _ = prune.tick() => false,
                _ = check.tick() => settings.health_interval.is_some(),
                () = alive.draining() => return,
            };
            let Some(this) = upstream.upgrade() else { return };
            if checks {
                tokio::select! {
                    () = this.check() => {}
                    () = alive.draining() => return,
                }
            } else {
                this.pool.prune(settings.idle);
            }
        }
    }

    /// Tries each address once.
    async fn check(&self) {
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

    fn good(&self, address: &Address, health: &Health) {
        self.metrics.connected();
        if health.good() {
            tracing::info!(upstream = self.name(), %address, "the address is in order again");
            self.show_health();
        }
    }

    fn bad(&self, address: &Address, health: &Health, error: &ConnectError) {
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
        Peers::Only(accounts) => builder.expected_service_accounts(accounts),
    }
    .build()
}

/// Why there is no connection to an upstream.
#[derive(Debug)]
pub enum ConnectError {
    /// The deadline passed.
    NoTime,
    /// The network said no.
    Io(io::Error),
    /// The handshake failed.
    Handshake(tokio_alts::Error),
    /// HTTP could not begin.
    Http(hyper::Error),
}

impl ConnectError {
    /// The labels in metrics.
    pub const NAMES: [&str; 3] = ["timeout", "refused", "handshake"];

    /// The label in metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoTime => "timeout",
            Self::Io(error) if error.kind() == io::ErrorKind::TimedOut => "timeout",
            Self::Io(_) | Self::Http(_) => "refused",
            Self::Handshake(_) => "handshake",
        }
    }

    /// Whether it took too long.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        let timed_out = |error: &tokio_alts::Error| {
            matches!(error.kind(), tokio_alts::ErrorKind::TimedOut { .. })
        };
        self.name() == "timeout" || matches!(self, Self::Handshake(error) if timed_out(error))
    }

    /// Whether another address may be better: the handshaker service is the same for all.
    fn is_of_address(&self) -> bool {
        !matches!(self, Self::Handshake(error) if error.fault() != Fault::Peer)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTime => f.write_str("no connection before the deadline"),
            Self::Io(error) => error.fmt(f),
            Self::Handshake(error) => error.fmt(f),
            Self::Http(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {}
