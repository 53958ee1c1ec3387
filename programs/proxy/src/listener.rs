//! What a listener's connections begin with, and keep when the configuration changes.

use std::fmt;
use std::sync::Arc;

use alts_serving::limits::Key;
use alts_serving::settings_error::SettingsError;
use alts_serving::throttle::Throttles;
use tokio::sync::Semaphore;
use tokio_alts::{AltsAcceptor, HandshakerService, ServerConfig};

use crate::config::{self, Limits, Security};
use crate::metrics::{ListenerMetrics, Metrics};
use crate::upstream::Upstream;

/// What connections begin with, and keep.
pub struct Listener {
    /// Its configuration.
    pub settings: config::Listen,
    /// How much at once.
    pub limits: Limits,
    /// Makes the clients' handshakes, if they speak ALTS.
    pub acceptor: Option<AltsAcceptor>,
    /// Where connections go to.
    pub upstream: Arc<Upstream>,
    /// What is counted.
    pub metrics: ListenerMetrics,
    /// How many clients may be looked up at once; more wait.
    pub lookups: Semaphore,
    /// Keeps those that are refused from filling the log.
    pub refusals: Throttles<Key>,
}

/// How many clients may be looked up at once.
const LOOKUPS: usize = 64;

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Listener {
    /// A listener's settings, with what follows from them. `service` makes the handshakes if they
    /// are wanted.
    ///
    /// # Errors
    /// When they can never lead to a handshake.
    pub fn new(
        settings: config::Listen,
        service: Option<Arc<dyn HandshakerService>>,
        upstream: Arc<Upstream>,
        limits: Limits,
        metrics: &Metrics,
    ) -> Result<Self, SettingsError> {
        let acceptor = match (&settings.security, service) {
            (Security::Alts(alts), Some(service)) => {
                // Who may call is the `allow` of the rules, for each connection or request.
                let config = ServerConfig::builder()
                    .any_peer()
                    .max_frame_size(alts.max_frame_size)
                    .deadline(alts.handshake_deadline)
                    .max_concurrent_handshakes(limits.handshakes)
                    .build()
                    .map_err(|why| SettingsError::new(&settings.place, why.to_string()))?;
                Some(AltsAcceptor::new(config, service))
            }
            _ => None,
        };
        let metrics = metrics.listener(&settings.name);
        Ok(Self {
            settings,
            limits,
            acceptor,
            upstream,
            metrics,
            lookups: Semaphore::new(LOOKUPS),
            refusals: Throttles::default(),
        })
    }
}
