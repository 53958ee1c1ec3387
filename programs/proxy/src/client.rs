//! What is known about a client's connection, from its beginning to the audit line.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use alts_serving::caller::Caller;
use alts_serving::limits::{Full, Key, Slot};
use alts_serving::throttle::Throttles;
use tokio::time::Instant;

use crate::log::AUDIT;
use crate::metrics::ListenerMetrics;
use crate::outcome::Outcome;
use crate::relay::Traffic;

/// What is known about a client's connection. Its requests share it.
#[derive(Debug)]
pub struct Client {
    /// The name of the listener that it came in by.
    pub listener: String,
    /// The name of the upstream that it goes to.
    pub upstream: String,
    /// The client's address, and the one that it called; none over a UNIX socket.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// What was carried.
    pub traffic: Arc<Traffic>,
    /// The metrics of the listener.
    pub metrics: ListenerMetrics,
    caller: OnceLock<(Caller, String)>,
    account: OnceLock<String>,
    upstream_address: OnceLock<String>,
    began: Instant,
    slots: Mutex<[Slot; 2]>,
}

impl Client {
    /// One that has just connected.
    #[must_use]
    pub fn new(
        listener: &str,
        upstream: &str,
        addresses: Option<(SocketAddr, SocketAddr)>,
        metrics: &ListenerMetrics,
        slots: [Slot; 2],
    ) -> Self {
        metrics.connections.inc();
        Self {
            listener: listener.to_owned(),
            upstream: upstream.to_owned(),
            addresses,
            traffic: Arc::default(),
            metrics: metrics.clone(),
            caller: OnceLock::new(),
            account: OnceLock::new(),
            upstream_address: OnceLock::new(),
            began: Instant::now(),
            slots: Mutex::new(slots),
        }
    }

    /// The client's service account, if it speaks ALTS.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.account.get().map(String::as_str)
    }

    /// Sets the client's service account, once.
    pub fn set_account(&self, account: &str) {
        let _ = self.account.set(account.to_owned());
    }

    /// The user of this machine behind the connection, if that was asked for.
    #[must_use]
    pub fn caller(&self) -> Option<&str> {
        self.caller.get().map(|(_, text)| text.as_str())
    }

    /// The same, as what rules are compared with.
    #[must_use]
    pub fn known_caller(&self) -> Option<&Caller> {
        self.caller.get().map(|(caller, _)| caller)
    }

    /// Sets the user of this machine behind the connection, once.
    pub fn set_caller(&self, caller: &Caller) {
        let _ = self.caller.set((caller.clone(), caller.to_string()));
    }

    /// Counts the connection for its account or user from now on, not for its address.
    ///
    /// # Errors
    /// When the account or user has its share already.
    pub fn count_for(&self, key: &Key) -> Result<(), Full> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter_mut().try_for_each(|slot| slot.pass_to(key.clone()))
    }

    /// What the connection counts for.
    #[must_use]
    pub fn key(&self) -> Key {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let [slot, _] = &*slots;
        slot.key().clone()
    }

    /// Sets the upstream's address that the connection goes to, once.
    pub fn set_upstream_address(&self, address: &impl ToString) {
        let _ = self.upstream_address.set(address.to_string());
    }

    /// Counts what became of it, and writes a line that says so. Of connections that were refused,
    /// each peer has one line a second, which says how many more there were.
    pub fn audit(&self, outcome: &Outcome, refusals: &Throttles<Key>) {
        let metrics = &self.metrics;
        metrics.ended(outcome.name());
        let received = self.traffic.received.load(Ordering::Relaxed);
        let sent = self.traffic.sent.load(Ordering::Relaxed);
        metrics.received.inc_by(received);
        metrics.sent.inc_by(sent);
        let more = match outcome {
            Outcome::Refused(_) => match refusals.may_speak(&self.key()) {
                Some(more) => (more > 0).then_some(more),
                None => return,
            },
            _ => None,
        };
        let remote = self.addresses.map(|(remote, _)| remote.to_string());
        tracing::info!(
            target: AUDIT,
            listener = self.listener,
            remote,
            caller = self.caller(),
            peer = self.account(),
            upstream = self.upstream,
            upstream_address = self.upstream_address.get(),
            outcome = outcome.name(),
            error = outcome.error(),
            received,
            sent,
            duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            more,
            "connection"
        );
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}
