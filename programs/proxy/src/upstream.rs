//! Upstreams: what connects to them, and the HTTP connections that requests share.

pub mod again;
pub mod body;
pub mod dial;
pub mod error;
pub mod health;
pub mod pool;
pub mod shares;
pub mod tasks;
pub mod until;

use std::fmt;
use std::sync::{Arc, Weak};

use alts_serving::life::Alive;
use alts_serving::settings_error::SettingsError;
use http::uri::Authority;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_alts::HandshakerService;

use self::dial::Dial;
use self::error::ConnectError;
use self::pool::Pool;
use self::until::Rules;
use crate::address::Address;
use crate::config::{self, Limits};
use crate::metrics::Metrics;
use crate::socket::{FOREVER, Stream};

/// One upstream at work.
pub struct Upstream {
    dial: Arc<Dial>,
    pool: Arc<Pool>,
    authority: Authority,
    line: Line,
}

/// What the upstreams of one name have in common, from one configuration to the next.
#[derive(Clone, Default)]
struct Line {
    /// The one in use.
    latest: Arc<watch::Sender<Weak<Upstream>>>,
    /// What is expected of the servers.
    rules: Arc<watch::Sender<Rules>>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("dial", &self.dial).finish_non_exhaustive()
    }
}

impl Upstream {
    /// One upstream, whose handshakes `service` makes if they are wanted. Nothing connects yet. `before` is
    /// the one of that name that it is to replace.
    ///
    /// # Errors
    /// When its settings can never lead to a handshake.
    pub fn new(
        settings: config::Upstream,
        before: Option<&Self>,
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
        let line = before.map(|before| before.line.clone()).unwrap_or_default();
        let pool = Arc::new(Pool::new(Arc::clone(&dial), Arc::clone(&line.rules)));
        Ok(Self { dial, pool, authority, line })
    }

    /// It is the one of its name that is in use. What it expects of its servers goes for those of that
    /// name before it too: their connections to others are due.
    pub fn comes_into_use(self: &Arc<Self>) {
        let security = Some(&self.settings().security);
        self.line.latest.send_replace(Arc::downgrade(self));
        self.line.rules.send_if_modified(|rules| {
            let is_news = rules.as_ref() != security;
            *rules = security.cloned();
            is_news
        });
    }

    /// The one that requests are for: this one, or, if it expects other servers, the one that is in use
    /// instead.
    #[must_use]
    pub fn current(self: &Arc<Self>) -> Arc<Self> {
        let latest = self.line.latest.borrow().upgrade();
        let expects_others =
            |latest: &Arc<Self>| latest.settings().security != self.settings().security;
        latest.filter(expects_others).unwrap_or_else(|| Arc::clone(self))
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
