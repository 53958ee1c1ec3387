//! What the proxy is at one time, and how it becomes what a new configuration says.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alts_handshaker::locator::{Development, Located, Locator};
use alts_serving::life::Life;
use alts_serving::limits::Slots;
use alts_serving::settings_error::SettingsError;
use tokio::sync::watch;
use tokio_alts::HandshakerService;

use super::accept::Bound;
use super::address::Address;
use super::config::{self, Config, Security};
use super::listener::Listener;
use super::metrics::Metrics;
use super::upstream::Upstream;

/// What follows from a configuration before any socket is opened.
#[derive(Default)]
pub struct Prepared {
    services: HashMap<Locator, Located>,
    upstreams: Vec<Arc<Upstream>>,
    listeners: Vec<Arc<Listener>>,
}

impl Prepared {
    /// Prepares a configuration. What is the same as before is kept: connections to handshaker
    /// services, and what is known of upstreams.
    ///
    /// # Errors
    /// What cannot be used, and where it was written.
    pub fn new(
        config: &Config,
        before: &Self,
        development: &Development,
        metrics: &Metrics,
    ) -> Result<Self, SettingsError> {
        let mut new = Self::default();
        for settings in &config.upstreams {
            let same = before.upstreams.iter().find(|old| {
                let place = settings.place.clone();
                config::Upstream { place, ..old.settings().clone() } == *settings
                    && *old.limits() == config.limits
            });
            let service = new.service(&settings.security, &settings.place, before, development)?;
            new.upstreams.push(if let Some(old) = same {
                Arc::clone(old)
            } else {
                let named = |old: &&Arc<Upstream>| old.name() == settings.name;
                let before = before.upstreams.iter().find(named).map(Arc::as_ref);
                let (settings, limits) = (settings.clone(), config.limits);
                Upstream::new(settings, before, service, limits, metrics)?.into()
            });
        }
        for settings in &config.listeners {
            let upstream = new.upstreams.iter().find(|one| one.name() == settings.upstream);
            // The configuration was checked for that.
            let Some(upstream) = upstream.cloned() else { continue };
            let service = new.service(&settings.security, &settings.place, before, development)?;
            let listener =
                Listener::new(settings.clone(), service, upstream, config.limits, metrics)?;
            new.listeners.push(listener.into());
        }
        Ok(new)
    }

    fn service(
        &mut self,
        security: &Security,
        place: &str,
        before: &Self,
        development: &Development,
    ) -> Result<Option<Arc<dyn HandshakerService>>, SettingsError> {
        let Security::Alts(alts) = security else { return Ok(None) };
        let known =
            self.services.get(&alts.handshaker).or_else(|| before.services.get(&alts.handshaker));
        let service = match known {
            Some(known) => known.clone(),
            None => alts.handshaker.locate(development).map_err(|why| {
                let hint = match alts.handshaker {
                    Locator::Google => {
                        ". Elsewhere than on Google Cloud, give the address of a handshaker service, \
                         files:DIRECTORY for certificates of your own, or dev:ACCOUNT to try things \
                         out"
                    }
                    _ => "",
                };
                SettingsError::new(place, format!("handshaker {}: {why}{hint}", alts.handshaker))
            })?,
        };
        self.services.insert(alts.handshaker.clone(), service.clone());
        Ok(Some(service.service()))
    }
}

/// A listener at work.
struct Running {
    address: Address,
    name: String,
    bound: String,
    settings: watch::Sender<Arc<Listener>>,
}

/// The proxy at work.
pub struct State {
    config: Config,
    /// The file to read again.
    path: Option<PathBuf>,
    development: Arc<Development>,
    prepared: Prepared,
    running: Vec<Running>,
    upstreams: watch::Sender<Vec<Arc<Upstream>>>,
    handshakers: watch::Sender<Vec<Located>>,
    total: Slots,
    metrics: Metrics,
}

impl State {
    /// Opens what a configuration names.
    ///
    /// # Errors
    /// What cannot be used, where it was written, and what to do.
    pub async fn start(
        config: Config,
        path: Option<PathBuf>,
        development: Arc<Development>,
        metrics: Metrics,
        life: &Life,
    ) -> Result<Self, SettingsError> {
        let mut state = Self {
            config: config.clone(),
            path,
            development,
            prepared: Prepared::default(),
            running: Vec::new(),
            upstreams: watch::Sender::default(),
            handshakers: watch::Sender::default(),
            total: Slots::new(0, 0),
            metrics,
        };
        state.apply(config, life).await?;
        Ok(state)
    }

    /// The names of the listeners, and where they listen.
    #[must_use]
    pub fn listeners(&self) -> Vec<(String, String)> {
        self.running.iter().map(|one| (one.name.clone(), one.bound.clone())).collect()
    }

    /// The upstreams in use, whichever they will be.
    #[must_use]
    pub fn upstreams(&self) -> watch::Receiver<Vec<Arc<Upstream>>> {
        self.upstreams.subscribe()
    }

    /// The handshakers in use, whichever they will be.
    #[must_use]
    pub fn handshakers(&self) -> watch::Receiver<Vec<Located>> {
        self.handshakers.subscribe()
    }

    /// The configuration in use.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Reads the file again, and the certificates that are used in this process. What is bad is not
    /// used, and what was in use stays so. Returns whether all was good.
    pub async fn reload(&mut self, life: &Life) -> bool {
        let configured = self.read_again(life).await;
        // Whatever the configuration is, certificates have to be renewed.
        let mut renewed = true;
        for handshaker in self.prepared.services.values() {
            if let Err(error) = handshaker.refresh().await {
                tracing::error!(
                    handshaker = %handshaker.locator(),
                    %error,
                    "the certificate in use is an old one"
                );
                renewed = false;
            }
        }
        configured && renewed
    }

    async fn read_again(&mut self, life: &Life) -> bool {
        let Some(path) = self.path.clone() else {
            tracing::warn!("there is no file to read again: the proxy was started with flags");
            return false;
        };
        let outcome = match read(&path).await {
            Ok(config) => self.apply(config, life).await,
            Err(error) => Err(error),
        };
        match &outcome {
            Ok(()) => tracing::info!("reloaded"),
            Err(error) => {
                tracing::error!(%error, "the new configuration is bad: the old one stays in use");
            }
        }
        self.metrics.reloaded(outcome.is_ok());
        outcome.is_ok()
    }

    /// Becomes what a configuration says, or stays what it is.
    async fn apply(&mut self, config: Config, life: &Life) -> Result<(), SettingsError> {
        let prepared = Prepared::new(&config, &self.prepared, &self.development, &self.metrics)?;
        config.require_descriptors()?;
        // Everything that can fail comes before anything that changes.
        let mut opened = Vec::new();
        for listener in &prepared.listeners {
            let settings = &listener.settings;
            if !self.running.iter().any(|running| running.is_for(settings)) {
                opened.push((Arc::clone(listener), Bound::open(settings).await?));
            }
        }
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        self.warn_of_what_stays(&config);
        // Before the listeners: what they find has to be in use.
        prepared.upstreams.iter().for_each(Upstream::comes_into_use);
        // Whose sender is dropped stops to listen.
        self.running.retain_mut(|running| {
            let new = prepared.listeners.iter().find(|new| running.is_for(&new.settings));
            if let Some(new) = new {
                running.name.clone_from(&new.settings.name);
                running.settings.send_replace(Arc::clone(new));
            }
            new.is_some()
        });
        for (listener, bound) in opened {
            let config::Listen { name, address, .. } = &listener.settings;
            tracing::info!(listener = %name, address = bound.address(), "listening");
            let (name, address) = (name.clone(), address.clone());
            let (settings, receiver) = watch::channel(listener);
            let bound_address = bound.address().to_owned();
            self.running.push(Running { address, name, bound: bound_address, settings });
            tokio::spawn(bound.run(receiver, self.total.clone(), life.alive()));
        }
        for upstream in &prepared.upstreams {
            if !self.prepared.upstreams.iter().any(|old| Arc::ptr_eq(old, upstream)) {
                tokio::spawn(Upstream::keep(Arc::downgrade(upstream), life.alive()));
            }
        }
        self.upstreams.send_replace(prepared.upstreams.clone());
        self.handshakers.send_replace(prepared.services.values().cloned().collect());
        for old in &self.config.listeners {
            if !config.listeners.iter().any(|new| new.name == old.name) {
                self.metrics.forget_listener(&old.name);
            }
        }
        for old in &self.config.upstreams {
            if config.upstream(&old.name).is_none() {
                self.metrics.forget_upstream(&old.name);
            }
        }
        self.prepared = prepared;
        self.config = config;
        Ok(())
    }

    fn warn_of_what_stays(&self, new: &Config) {
        let old = &self.config;
        if old.metrics != new.metrics || old.log != new.log {
            tracing::warn!("[metrics] and [log] only change with a restart");
        }
        let mode = |config: &Config, address: &Address| {
            config.listeners.iter().find(|one| one.address == *address).map(|one| one.mode)
        };
        for running in &self.running {
            let modes = (mode(old, &running.address), mode(new, &running.address));
            if let (Some(old), Some(new)) = modes
                && old != new
            {
                tracing::warn!(address = %running.address, "mode only changes with a restart");
            }
        }
    }
}

async fn read(path: &Path) -> Result<Config, SettingsError> {
    let (shown, path) = (path.display().to_string(), path.to_owned());
    let read = tokio::task::spawn_blocking(move || Config::read(&path)).await;
    read.unwrap_or_else(|why| Err(SettingsError::new(shown, why.to_string())))
}

impl Running {
    /// Whether settings are for this socket. Where the system chooses the port, only the name tells
    /// two listeners apart.
    fn is_for(&self, settings: &config::Listen) -> bool {
        self.address == settings.address
            && (self.name == settings.name || !settings.address.has_any_port())
    }
}
