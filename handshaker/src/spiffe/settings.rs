//! What holds for every identity that an agent gives.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::trust_domain::TrustDomain;
use crate::handshaker::Builder;
use crate::identity::DenyList;

/// What holds for every identity that an agent gives: whom its handshakes accept besides the members
/// of its own trust domain, and more limits.
#[derive(Clone)]
pub struct Settings {
    pub(super) federated: Vec<TrustDomain>,
    pub(super) denied: DenyList,
    pub(super) finish: Arc<dyn Fn(Builder) -> Builder + Send + Sync>,
}

impl Settings {
    /// Peers of the workload's own trust domain, and of no other.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Peers of these trust domains too, if the engine says that the workload federates with them.
    /// The bundle of each vouches for its own members alone.
    #[must_use]
    pub fn federated(mut self, domains: Vec<TrustDomain>) -> Self {
        self.federated = domains;
        self
    }

    /// Refuses what is on this list, whichever bundle vouches for it.
    #[must_use]
    pub fn denying(mut self, denied: DenyList) -> Self {
        self.denied = denied;
        self
    }

    /// Says what else is set in each handshaker: its limits, for example.
    #[must_use]
    pub fn finish(mut self, finish: impl Fn(Builder) -> Builder + Send + Sync + 'static) -> Self {
        self.finish = Arc::new(finish);
        self
    }
}

impl Default for Settings {
    fn default() -> Self {
        let finish = Arc::new(std::convert::identity::<Builder>);
        Self { federated: Vec::new(), denied: DenyList::new(), finish }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("federated", &self.federated)
            .field("denied", &self.denied)
            .finish_non_exhaustive()
    }
}

/// Settings that can be replaced while they are in use; clones share them.
///
/// What was known under the old ones is judged anew at once, also while the agent is away: whoever is
/// put on a deny list is denied from then on.
#[derive(Clone)]
pub struct SharedSettings(Arc<watch::Sender<Settings>>);

impl SharedSettings {
    /// Shares them.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(watch::Sender::new(settings)))
    }

    /// Replaces them, for all subscriptions that share them.
    pub fn replace(&self, settings: Settings) {
        self.0.send_replace(settings);
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Settings> {
        self.0.subscribe()
    }
}

impl From<Settings> for SharedSettings {
    fn from(settings: Settings) -> Self {
        Self::new(settings)
    }
}

impl fmt::Debug for SharedSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.borrow().fmt(f)
    }
}
