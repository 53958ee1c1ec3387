//! Upstreams: what connects to them, and the HTTP connections that requests share.

pub mod again;
pub mod body;
pub mod dial;
pub mod error;
pub mod health;
pub mod pool;
pub mod shares;

use std::fmt;
use std::sync::{Arc, Weak};

use alts_serving::life::Alive;
use alts_serving::settings_error::SettingsError;
use http::uri::Authority;
use tokio::time::{MissedTickBehavior, interval};
use tokio_alts::HandshakerService;

use self::dial::Dial;
use self::error::ConnectError;
use self::pool::Pool;
use crate::address::Address;
use crate::config::{self, Limits};
use crate::metrics::Metrics;
use crate::socket::{FOREVER, Stream};

/// One upstream at work.
pub struct Upstream {
    dial: Arc<Dial>,
    pool: Arc<Pool>,
    authority: Authority,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("dial", &self.dial).finish_non_exhaustive()
    }
}

impl Upstream {
    /// One upstream, whose handshakes `service` makes if they are wanted. Nothing connects yet.
    ///
    /// # Errors
    /// When its settings can never lead to a handshake.
    pub fn new(
        settings: config::Upstream,
        service: Option<Arc<dyn HandshakerService>>,
        limits: Limits,
        metrics: &Metrics,
    ) -> Result<Self, SettingsError> {
        let of_address = |address: &Address| match address {
            Address::Tcp(text) => text.parse().ok(),
            Address::Unix(_) => None,
        };
        let authority = settings.addresses.iter().find_map(of_address);
        let authority = authority.unwrap_or_else(|| Authority::from_static("localhost"));
        let dial = Arc::new(Dial::new(settings, service, limits, metrics)?);
        let pool = Arc::new(Pool::new(Arc::clone(&dial)));
        Ok(Self { dial, pool, authority })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        self.dial.name()
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &config::Upstream {
        self.dial.settings()
    }

    /// The host of requests that name none: its first TCP address, or `localhost`.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The limits that it keeps.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.dial.limits()
    }

    /// Its HTTP connections.
    #[must_use]
    pub const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Whether some address is in order, as [`Dial::is_usable`] has it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.dial.is_usable()
    }

    /// A connection of its own, as [`Dial::connect`] makes it.
    ///
    /// # Errors
    /// What went wrong last.
    pub async fn connect(&self) -> Result<(Stream, &Address), ConnectError> {
        self.dial.connect().await
    }

    /// Closes connections that nobody uses and tries all addresses, every now and then, as long as
    /// the upstream is in use.
    pub async fn keep(upstream: Weak<Self>, mut alive: Alive) {
        let Some(settings) = upstream.upgrade().map(|this| this.settings().clone()) else { return };
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
                    () = this.dial.check() => {}
                    () = alive.draining() => return,
                }
            } else {
                this.pool.prune(settings.idle);
            }
        }
    }
}
