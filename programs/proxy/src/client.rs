//! What is known of a client's connection, from its beginning to the audit line.

use core::sync::atomic::Ordering;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use alts_serving::limits::{Full, Key, Slot};
use tokio::time::Instant;

use crate::{log::AUDIT, metrics::ListenerMetrics, outcome::Outcome, relay::Traffic};

/// What is known of a client's connection. Its requests share it.
#[derive(Debug)]
pub struct Client {
    /// The name of the listener by which it came.
    pub listener: String,
    /// The name of the upstream to which it goes.
    pub upstream: String,
    /// The client's address, and the one that it called; none over a UNIX socket.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// What was carried.
    pub traffic: Arc<Traffic>,
    /// The metrics of the listener.
    pub metrics: ListenerMetrics,
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

    /// Counts the connection for its account from now on, not for its address.
    ///
    /// # Errors
    ///
    /// When the account has its share already.
    pub fn count_for(&self, account: &str) -> Result<(), Full> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter_mut().try_for_each(|slot| slot.pass_to(Key::Account(account.into())))
    }

    /// Sets the upstream's address to which the connection goes, once.
    pub fn set_upstream_address(&self, address: &impl ToString) {
        let _ = self.upstream_address.set(address.to_string());
    }

    /// Writes the line that says what became of it.
    pub fn audit(&self, outcome: &Outcome) {
        let metrics = &self.metrics;
        metrics.ended(outcome.name());
        let received = self.traffic.received.load(Ordering::Relaxed);
        let sent = self.traffic.sent.load(Ordering::Relaxed);
        metrics.received.inc_by(received);
        metrics.sent.inc_by(sent);
        let remote = self.addresses.map(|(remote, _)| remote.to_string());
        tracing::info!(
            target: AUDIT,
            listener = self.listener,
            remote,
            peer = self.account(),
            upstream = self.upstream,
            upstream_address = self.upstream_address.get(),
            outcome = outcome.name(),
            error = outcome.error(),
            received,
            sent,
            duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "connection"
        );
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}
